"""The requests of a person.

``people`` is the door: suppress, look up, hand over, forget. A ``suppression_list`` imports the opt-outs of other
services.
"""
