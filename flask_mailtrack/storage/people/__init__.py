"""What one person may ask for.

``people`` is the door: suppress, look up, hand over, forget; a ``suppression_list`` brings in the opt-outs of other
services.
"""
