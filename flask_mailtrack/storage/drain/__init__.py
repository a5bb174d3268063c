"""What moves records from the journal to the tables, straight or by way of Redis.

In reading order: the ``drain`` with its alarm, which a ``drain_thread`` runs; ``shipping``, which leads it through
Redis on many machines; ``health``, which says how it goes; ``recovery``, which finds what waits and brings back
what was put aside.
"""
