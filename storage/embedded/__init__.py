"""An embedded Valkey, for a stack without a Redis of its own."""
