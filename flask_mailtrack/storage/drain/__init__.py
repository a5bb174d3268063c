"""What moves records from the journal to the tables, straight or by way of Redis.

In reading order: the ``drain``, in its ``drain_thread`` or by command; on many machines the ``relay``, which ships to
the stream, and the ``consumer``, which reads from the stream. If that fails there is an ``alarm``; ``health`` says how
it goes. ``search`` looks through what waits, ``recovery`` brings back what was put aside.
"""
