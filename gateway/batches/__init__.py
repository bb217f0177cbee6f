"""Many requests in one file: taken, run, and answered in another."""
