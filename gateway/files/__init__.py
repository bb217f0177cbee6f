"""The HTTP API of users' files."""
