"""The read side: stats and the command line."""
