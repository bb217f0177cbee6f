"""What a node tells the mesh of itself, and how it proves it."""
