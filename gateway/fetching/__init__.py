"""Fetching what users name by a URL, without being led to anything that is not public."""
