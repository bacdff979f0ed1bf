"""The state of the service: jobs in Redis, bytes in an object store; both can be embedded.

Imports schemas only, and never torch, ray or fastapi: the API and the workers both use it.
"""
