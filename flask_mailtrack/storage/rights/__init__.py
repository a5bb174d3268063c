"""What is done about one person.

``people`` is the door: ``suppression`` (with ``suppression_file`` and ``suppression_import``), ``dossier``,
``erasure``, ``retention``, each change with an ``audit`` row. ``silence`` drops hits that must not be kept, by a
``consent_column`` for instance; ``last_seen`` keeps the one day of a quiet mode.
"""
