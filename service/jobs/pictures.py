"""The pictures of one request: fitted while its recipes are made, stored before its jobs are.

Each job has its own copies, in its own folder, of every picture that a replay of its recipe's
chain starts from: they live exactly as long as the job's record, whatever becomes of its sources.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from schemas.errors import InvalidRequest, NotFound, Unsupported
from schemas.jobs import JobSpec
from schemas.models import ModelCard
from schemas.recipes import Generation
from schemas.requests import InputReference, PictureInput
from service.jobs.uploads import read_picture
from service.request.auth import Call
from service.wire.pictures import data_of, fit_picture, is_data_url
from storage.objects.objects import ObjectMissing, ObjectStoreError

MAX_FETCHED = 4  # addresses, by one request: each takes its time, and stays in memory until its end


class RequestPictures:
    """Of the request ``call``, which may make several jobs."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._files: dict[str, bytes] = {}  # PNG, by name
        self._fetched: dict[str, bytes] = {}  # by address
        self._stored: dict[str, list[str]] = {}  # keys of objects that hold it, by name

    async def put_into(
        self, generation: Generation, asked: PictureInput, card: ModelCard, prefix: str = ""
    ) -> Generation:
        """``generation`` starting from the picture that is ``asked`` for, if there is one.

        Raises InvalidRequest, Unsupported or TooLarge if the model takes none, cannot do without
        one, or the picture is not one.
        """
        param = f"{prefix}input_reference"
        if asked.input_reference is None:
            if "image" in card.required_inputs and generation.picture is None:
                raise InvalidRequest(
                    f"{param}: is required: model {card.id!r} starts from a picture", param=param
                )
            return generation
        if "image" not in card.inputs:
            raise await self._takes_none(card, param)
        settings = self._call.state.settings
        data = await self._data_of(asked.input_reference, param)
        async with self._call.state.decoding:
            made = await asyncio.to_thread(
                fit_picture,
                data,
                generation.width,
                generation.height,
                asked.input_reference_fit or "crop",
                max_pixels=settings.max_picture_pixels,
                param=param,
            )
        self._files[made.picture.sha256] = made.png
        return generation.model_copy(update={"picture": made.picture})

    def hold(self, name: str, png: bytes) -> None:
        """Note what ``store`` is to put beside the pictures, under that name: a mask."""
        self._files[name] = png

    async def _data_of(self, reference: InputReference, param: str) -> bytes:
        """The file that ``reference`` means, from wherever it is."""
        state, url = self._call.state, reference.image_url
        if reference.file_id is not None:
            return await read_picture(self._call, reference.file_id, f"{param}.file_id")
        assert url is not None  # the schema asks for one of the two
        if is_data_url(url):
            return data_of(url, state.settings.max_picture_bytes, param)
        if url not in self._fetched:
            if len(self._fetched) == MAX_FETCHED:
                raise InvalidRequest(
                    f"{param}.image_url: one request may name {MAX_FETCHED} addresses; upload the "
                    "pictures, and give their file_id",
                    param=f"{param}.image_url",
                )
            self._fetched[url] = await state.picture_fetcher.fetch(url, f"{param}.image_url")
        return self._fetched[url]

    async def _takes_none(self, card: ModelCard, param: str) -> Unsupported:
        cards = await self._call.state.catalogue.cards()
        others = ", ".join(each.id for each in cards.values() if "image" in each.inputs)
        return Unsupported(
            f"{param}: model {card.id!r} starts from text alone; those that take a picture: "
            f"{others or 'none that is loaded'}",
            param=param,
        )

    def keep(self, source: JobSpec) -> None:
        """Note where the pictures of ``source`` are, for jobs that are made of it."""
        for name in source.pictures():
            key = source.picture_key(name)
            self._stored.setdefault(name, []).append(key)

    async def store(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """``specs`` with their pictures in the object store. Raises NotFound for one whose source
        was deleted meanwhile, and ObjectStoreError."""
        if not any(spec.pictures() for spec in specs):
            return list(specs)
        return await asyncio.to_thread(lambda: [self._store_of(spec) for spec in specs])

    def _store_of(self, spec: JobSpec) -> JobSpec:
        size = 0
        for name in spec.pictures():
            data = self._read(name)
            key = spec.picture_key(name)
            self._call.state.objects.put(key, data, content_type="image/png")
            size += len(data)
        return spec.model_copy(update={"picture_bytes": size})

    def _read(self, name: str) -> bytes:
        for key in self._stored.get(name, ()):
            if name in self._files:
                break
            try:
                self._files[name] = self._call.state.objects.get(key)
            except ObjectMissing:
                continue
        if name not in self._files:
            raise NotFound("a picture or mask that the source is made with is no longer stored")
        return self._files[name]

    async def discard(self, specs: Sequence[JobSpec]) -> None:
        """Delete what was stored for jobs that were not accepted; the collector takes the rest."""
        for spec in specs:
            if spec.picture_bytes:
                with contextlib.suppress(ObjectStoreError):
                    await asyncio.to_thread(self._call.state.objects.delete_prefix, spec.folder)
