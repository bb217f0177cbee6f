"""All that is said to NATS while tasks run: connections, fenced appends, reading, following, taking work."""
