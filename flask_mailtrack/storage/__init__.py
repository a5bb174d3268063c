"""Where rows live: spool (local, durable, append-only), drain (spool to database), optouts."""
