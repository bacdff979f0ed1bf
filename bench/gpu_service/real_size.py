"""A model of Wan2.1's real size through HTTP: what a caller waits for, and what ranks save.

The weights are random, so the frames are noise, the dearest that there is to encode.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.gpu_service.memory import PeakMemory
from bench.gpu_service.replicas import CHANGED, PROMPT, difference, own_maps_difference
from bench.gpu_service.service import Call, Service, open_service
from bench.gpu_service.wan_folder import Size
from retake.client import Json
from training.stock import WanPipeline
from workers.families.wan import WAN
from workers.model_settings import ModelSettings
from workers.models.overrides import dtype_argument

FEW = 4  # steps of a few-step checkpoint, which takes no guidance
GUIDANCE = 5.0
FORMS = {"latents": "latents", "hidden": "disk"}  # of captures, and what their edits are called
Figures = dict[str, float]
Say = Callable[[Mapping[str, float | None]], None]


@dataclass(frozen=True)
class Plan:
    """``steps``: of the generation that is compared with the bare pipeline, and edited.

    ``forms``: of the captures that are edited. ``bare``: whether the pipeline is run, to compare.
    ``replay``: an edit of a source that was never made, too.
    """

    model: Path
    size: Size
    gpus: int
    steps: int
    rounds: int
    forms: tuple[str, ...] = tuple(FORMS)
    bare: bool = True
    replay: bool = False

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    def settings(self, ranks: int = 1) -> ModelSettings:
        dtype = "bfloat16" if self.gpus else "float32"
        return ModelSettings(id="wan", path=str(self.model), dtype=dtype, ranks=ranks)

    def body(self, seed: int, *, steps: int = 0, capture: object = False) -> Json:
        steps = steps or self.steps
        return {"prompt": PROMPT, "seed": seed, "num_inference_steps": steps, "capture": capture}


def measure_calls(folder: Path, plan: Plan, say: Say) -> None:
    """One replica of one rank, then the bare pipeline on the same device."""
    began = time.perf_counter()
    with (
        PeakMemory.watch(plan.gpus) as peak,
        open_service(folder, gpus=plan.gpus, models=[plan.settings()]) as service,
    ):
        say({"startup_s": time.perf_counter() - began})
        service.make(plan.body(0, steps=2))
        plain = _generations(service, plan)
        say(plain)
        for seed, form in enumerate(plan.forms, 91):
            say(_edits(service, plan, form, seed, plain["step_s"]))
        for seed, form in enumerate(plan.forms, 95):
            say(_few_steps(service, form, seed))
        if plan.replay:
            say(_replayed(service, plan, plain["step_s"]))
    say({"host_peak_gib": peak.host, "device_peak_gib": peak.device})
    if not plan.bare:
        return
    with bare_pipeline(plan) as pipeline:
        run_bare(pipeline, plan, 0, 2)
        bare_s = min(run_bare(pipeline, plan, seed, plan.steps) for seed in range(plan.rounds))
    say({"pipeline_s": bare_s, "service_over_pipeline": plain["service_s"] / bare_s})


def _generations(service: Service, plan: Plan) -> Figures:
    """The best of ``rounds``, by phase."""
    calls = [service.make(plan.body(seed)) for seed in range(plan.rounds)]
    best = min(calls, key=lambda call: call.seconds)
    times = service.step_times(best.id)
    figures = {"service_s": best.seconds, "step_s": times.step, "behind_last_step_s": times.behind}
    return figures | _phases(service, best, "")


def _phases(service: Service, call: Call, prefix: str) -> Figures:
    """Seconds by phase; ``around``: what is left for HTTP, queue and commit."""
    phases = service.phases(call.id)
    around = call.seconds - sum(phases.values())
    return {f"{prefix}{name}_s": took for name, took in phases.items()} | {
        f"{prefix}around_s": around
    }


def _edits(service: Service, plan: Plan, form: str, seed: int, step_s: float) -> Figures:
    """An anchored edit of a source captured as ``form``, and one with the source's own prompt.

    ``anchored_*``: denoising over the plain generation's. ``*_edit_file_s``: to the mp4.
    """
    name = FORMS[form]
    source = service.make(plan.body(seed, capture={"form": form})).id
    edited = _edit(service, source, f"edit_{name}_")
    return {
        f"capture_{form}_over_plain": service.step_times(source).step / step_s,
        f"capture_{form}_publish_s": service.phases(source)["capture"],
        f"anchored_{name}": edited[f"edit_{name}_denoising_s"] / (plan.steps * step_s),
        f"own_maps_{name}": own_maps_difference(service, source, transfers=(None,)),
    } | edited


def _edit(service: Service, source: str, prefix: str) -> Figures:
    """An edit from the request to its downloaded file."""
    began = time.perf_counter()
    call = service.make({"prompt": CHANGED, "capture": False}, remix=source)
    service.file(call.id)
    to_file_s = time.perf_counter() - began
    if call.video["attention"] != "stored":
        raise RuntimeError(f"edit {call.id} was {call.video['attention']}, not stored")
    changed = difference(service.frames(call.id), service.frames(source))
    return {f"{prefix}file_s": to_file_s, f"{prefix}changed": changed} | _phases(
        service, call, prefix
    )


def _replayed(service: Service, plan: Plan, step_s: float) -> Figures:
    """An edit of a source that was never made: what it takes over a plain generation."""
    source = plan.body(99)
    del source["capture"]
    began = time.perf_counter()
    sent = service.client.edit(prompt=CHANGED, source=source, capture=False)
    call = service.wait(str(sent["id"]), began)
    phases = service.phases(call.id)
    runs_s = phases["rest"] + phases["text"] + phases["denoising"]
    return {"edit_replayed_s": call.seconds, "anchored_replayed": runs_s / (plan.steps * step_s)}


def _few_steps(service: Service, form: str, seed: int) -> Figures:
    """As of a few-step checkpoint: a generation without guidance, and its edit."""
    body: Json = {"prompt": PROMPT, "seed": seed, "num_inference_steps": FEW, "guidance_scale": 1.0}
    source = service.make({**body, "capture": {"form": form}})
    name = f"few_steps_{FORMS[form]}"
    return {f"{name}_s": source.seconds} | _edit(service, source.id, f"edit_{name}_")


def measure_ranks(folder: Path, plan: Plan, ranks: int) -> Figures:
    """Seconds of a step of one replica of ``ranks``, without and with capture, and own maps."""
    with open_service(folder, gpus=plan.gpus, models=[plan.settings(ranks)]) as service:
        service.make(plan.body(0, steps=2))
        plain = service.step_times(service.make(plan.body(1)).id).step
        source = service.make(plan.body(2, capture=True)).id
        figures = {
            "step_s": plain,
            "capture_over_plain": service.step_times(source).step / plain,
            "own_maps": own_maps_difference(service, source, transfers=(None,)),
        }
        return figures | _edit(service, source, "edit_")


@contextmanager
def bare_pipeline(plan: Plan) -> Iterator[Any]:
    """The stock pipeline in this process, in the service's dtypes; its memory is given back."""
    dtype = dtype_argument(WAN, plan.settings())
    pipeline: Any = WanPipeline.from_pretrained(plan.model, dtype=dtype).to(plan.device)
    pipeline.set_progress_bar_config(disable=True)
    if not plan.gpus:
        torch.set_num_threads(1)  # as the worker's
    yield pipeline
    del pipeline
    gc.collect()
    if plan.gpus:
        torch.cuda.empty_cache()


def run_bare(pipeline: Any, plan: Plan, seed: int, steps: int) -> float:
    """Seconds of the pipeline's call alone, decoding included: no file is written."""
    began = time.perf_counter()
    pipeline(
        prompt=PROMPT,
        negative_prompt="",
        width=plan.size.width,
        height=plan.size.height,
        num_frames=plan.size.num_frames,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    )
    return time.perf_counter() - began
