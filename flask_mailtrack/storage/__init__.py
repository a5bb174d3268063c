"""Where rows live.

In reading order: every record reaches the ``spool`` (local, durable, append-only) first, as one of the lines
that ``records`` describes; the ``drain``, in its ``drain_thread`` or by command, hands them to the ``writer``,
which writes each ``batch`` into the ``database``; ``optouts`` are asked before a send. On many machines the drain is a
``relay``, which ships to the ``stream`` (Redis), and a ``consumer`` reads from there for the ``writer``.
"""
