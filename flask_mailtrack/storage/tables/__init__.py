"""The host's database.

In reading order: the ``writer`` stores each ``batch`` in the ``database``, through an ``engine`` of our own, with
the ``host_columns``; ``unwanted`` drops hits that nobody may keep, and what is old; a ``second_look`` adds what takes
time, and judges hits again; ``counts`` keep the state of messages. ``optouts`` are asked before a send; ``switches``
and ``domains`` hold what the operator has set, each as a ``snapshot``, ``references`` where long links lead. The
``register`` knows who has left, and who has come back; the ``refused`` refusals hold, too.
"""
