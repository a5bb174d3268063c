"""What one person may ask for.

``people`` is the door: the ``dossier`` answers what is kept, ``erasure`` deletes it; a ``suppression_file`` is read
by the ``suppression_import``.
"""
