"""A task from its question to its end: the aggregate, and the values that its events and messages carry."""
