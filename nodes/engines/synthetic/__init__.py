"""An engine without a model, for benchmarks and fault tests."""
