"""The local disk that every record reaches before anything is answered.

In reading order: the ``journal`` writes to the ``spool`` of a private ``directory``, or to a second one, else to the
log. Each ``segment`` of a spool is drained by one process at a time. The ``backlog`` says how much waits, and how the
last drains went; ``signatures`` count the bad ones that were seen.
"""
