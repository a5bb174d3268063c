"""Where records and rows live, on five floors; each floor knows only those below it.

From the ground up: ``records`` are the lines that everything is written as. The ``journal`` is the local disk that each
record reaches before anything is answered. The ``tables`` are the host's database. ``redis`` is where the records of
many machines meet. The ``drain`` moves records from the journal to the tables, straight or by way of Redis. ``people``
are what a person may ask for.
"""
