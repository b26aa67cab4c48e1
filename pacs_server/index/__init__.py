"""Rows: what is held, where, and what the site has decided. SQLAlchemy lives here only."""
