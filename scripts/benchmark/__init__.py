"""What ./scripts/bench runs: rows that measure the archive against floors of the same machine, in the same run."""
