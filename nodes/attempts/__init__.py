"""Working on tasks: from an assignment to the last chunk and the report."""
