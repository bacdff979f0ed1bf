"""Processes that form a group over loopback, and what they tell the test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch.multiprocessing as mp

from tests import tiny
from workers.model_settings import ModelSettings
from workers.models.pipelines import LoadedModel, load_model
from workers.models.rank_group import RankGroup, listen

Part = Callable[..., Any]


@dataclass
class Party:
    """``size`` ranks that each hold the tiny model in ``folder``; ``run`` has all do one thing.

    ``pipes``: to each rank. A part is a function of a module, of the rank's model and arguments.
    """

    pipes: list[Connection] = field(default_factory=list)
    ranks: list[Any] = field(default_factory=list)

    def run(self, part: Part, *args: Any) -> list[Any]:
        """What each rank gave; an exception is given, not raised."""
        self.send(part, *args)
        return [self.result(rank) for rank in range(len(self.pipes))]

    def send(self, part: Part, *args: Any) -> None:
        for pipe in self.pipes:
            pipe.send((part, args))

    def result(self, rank: int) -> Any:
        assert self.pipes[rank].poll(60), f"rank {rank} gave nothing in a minute"
        return self.pipes[rank].recv()


@contextmanager
def party(folder: str, size: int = 2, timeout_s: float = 30.0, **settings: Any) -> Iterator[Party]:
    """Started, with the model loaded on each; ended, whatever they do."""
    # not a fork of a process that has torch: its CUDA build refuses CUDA in one, even to say that
    # there is none
    context = mp.get_context("spawn")
    ends = [context.Pipe() for _ in range(size)]
    told = Party([end[0] for end in ends])
    port = None
    for rank, (_, theirs) in enumerate(ends):
        args = (rank, size, port, folder, timeout_s, settings, theirs)
        process = context.Process(target=serve, args=args, daemon=True)
        process.start()
        told.ranks.append(process)
        if port is None:
            port = told.result(0)
    try:
        for rank in range(size):
            ready = told.result(rank)
            assert ready == "loaded", ready
        yield told
    finally:
        for process in told.ranks:
            process.kill()
            process.join()


def serve(
    rank: int,
    size: int,
    port: int | None,
    folder: str,
    timeout_s: float,
    settings: dict[str, Any],
    pipe: Connection,
) -> None:
    """A rank: meets the others, loads the model, does what it is sent until it is killed."""
    try:
        model = _load(rank, size, port, folder, timeout_s, settings, pipe)
        pipe.send("loaded")
    except Exception as error:  # the test is told
        pipe.send(error)
        return
    while True:
        part, args = pipe.recv()
        try:
            pipe.send(part(model, *args))
        except Exception as error:  # the test is told
            pipe.send(error)


def _load(
    rank: int,
    size: int,
    port: int | None,
    folder: str,
    timeout_s: float,
    settings: dict[str, Any],
    pipe: Connection,
) -> LoadedModel:
    if port is None:
        store = listen()
        pipe.send(store.port)
        group = RankGroup(store, rank, size, timeout_s)
    else:
        group = RankGroup.join(port, rank, size, timeout_s)
    values = {"id": "tiny", "path": folder, "dtype": "float32", "defaults": tiny.DEFAULTS}
    return load_model(ModelSettings(ranks=size, **(values | settings)), group)
