"""Which models the mesh wants, and how nodes come by them."""
