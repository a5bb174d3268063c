"""Rewriting: which bytes of an HTML body become tracked links, and the proof that no others change.

In reading order: ``rewrite`` is the whole story; ``scan`` (over ``syntax`` and ``attributes``) finds the
places, ``choice`` picks links, ``link_text`` reads what people see of them, ``cuts`` and ``places`` open the
text, ``judge`` compares it with a copy that ``marks`` were put into, ``template`` renders, and ``deadline``
watches the clock.
"""
