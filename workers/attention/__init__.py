"""Attention transfer: hooks that capture and exchange the queries and keys of a stock pipeline."""
