"""Bytes under keys: the protocol, and its implementations on a folder and on S3."""
