"""Shard groups as the mesh sees them: who is asked to take part, and what of it becomes a fact."""
