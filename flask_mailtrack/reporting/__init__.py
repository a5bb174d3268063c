"""The read side: what became of mails, and what is wrong with a set-up."""
