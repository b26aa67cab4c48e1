"""What this archive does with other application entities: forward, fetch, have kept, compare, examine."""
