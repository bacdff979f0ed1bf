"""Bytes under keys: the protocol, a folder, S3."""
