"""Shard groups: devices that serve one model together (ADR 17)."""
