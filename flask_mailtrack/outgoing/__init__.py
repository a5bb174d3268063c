"""The send side.

In reading order: ``mail`` is the one door to Flask-Mail and catches a message, ``mailman`` that to Flask-Mailman. Or
a host hands in a message that ``mime`` reads, gets ``copies`` of it, and sends them by itself or by a client of
``smtp``. All mail goes through the ``office`` of its app. ``options`` decide what is tracked. ``prepare`` makes one
copy for each recipient, from the ``bodies`` that ``rewriting`` and ``text`` have compiled, with ``links``,
``placeholders`` and ``headers``. ``delivery`` writes the rows to the journal, hands the copies to SMTP, and writes
the fate of each copy. Each door tells what was ``dispatched``, for those who listen.

Other programs send to the ``relay``, whose ``handover`` gives their mail to the mail server.

The room inside, ``rewriting``, has a story of its own.
"""
