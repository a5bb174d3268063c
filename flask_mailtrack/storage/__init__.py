"""Where rows live.

In reading order: every record is first written to the ``disk``, as one of the lines that ``records`` describes.
The ``drain``, in its ``drain_thread`` or by command, hands it to the ``writer``, which writes each ``batch`` into the
``database`` (by ``insertion``), with ``enrichment``, judges again in ``hindsight``, and counts (``recount``). If that
fails there is an ``alarm``; ``health`` tells how it goes. ``optouts`` are asked before a send. On many machines the
records go through a ``sink`` in between; ``rights`` are what people may ask for.
"""
