"""The public Python client of the mesh."""
