"""Where state lives: jobs in Redis, bytes in an object store, each also embedded.

Imports schemas; no torch, ray or fastapi, so that every part can.
"""
