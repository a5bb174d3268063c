"""Whose network an address is in: ``ranges`` are looked up, ``source`` reads and writes the list of them.

The list is a file with a date in it, ``networks.txt`` here or the host's own, and never comes from the net
while the app runs.
"""
