"""The response cache (ADR 19)."""
