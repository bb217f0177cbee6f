"""Generated from ``proto/ig3/mesh/v1`` by ``make proto``; not written by hand."""
