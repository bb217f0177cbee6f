"""Certificates: the contexts made of them, what they say, and noticing that they were renewed."""
