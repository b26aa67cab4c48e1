"""The two kinds of database and their drivers: connections, who may write, waits that end, what their words mean."""
