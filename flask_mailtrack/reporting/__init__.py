"""The read side: the figures of mails, and the faults of a set-up."""
