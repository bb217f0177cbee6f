"""How much one key or one account may ask of the mesh, over all gateways together."""
