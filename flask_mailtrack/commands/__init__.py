"""``flask mailtrack …``: plain commands that stand on the state of the current app, and on which nothing stands."""
