"""A mesh as the hub of edge sites, or as one of them."""
