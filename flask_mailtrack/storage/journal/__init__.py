"""The local disk that every record reaches before anything is answered.

In reading order: the ``journal`` writes to the ``spool`` of a private ``directory``, or to a second one, and what is
``lost`` to both is told to the log. ``election`` says who drains each ``segment``; ``gauge`` and ``progress`` say what
waits and how that goes; ``shelf`` keeps the destinations of long links, ``signatures`` the bad signatures that were
seen; ``mounts`` knows file systems that lose things; ``durability`` knows how each system puts bytes on the disk;
``tenancy`` says whose a directory is.
"""
