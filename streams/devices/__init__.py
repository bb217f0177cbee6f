"""Devices and what they serve: who there is, what each has proved, what it can do, and how well it has done so far."""
