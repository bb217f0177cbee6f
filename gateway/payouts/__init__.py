"""Payouts: what a node has earned leaves the ledger, exactly once, by a file, a webhook or a chain."""
