"""The storage of records and rows, on five floors. Each floor knows only the floors below it.

From the ground up: ``records`` are the lines in which everything is written. The ``journal`` is the local disk; each
record reaches it before anything is answered. The ``tables`` are the host's database. ``redis`` collects the records of
many machines. The ``drain`` moves records from the journal to the tables, straight or by way of Redis. ``people``
answers the requests of a person.
"""
