"""The send side.

In reading order: ``mail`` is the one door to Flask-Mail and catches a message; ``options`` say what is
tracked of it; ``prepare`` makes one copy for each recipient, from the ``bodies`` that ``rewriting`` and
``text`` have compiled, with ``links``, ``placeholders`` and ``headers``; ``delivery`` writes the rows down, hands
the copies to SMTP and writes what became of them.

The room inside, ``rewriting``, has a story of its own.
"""
