"""Wires the rooms together and keeps the process running."""
