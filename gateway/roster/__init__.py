"""Who can serve what: the registry that decides it, and the feeds by which each process follows it."""
