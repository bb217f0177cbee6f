"""Questions about this project's own documentation, by which retrieval is measured."""
