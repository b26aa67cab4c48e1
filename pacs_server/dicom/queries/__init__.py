"""The identifiers of queries and retrieves, as they are read, matched and answered, and as we ask them ourselves."""
