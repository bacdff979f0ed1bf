"""A running API, as the service's own tests have it."""

from tests.service.conftest import api, storage, worker

__all__ = ["api", "storage", "worker"]
