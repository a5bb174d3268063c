"""The send side.

In reading order: ``mail`` is the one door to Flask-Mail and catches a message; ``options`` say what is
tracked of it; ``prepare`` makes a copy for each recipient from the ``bodies`` that ``rewrite`` and
``text_links`` have compiled, with ``links``, ``headers`` and ``text``; ``ledger`` writes the rows down and
``delivery`` hands the copies to SMTP.

The room inside, ``rewriting``, has a story of its own.
"""
