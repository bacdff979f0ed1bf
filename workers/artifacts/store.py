"""The artifacts of all projects, as one worker sees them: write, find, read, quarantine."""

import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from schemas.artifacts import Manifest, manifest_key, manifests_folder, parse_manifest
from schemas.capture_plan import CapturePlan, Needed
from schemas.errors import ArtifactCorrupt, ArtifactMissing, ArtifactTooNew
from schemas.recipes import Recipe
from storage.objects.objects import ObjectMissing, ObjectStore, ObjectStoreError
from storage.retry import OBJECT_STORE, retry
from workers.artifacts.cost_model import CostModel, StepClock, soonest
from workers.artifacts.host_buffer_cache import HostBufferCache
from workers.artifacts.index_client import CaptureLease, IndexClient, Pin
from workers.artifacts.made_by import made_by, usable_here
from workers.artifacts.read.device_cache import DeviceTensors
from workers.artifacts.read.reader import ArtifactReader
from workers.artifacts.read.tiers import Blocks, DiskBlocks, HostBlocks, ObjectBlocks
from workers.artifacts.settings import ArtifactSettings
from workers.artifacts.write.publish import Target, find_published
from workers.artifacts.write.writer import ArtifactWriter

log = logging.getLogger("retake.artifacts")

# What an artifact may end in that is not there or not as it was: then it is done without
UNREADABLE = (ArtifactCorrupt, ArtifactMissing, ArtifactTooNew, ObjectStoreError)


class ArtifactStore:
    """Thread-safe; one per worker process, for its caches."""

    def __init__(
        self,
        objects: ObjectStore,
        settings: ArtifactSettings,
        index: IndexClient | None = None,
    ) -> None:
        self._index = index
        self.settings = settings
        self.corrupt = 0  # artifacts found damaged, since the start
        self._objects = objects
        self._costs = CostModel()
        self._memory = HostBufferCache(settings.window_bytes // 2)
        blocks: Blocks = ObjectBlocks(objects, self._memory, self._costs)
        if settings.disk_cache_bytes and settings.disk_cache_folder:
            folder = Path(settings.disk_cache_folder)
            blocks = DiskBlocks(blocks, folder, settings.disk_cache_bytes)
        self._blocks: Blocks = HostBlocks(blocks, settings.host_cache_bytes)
        self._tensors = DeviceTensors(settings.device_cache_bytes)

    def open_writer(
        self,
        *,
        project: str,
        recipe: Recipe,
        plan: CapturePlan,
        grid: tuple[int, int, int],
        expires_at: int | None = None,
        video_id: str = "",
    ) -> ArtifactWriter:
        """A sink for one capture, for ``video_id``. ``grid``: tokens as (frames, rows, columns).

        ``expires_at``: None for what the settings say. Where the same is kept already, or is being
        captured for another video, the writer only waits for that.
        """
        ttl_s = self.settings.retention_s
        if expires_at is None and ttl_s is not None:
            expires_at = int(time.time()) + ttl_s
        plan = plan.model_copy(update={"made_by": made_by()})
        target = Target(project, recipe, plan, grid, expires_at)
        attempt = f"{video_id}/{secrets.token_hex(8)}"
        lease = CaptureLease(project, target.source_key, plan.key(), attempt)
        try:
            elsewhere = find_published(self._objects, target.key) is not None
        except ObjectStoreError:
            elsewhere = False  # the capture will find out, and is not worth the video
        if not elsewhere and self._index:
            elsewhere = not self._index.begin_capture(lease, video_id)

        def on_end(visible: Manifest | None) -> None:
            if self._index and visible is not None:
                self._index.add(visible, video_id)
            if self._index and not elsewhere:
                self._index.end_capture(lease)

        return ArtifactWriter(
            self._objects,
            self.settings,
            target,
            clock=StepClock(self._costs, recipe.generation),
            elsewhere=elsewhere,
            on_end=on_end,
        )

    def find(
        self,
        project: str,
        source_key: str,
        needed: Needed,
        usable: Callable[[Manifest], bool] | None = None,
    ) -> Manifest | None:
        """The artifact that an edit is best made from, or None: then the source is replayed.

        ``usable``: what else it must be. Raises ObjectStoreError once the store's patience is over:
        a replay costs the source's run, and its video differs from that of the stored maps in the
        last bits.
        """
        return retry(
            lambda: self._find(project, source_key, needed, usable),
            OBJECT_STORE,
            self.settings.store_patience_s,
            what=f"source={source_key} lookup",
        )

    def _find(
        self,
        project: str,
        source_key: str,
        needed: Needed,
        usable: Callable[[Manifest], bool] | None,
    ) -> Manifest | None:
        now = time.time()
        found = []
        for info in self._objects.list(manifests_folder(project, source_key)):
            manifest = self._read(info.key)
            if manifest is None or not manifest.covers(needed) or manifest.expired(now):
                continue
            if not usable_here(manifest, needed):
                continue
            if usable is None or usable(manifest):
                found.append(manifest)
        if not found:
            return None
        return soonest(found, needed, self._costs)

    def named(self, project: str, artifact_id: str) -> Manifest | None:
        """The artifact of that id, None if it is not there or cannot be read."""
        key = manifest_key(project, artifact_id)
        return self._read(key) if key else None

    def open_reader(
        self, manifest: Manifest, needed: Needed, device: torch.device, *, video_id: str = ""
    ) -> ArtifactReader:
        """A source for the edit ``video_id`` (none: a map's); until it is closed, retention leaves
        it alone.

        Raises ArtifactCorrupt, and ArtifactMissing for what was deleted since it was found.
        """
        unpin: Callable[[], None] = _nothing
        if self._index:
            pin = Pin(manifest.project, manifest.source_key, secrets.token_hex(8))
            if not self._index.pin(pin):
                self._tensors.forget(manifest.folder)
                raise ArtifactMissing("the artifact is being deleted")
            unpin = partial(self._index.unpin, pin)
            self._index.touch(manifest, video_id)
        try:
            return ArtifactReader(
                self._blocks,
                self._memory,
                self._tensors,
                manifest,
                needed,
                device,
                self.settings,
                costs=self._costs,
                on_damage=self.quarantine,
                on_close=unpin,
            )
        except ArtifactCorrupt:
            unpin()
            self.quarantine(manifest)
            raise

    def free_device(self) -> bool:
        """Give back the device memory that tensors are kept in; whether there was any."""
        return self._tensors.clear()

    def quarantine(self, manifest: Manifest) -> None:
        """Take a damaged artifact out of sight; its packs are kept for a look until collected."""
        self._tensors.forget(manifest.folder)
        self._set_aside(manifest.key)
        if self._index:
            self._index.remove(manifest)

    def _read(self, key: str) -> Manifest | None:
        """None: it is not there, or of no use."""
        try:
            try:
                return self._manifest(key)
            except ArtifactCorrupt:
                return self._manifest(key)  # the way here may have done it
        except ObjectMissing:
            return None  # deleted since it was listed
        except ArtifactTooNew as error:
            log.warning("artifact=%s left alone: %s", key, error.message)
            return None
        except ArtifactCorrupt as error:
            log.error("artifact=%s corrupt: %s", key, error.message)
            self._set_aside(key)
            return None

    def _manifest(self, key: str) -> Manifest:
        manifest = parse_manifest(self._objects.get(key))
        if manifest.key != key:
            raise ArtifactCorrupt("the manifest names another place than its own")
        return manifest

    def _set_aside(self, key: str) -> None:
        self.corrupt += 1
        try:
            self._objects.put(f"quarantine/{key}", self._objects.get(key))
            self._objects.delete(key)
        except ObjectMissing:
            return  # another worker was first
        except ObjectStoreError as error:
            log.warning("artifact=%s not set aside: %s", key, type(error).__name__)


def _nothing() -> None:
    pass
