"""The books as pure functions: what is held, charged and earned, and what the log of them adds up to (ADR 22)."""
