"""The host's database.

In reading order: the ``writer`` stores each ``batch`` in the ``database``, through an ``engine`` of its own, with the
``host_columns``, and to PostgreSQL as one ``document``. ``unwanted`` drops hits that nobody may keep, and old rows. A
``second_look`` adds slow facts, and judges hits again. ``counts`` keep the state of messages. ``optouts`` are asked
before a send. ``switches`` and ``domains`` hold the operator's decisions, each as a ``snapshot``; ``references`` hold
the destinations of long links. The ``register`` records who has left and who has come back; ``refused`` refusals hold,
too.
"""
