"""The host's database.

In reading order: the ``writer`` stores each ``batch`` in the ``database``, through our ``own_engine`` (``insertion``,
``arrays``, ``host_columns``, ``sqlite_file``, ``schema``), with ``enrichment``; ``silence`` drops hits that nobody may
keep, by a ``consent_column`` for instance; ``last_seen`` keeps the one day of a quiet mode; ``hindsight`` judges hits
again; ``recount`` and ``tally`` count. ``fault`` says whose fault an error is. ``optouts`` are asked before a send,
``switches`` and ``domains`` hold what the operator has set, ``references`` where long links lead. The ``register`` and
``suppression`` write who has left, ``retention`` deletes what is old, and each change leaves an ``audit`` row.
"""
