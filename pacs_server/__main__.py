"""`python -m pacs_server` is the `pacs` command."""

from pacs_server.cli.main import main

if __name__ == "__main__":
    main()
