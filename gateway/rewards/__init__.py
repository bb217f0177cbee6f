"""Rewards of devices: what the logs say of an epoch, what the rules give for that, and both on the books."""
