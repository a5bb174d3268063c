"""The mailbox for development: what the app sends, as its recipients get it, and what becomes of it.

The ``post`` hears of each mail → a ``letterbox`` keeps it in a folder → ``routes`` show the ``kept`` mails: their
``headings``, ``differences`` to what the author wrote, and the mail itself in a ``frame`` → ``visitors`` act as the
world outside, which knows this app by its own ``addresses``.
"""
