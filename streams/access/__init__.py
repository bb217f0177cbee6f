"""Accounts, their members and keys, and how much each may ask."""
