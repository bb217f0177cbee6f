"""Vector stores: their files, passages, and searching them (ADR 20)."""
