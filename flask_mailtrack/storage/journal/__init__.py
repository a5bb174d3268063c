"""The journal on local disk. Every record reaches it before anything is answered.

In reading order: the ``journal`` writes to the ``spool`` of a private ``directory``, or to a second one, else to the
log. One process at a time drains each ``segment`` of a spool. The ``backlog`` counts waiting records, and keeps the
results of the last drains. ``signatures`` count bad signatures.
"""
