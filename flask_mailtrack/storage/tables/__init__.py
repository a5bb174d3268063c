"""The host's database.

In reading order: the ``writer`` stores each ``batch`` in the ``database``, through an ``engine`` of our own, with
``inserts`` of many rows and the ``host_columns``; ``enrichment`` adds what takes time; ``unwanted`` drops hits that
nobody may keep; a ``second_look`` judges hits again; ``counts`` keep the state of messages. ``optouts`` are asked
before a send; ``switches`` and ``domains`` hold what the operator has set, ``references`` where long links lead. The
``register`` knows who has left, ``retention`` deletes what is old, and the ``schema`` is compared with the models.
"""
