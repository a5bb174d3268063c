"""The way of records from the journal to the tables, straight or through Redis.

In reading order: the ``drain`` with its alarm, and the ``drain_thread`` that runs it; ``shipping``, the way through
Redis on many machines; ``health``, which reports on the drain; ``recovery``, which finds waiting records and brings
back records from quarantine.
"""
