"""Shard groups: one model, split over the memory of several nodes (docs/sharding.md)."""
