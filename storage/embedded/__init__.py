"""The embedded stack's own: a Valkey, for where there is no Redis; who ends with whom."""
