"""The `pacs` command, `python -m pacs_server` too: loads what it is made of, and runs it."""

import sys

# What a shell reports for a process ended by SIGINT.
_INTERRUPTED = 130


def main() -> None:
    """Run `pacs`. Loading takes a moment, of which nobody who interrupts it wants to see where it was."""
    try:
        from pacs_server.cli.main import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
