"""Events that others are told of: from the outbox to the endpoints that ``MAILTRACK_WEBHOOKS`` names.

In reading order: the ``couriers``, one for each endpoint; each ``courier`` claims deliveries, posts them and settles
them; the ``signature`` that a receiver checks.
"""
