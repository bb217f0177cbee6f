"""Taking files into vector stores: read, split into passages, made into vectors by the mesh, and written down."""
