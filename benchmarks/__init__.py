"""Benchmarks: figures for the docs, never tests. Machines are noisy, so what counts are ratios within one run."""
