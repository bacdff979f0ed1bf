"""What a job computed, kept so that another worker goes on from there.

The transformer's outputs are written down call by call. When the job is taken up again, the stock
pipeline runs from its beginning, but calls that were written down are answered from the journal:
the scheduler, whatever its state, comes to where it was, and the video is the same to the byte.

A journal belongs to one way of computing: model, device, library, and where attention comes from.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from schemas.base import canonical_hash
from storage.objects.objects import ObjectMissing, ObjectStore, ObjectStoreError
from workers.artifacts.codecs.checksum import crc32c
from workers.models.pipelines import LoadedModel
from workers.patching import replaced

log = logging.getLogger("retake.worker")

Outputs = tuple[Tensor, ...]
_AHEAD = 8  # outputs that may wait for the store


def journals_folder(project: str, video_id: str) -> str:
    return f"journal/{project}/{video_id}"


class Journal:
    """Of one job. ``after_s``: nothing is written before the job has run for so long: a shorter
    one is sooner run again than taken up."""

    def __init__(
        self, objects: ObjectStore, model: LoadedModel, folder: str, way: str, after_s: float
    ) -> None:
        device = model.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        made_by = [model.card.fingerprint, name, torch.__version__, way]
        self._folder = f"{folder}/{canonical_hash(made_by)[:16]}"
        self._objects, self._model, self._after_s = objects, model, after_s
        self._device = device
        self._known = self._count()
        self._calls = 0
        self._unwritten: list[Outputs] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._writing: list[Future[None]] = []
        self._off = False
        self._began = time.monotonic()

    @property
    def resumes(self) -> bool:
        """Whether calls were written down that need not be computed again."""
        return self._known > 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Answer and write down the transformers' calls within the block."""
        ended = False
        try:
            with ExitStack() as forwards:
                for transformer in self._model.hooks.transformers:
                    forward = self._forward_of(transformer)
                    forwards.enter_context(replaced(transformer, "forward", forward))
                yield
            ended = True
        finally:
            self._writer.shutdown(wait=True, cancel_futures=ended)

    def _forward_of(self, transformer: nn.Module) -> Callable[..., Any]:
        """The transformer's forward, which asks the journal first."""
        compute = transformer.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            number, self._calls = self._calls, self._calls + 1
            written = self._read(number) if number < self._known else None
            if written is not None:
                self._pass_layers(transformer)
                return written
            self._known = 0  # from here on everything is computed
            outputs = compute(*args, **kwargs)
            self._note(number, outputs)
            return outputs

        return forward

    def _pass_layers(self, transformer: nn.Module) -> None:
        """Tell the run that the layers are not missed, but not needed."""
        run = self._model.hooks.current
        if run is not None:
            run.pass_by(self._model.hooks.modules_of(transformer))

    def _note(self, number: int, outputs: Any) -> None:
        if self._off:
            return
        if not isinstance(outputs, tuple) or not all(isinstance(each, Tensor) for each in outputs):
            self._off = True
            return
        self._unwritten.append(tuple(each.detach().to("cpu", copy=True) for each in outputs))
        if time.monotonic() - self._began < self._after_s:
            return
        first = number + 1 - len(self._unwritten)
        for place, each in enumerate(self._unwritten, first):
            self._writing.append(self._writer.submit(self._write, place, each))
        self._unwritten = []
        while len(self._writing) > _AHEAD:
            self._writing.pop(0).result()

    def _write(self, number: int, outputs: Outputs) -> None:
        if self._off:
            return
        data = save({str(place): each.contiguous() for place, each in enumerate(outputs)})
        sum_ = crc32c(data).to_bytes(4, "big")
        try:
            self._objects.put(self._key(number), [sum_, data], durable=False)
        except ObjectStoreError as error:
            log.warning("journal given up: %s", type(error).__name__)
            self._off = True  # a gap: what follows would be of no use

    def _read(self, number: int) -> Outputs | None:
        """None: it is not there, or damaged; then it is computed."""
        try:
            data = self._objects.get(self._key(number))
        except (ObjectMissing, ObjectStoreError):
            return None
        if crc32c(data[4:]).to_bytes(4, "big") != data[:4]:
            log.error("journal damaged at call %d", number)
            return None
        tensors = load(data[4:])
        return tuple(tensors[str(place)].to(self._device) for place in range(len(tensors)))

    def _count(self) -> int:
        """How many calls are written down without a gap."""
        try:
            numbers = {int(info.key.rsplit("/", 1)[1]) for info in self._objects.list(self._folder)}
        except ObjectStoreError:
            return 0
        return next(number for number in range(len(numbers) + 1) if number not in numbers)

    def _key(self, number: int) -> str:
        return f"{self._folder}/{number:06d}"
