"""The processes that make one video together: how they meet, share its tokens, and stop together.

Every rank runs the same pipeline on the same recipe. diffusers' context parallel (Ulysses) gives
each a run of the tokens at the first block, exchanges heads for tokens around each attention, and
gathers the tokens again behind the last; so hooks on a projection see this rank's tokens alone.

Ranks wait for one another in collectives. What only rank 0 knows (a cancellation, a damaged
artifact) is therefore told to all at points where all listen: ``broadcast_from_root``. A rank that
fails elsewhere leaves the others waiting, and the group is of no use afterwards: it ends its
process, which closes its connections, and that ends their wait, as the time-out does.
"""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from diffusers.hooks.context_parallel import apply_context_parallel
from diffusers.models._modeling_parallel import (
    ContextParallelConfig,
    ContextParallelOutput,
    ParallelConfig,
)
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it

_HOST = "127.0.0.1"
_GO, _STOP = 0, 1
_MEETING = timedelta(minutes=10)  # the slowest process imports torch, from a cold disk
_DTYPES = (
    torch.uint8, torch.int32, torch.int64, torch.bool, torch.float32, torch.bfloat16,
    torch.float16, torch.float64, torch.int8, torch.float8_e4m3fn,
)  # fmt: skip
_DIMS = 5  # a latent video has (B, C, F, H, W)


class Stopped(Exception):
    """Rank 0 has ended the run: cancelled, handed back, or unable to read its source."""


class Header(NamedTuple):
    """What rank 0 holds, as every rank knows it: ``tensor`` is None elsewhere."""

    tensor: Tensor | None
    shape: tuple[int, ...]
    dtype: torch.dtype


def listen() -> TCPStore:
    """Rank 0's meeting place, on loopback: ranks share a host. Its ``port`` is for the others."""
    listener = socket.create_server((_HOST, 0))
    port = listener.getsockname()[1]
    # detached: the store closes it
    return TCPStore(
        _HOST, port, is_master=True, wait_for_workers=False, timeout=_MEETING,
        master_listen_fd=listener.detach(),
    )  # fmt: skip


class RankGroup:
    """Of this process: torch.distributed knows one.

    ``stopped``: the run's error was told to all ranks, so the group is whole. ``tokens``: N of
    the run. Raises RuntimeError (torch's DistBackendError is one) from anything that waits for
    the others once one of them is gone or silent for ``timeout_s``.
    """

    def __init__(self, store: TCPStore, rank: int, size: int, timeout_s: float) -> None:
        """Returns when all ranks have come. ``store``: rank 0's ``listen``."""
        store.set(f"here/{rank}", "")
        store.wait([f"here/{each}" for each in range(size)], _MEETING)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it takes what the host's name says
        cuda = torch.cuda.is_available()
        if cuda:  # Ray shows each rank its own card alone, or all of them to everyone
            torch.cuda.set_device(rank % torch.cuda.device_count())
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "cpu:gloo",  # diffusers takes CUDA if it is not named
            store=store,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=timeout_s),
        )
        self.rank, self.size = rank, size
        self._store = store
        self.stopped = False
        self.tokens = 0
        self._context = ContextParallelConfig(ulysses_degree=size)
        self._config = ParallelConfig(context_parallel_config=self._context)
        kind = "cuda" if cuda else "cpu"
        mesh = dist.device_mesh.init_device_mesh(
            kind, self._context.mesh_shape, mesh_dim_names=self._context.mesh_dim_names
        )
        self._config.setup(rank, size, torch.device(kind), mesh=mesh)

    @staticmethod
    def join(port: int, rank: int, size: int, timeout_s: float) -> "RankGroup":
        """Meet rank 0, which listens there."""
        store = TCPStore(_HOST, port, is_master=False, timeout=_MEETING)
        return RankGroup(store, rank, size, timeout_s)

    def spread(self, transformer: Any) -> None:
        """Share ``transformer``'s tokens among the ranks. Raises ValueError where it cannot be.

        diffusers' ``enable_parallelism`` in the parts that it is made of: itself it divides by the
        number of accelerators, which a machine without any has none of.
        """
        heads = transformer.config.num_attention_heads
        if heads % self.size:
            raise ValueError(f"{heads} heads cannot be shared evenly by {self.size} ranks")
        for module in transformer.modules():
            processor: Any = getattr(module, "processor", None)
            if hasattr(processor, "_parallel_config"):
                processor._parallel_config = self._config
        plan = dict(transformer._cp_plan)
        for path, part in transformer._cp_plan.items():
            if isinstance(part, ContextParallelOutput):
                # diffusers' own gathers uneven shares in a way that gloo has not
                assert part.gather_dim == 1
                transformer.get_submodule(path).register_forward_hook(self._unite)
                del plan[path]
        apply_context_parallel(transformer, self._context, plan)

    def _unite(self, module: nn.Module, args: tuple[Any, ...], own: Tensor) -> Tensor:
        """All tokens (B, N, D), on every rank, of each rank's (B, n, D)."""
        shares = self.shares(self.tokens)
        longest = shares[0].stop
        padded = own.new_zeros(own.shape[0], longest, *own.shape[2:])
        padded[:, : own.shape[1]] = own
        parts = [torch.empty_like(padded) for _ in shares]
        dist.all_gather([_bytes(part) for part in parts], _bytes(padded))
        lengths = [share.stop - share.start for share in shares]
        return torch.cat([part[:, :length] for part, length in zip(parts, lengths, strict=True)], 1)

    def begin(self, tokens: int) -> None:
        """A run of ``tokens`` begins; every rank says so."""
        self.tokens, self.stopped = tokens, False
        # uneven shares cost one more exchange in every layer
        self._context.ulysses_anything = tokens % self.size != 0

    def broadcast_from_root(self, call: Callable[[], Tensor | None] | None) -> Header:
        """Rank 0 makes the call; the others learn the shape of what it gave.

        If it raises, so do all: rank 0 its error, the others Stopped.
        """
        if self.rank == 0:
            assert call is not None
            try:
                tensor = call()
            except BaseException:
                self._announce(_STOP, None)
                self.stopped = True
                raise
            self._announce(_GO, tensor)
            shape, dtype = ((), torch.uint8) if tensor is None else (tensor.shape, tensor.dtype)
            return Header(tensor, tuple(shape), dtype)
        header = torch.zeros(3 + _DIMS, dtype=torch.int64)
        dist.broadcast(header, src=0)
        verdict, kind, dims, *sizes = header.tolist()
        if verdict == _STOP:
            self.stopped = True
            raise Stopped
        return Header(None, tuple(sizes[:dims]), _DTYPES[kind])

    def _announce(self, verdict: int, tensor: Tensor | None) -> None:
        shape = [] if tensor is None else list(tensor.shape)
        kind = 0 if tensor is None else _DTYPES.index(tensor.dtype)
        header = [verdict, kind, len(shape), *shape] + [0] * (_DIMS - len(shape))
        dist.broadcast(torch.tensor(header, dtype=torch.int64), src=0)

    def broadcast(self, header: Header, device: torch.device) -> Tensor:
        """Rank 0's tensor, whole, on every rank."""
        tensor = header.tensor
        if tensor is None:
            tensor = torch.empty(header.shape, dtype=header.dtype, device=device)
        tensor = tensor.contiguous()
        dist.broadcast(_bytes(tensor), src=0)
        return tensor

    def scatter(self, header: Header, device: torch.device) -> Tensor:
        """This rank's tokens (B, n, …) of rank 0's tensor (B, N, …)."""
        shares = self.shares(header.shape[1])
        if header.tensor is not None:
            for rank in range(1, self.size):
                dist.send(_bytes(header.tensor[:, shares[rank]].contiguous()), dst=rank)
            return header.tensor[:, shares[0]].contiguous()
        own = shares[self.rank]
        shape = (header.shape[0], own.stop - own.start, *header.shape[2:])
        tensor = torch.empty(shape, dtype=header.dtype, device=device)
        dist.recv(_bytes(tensor), src=0)
        return tensor

    def gather(self, own: Tensor) -> Tensor | None:
        """All tokens (B, N, …) on rank 0 of each rank's (B, n, …); None elsewhere."""
        if self.rank:
            dist.send(_bytes(own.contiguous()), dst=0)
            return None
        shares = self.shares(self.tokens)
        whole = own.new_empty(own.shape[0], self.tokens, *own.shape[2:])
        whole[:, shares[0]] = own
        for rank in range(1, self.size):
            part = torch.empty_like(whole[:, shares[rank]], memory_format=torch.contiguous_format)
            dist.recv(_bytes(part), src=rank)
            whole[:, shares[rank]] = part
        return whole

    def shares(self, tokens: int) -> list[slice]:
        """Whose the tokens are, rank by rank: ``torch.tensor_split``, as diffusers splits them."""
        small, larger = divmod(tokens, self.size)
        ends = [(rank + 1) * small + min(rank + 1, larger) for rank in range(self.size)]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def leave_failure_reason(self, reason: str) -> None:
        """For rank 0, from a rank that fails and is about to end its process."""
        self._store.set("word", reason)

    def failure_reason(self) -> str | None:
        """On rank 0: what a rank that failed has left."""
        return self._store.get("word").decode() if self._store.check(["word"]) else None


def can_spread(transformer: nn.Module) -> bool:
    """Whether diffusers says how to share this transformer's tokens."""
    return getattr(transformer, "_cp_plan", None) is not None


def _bytes(tensor: Tensor) -> Tensor:
    """A contiguous tensor's memory: what is sent must arrive to the bit, whatever its dtype."""
    return tensor.view(-1).view(torch.uint8)
