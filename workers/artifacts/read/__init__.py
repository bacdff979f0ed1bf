"""Stored attention on its way into an edit."""
