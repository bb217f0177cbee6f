"""Files of users, as they lie on the mesh."""
