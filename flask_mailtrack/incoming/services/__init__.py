"""The languages of the services: how each proves that it calls, and how it says what became of a mail."""
