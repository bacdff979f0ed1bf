"""Two forwards in turn: a body on a thread of its own, which runs only while it is asked to.

A generator would do if the body were ours; it is a model's forward, which hands over deep inside
its hooks. Threads in place of switched stacks: what torch and CUDA keep for each thread (guards,
plans of kernels) then stays with its forward.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import Any, NamedTuple

import torch

_KINDS = ("cpu", "cuda")
_cuda: Any = torch.cuda  # untyped


class Abandoned(BaseException):
    """Raised in the body where it paused, once nobody wants more of it."""


class ThreadCoroutine:
    """One thread for one body after another; either its caller runs or the body, never both.

    For one caller at a time. ``close`` ends the thread, in whatever state the body is.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._caller, self._other = threading.Semaphore(0), threading.Semaphore(0)
        self._body: Callable[[], None] | None = None  # None: it has ended
        self._error: BaseException | None = None
        self._abandoned = self._closed = False

    def begin(self, body: Callable[[], None]) -> None:
        """Have ``body`` run from the next ``resume`` on, in this thread's modes and variables."""
        assert not self._closed
        self.abandon()
        modes, variables = Modes.here(), copy_context()

        def run() -> None:
            with modes.entered():
                body()

        self._body = lambda: variables.run(run)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()

    def resume(self) -> bool:
        """Let the body run until it pauses. False: it has ended. Raises what it raised."""
        if self._body is None:
            return False
        self._other.release()
        self._caller.acquire()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # it refers to the body's tensors
        return self._body is not None

    def pause(self) -> None:
        """Called by the body: let the caller run until it resumes."""
        self._caller.release()
        self._other.acquire()
        if self._abandoned:
            raise Abandoned

    def abandon(self) -> None:
        """End the body where it paused, if it has not ended."""
        if self._body is not None:
            self._abandoned = True
            self._other.release()
            self._caller.acquire()
            self._abandoned, self._error = False, None  # whatever it made of that

    def close(self) -> None:
        """Abandon the body and end the thread. Safe to call again."""
        self._abandoned = self._closed = True
        self._other.release()
        if self._thread is not None:
            self._thread.join()  # no turn is counted: the caller may have been interrupted in one

    def _serve(self) -> None:
        while True:
            self._other.acquire()
            if self._body is not None and not self._abandoned:
                self._attempt(self._body)
            self._body = None
            if self._closed:
                return
            self._caller.release()

    def _attempt(self, body: Callable[[], None]) -> None:
        try:
            body()
        except Abandoned:
            pass
        except BaseException as error:  # whatever it is, it is the caller's
            self._error = error


class Modes(NamedTuple):
    """What torch keeps for each thread and a forward depends on. ``autocast``: by device type."""

    inference: bool
    autocast: dict[str, tuple[bool, torch.dtype]]
    stream: torch.cuda.Stream | None

    @classmethod
    def here(cls) -> "Modes":
        return cls(
            inference=torch.is_inference_mode_enabled(),
            autocast={
                kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
                for kind in _KINDS
            },
            stream=torch.cuda.current_stream() if _cuda.is_initialized() else None,
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(self.inference))
            for kind, (enabled, dtype) in self.autocast.items():
                if enabled:
                    stack.enter_context(torch.autocast(kind, dtype))
            stack.enter_context(torch.cuda.stream(self.stream))  # and its device; None: neither
            yield
