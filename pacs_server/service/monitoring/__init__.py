"""How the archive is, for those who watch over it: metrics, readiness, alarms and the ways to tell them."""
