"""What an operator decides while the app runs: switches, and the domains that links stand on."""
