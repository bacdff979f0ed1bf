"""A Valkey of our own, for a stack without a Redis."""
