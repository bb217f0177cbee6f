"""Models: which node serves which, and how the mesh brings them to nodes."""
