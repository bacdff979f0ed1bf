"""Object stores that fail when a test says so."""

from storage.objects.folder import FolderStore
from storage.objects.objects import ObjectStoreError


class Moody(FolderStore):
    """A folder whose packs of attention cannot be read while it is ``down``."""

    down = False

    def read_into(self, key: str, offset: int, buffer: memoryview) -> None:
        if self.down and key.startswith("artifacts/"):
            raise ObjectStoreError("disk")
        super().read_into(key, offset, buffer)
