"""The face towards monitoring: HTTP."""
