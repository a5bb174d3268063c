"""The decisions of an operator at run time: switches, tags, and the domains of links."""
