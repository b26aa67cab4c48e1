"""A database as a whole: its schema, whether it is as it has to be, copies and snapshots of it, and its replacement."""
