"""Benchmarks: each prints a table, then one JSON line of its figures."""
