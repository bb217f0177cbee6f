"""Payouts: money that leaves the books."""
