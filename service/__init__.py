"""The HTTP API: OpenAI's /v1/videos dialect over the job store and the object store.

Imports schemas and storage only; never torch, ray, diffusers or workers.
"""
