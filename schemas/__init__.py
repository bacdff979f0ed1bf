"""What crosses a boundary: requests, videos, job records, transfer specs, manifests, errors.

Imports nothing of ours; every other package imports it.
"""
