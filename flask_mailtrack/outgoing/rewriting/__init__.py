"""Rewriting: which bytes of an HTML body become tracked links, and the proof that no others change.

In reading order: ``rewrite`` is the whole story, and picks the links; ``scan`` (over ``syntax``) finds the places;
the ``template`` is cut, with marks in its gaps; the ``proof`` compares the marked copy with the body; the template
renders.
"""
