"""Processes of a mesh: how they start, say that they are ready, log, and stop."""
