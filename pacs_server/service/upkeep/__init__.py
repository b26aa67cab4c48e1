"""What persons ask for from the command line, and what is done at night: decisions, backups, tiers, rebuilding."""
