"""What admins decide while the archive runs, and what is noted of those who call."""
