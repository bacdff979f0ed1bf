"""The HTTP side: OpenAI's /v1/videos dialect over the job store and the object store.

Imports schemas and storage; never torch, ray, diffusers or workers.
"""
