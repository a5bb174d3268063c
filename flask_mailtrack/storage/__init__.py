"""Where rows live.

In reading order: every record reaches a ``journal`` first, as one of the lines that ``records`` describes.
It writes to the ``spool`` (local, durable, append-only) of a private ``directory``, or a second one, and what
is ``lost`` to both is told to the log. The ``drain``, in its ``drain_thread`` or by command, wins the
``election``, takes each ``segment``, and hands its records to the ``writer``, which writes each ``batch`` into
the ``database``; if that fails, there is an ``alarm``. ``health`` tells how it goes, from a ``gauge`` of what
waits and the ``progress`` of the drain; ``recovery`` brings back what was put aside; ``mounts`` knows
file systems that lose things. ``optouts`` are asked before a send. On many
machines the drain is a ``relay``, which ships to the ``stream`` (Redis), and a ``consumer`` reads from there for
the ``writer``.
"""
