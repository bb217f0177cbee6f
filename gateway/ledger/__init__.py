"""The ledger as a process: what is held, charged and earned is written here, and nowhere else."""
