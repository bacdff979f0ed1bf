"""Measures of one layer's attention, from its queries and keys, never N x N in memory."""
