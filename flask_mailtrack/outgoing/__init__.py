"""The send side, in reading order: mail (the one door to Flask-Mail), prepare, rewrite, text, headers."""
