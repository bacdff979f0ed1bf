"""The run of an uploaded film: the stock pipeline walks the straight path from noise to the film.

With x0 the film's latents and n the pipeline's own noise, x(sigma) = x0 + sigma · (n - x0) has the
velocity n - x0 at every step. Every call of the transformer is answered with it, so the pipeline
and its scheduler run as ever and end at x0. At the steps that edits compute, cond is run as well,
on the path's latents with the source's prompt: for its attention, and for its output, which an
edit's own is compared with. So a film is a source like an anchored edit, and needs no inversion
(the path is FlowEdit's, arXiv 2412.08629).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from schemas.capture_plan import COMPUTED, INPUTS, OUTPUTS, VELOCITY
from schemas.errors import Unsupported
from workers.attention.maps import Address, MapSink
from workers.attention.run import Run
from workers.attention.transfer import Capture
from workers.generation.anchored_calls import AnchoredCalls
from workers.models.pipelines import LoadedModel
from workers.patching import replaced

Tensors = tuple[Tensor, ...]


@contextmanager
def film_calls(model: LoadedModel, run: Run, film: Tensor | None) -> Iterator[None]:
    """Answer the transformers' calls of ``run`` within the block along ``film`` (1, …), if any.

    The steps that are computed are those of the run's capture.
    """
    if film is None:
        yield
        return
    capture = run.capture
    assert capture is not None
    run.capture = Capture(capture.plan, FilmSink(capture.sink))
    answers = FilmCalls(model, run, film)
    with ExitStack() as stack:
        for transformer in model.hooks.transformers:
            stack.enter_context(replaced(transformer, "forward", answers.forward_of(transformer)))
        yield


class FilmSink:
    """A MapSink that leaves out what the transformer's calls were answered: it never changes."""

    def __init__(self, sink: MapSink) -> None:
        self._sink = sink

    def put(self, address: Address, name: str, tensor: Tensor) -> None:
        if address.layer != INPUTS or not name.endswith(OUTPUTS):
            self._sink.put(address, name, tensor)


class FilmCalls(AnchoredCalls):
    """Of one run of one video."""

    def __init__(self, model: LoadedModel, run: Run, film: Tensor) -> None:
        assert run.capture is not None
        super().__init__(model.hooks, run, (), run.capture.plan.steps)
        self._scheduler = model.pipeline.scheduler
        self._latents_name = model.family.step_inputs[0]
        self._film = film
        self._velocity: Tensor | None = None

    def _note(self, outputs: Tensors) -> None:
        """Keep what cond gave: the edits compare their own with it."""
        run = self._run
        assert run.capture is not None
        for name, tensor in zip(COMPUTED, outputs, strict=False):
            run.capture.sink.put(Address(run.step, "cond", INPUTS), name, tensor[-1:])

    def _answer(self) -> Tensors:
        """(branches, …) float32: the velocity of the path, whatever the branch."""
        run = self._run
        if self._velocity is None:
            self._velocity = self._from_noise(run.inputs[self._latents_name])
            assert run.capture is not None
            run.capture.sink.put(Address(0, "cond", INPUTS), VELOCITY, self._velocity)
        return (torch.cat([self._velocity] * max(1, len(run.here))),)

    def _from_noise(self, latents: Tensor) -> Tensor:
        """The velocity, from the latents (B, …) of the first call: the same noise in each row."""
        noise = latents[-1:].float()
        film = self._film.to(noise.device)
        if film.shape != noise.shape:
            raise Unsupported(
                f"model: its latents of shape {tuple(noise.shape)} do not follow an uploaded "
                f"video's, {tuple(film.shape)}",
                param="model",
            )
        first, last = (float(self._scheduler.sigmas[place]) for place in (0, -1))
        # not just noise - film: schedulers may begin below 1, and some count from 0 to 1
        return (film - noise) / (last - first)
