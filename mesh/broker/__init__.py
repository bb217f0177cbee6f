"""A nats-server of our own: its configuration, its users, and the child process."""
