"""The `pacs` command: parse, call a use case, print."""
