"""BILLING: the books, kept for ever (ADR 22)."""
