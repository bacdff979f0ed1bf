"""The pipelines that conformance runs on: at least one of every family in the registry."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from schemas.recipes import Recipe
from tests import tiny
from tests.workers.bench import Bench
from tests.workers.families import (
    builders_cross,
    builders_joint,
    builders_pictures,
    builders_wan,
)
from workers.families.registry import FAMILIES
from workers.model_settings import CardDefaults, ModelSettings
from workers.models.pipelines import LoadedModel, prepare


@dataclass(frozen=True)
class Case:
    """``without``: what the family cannot do, and why; the suite skips it and docs/models.md says
    it. ``joint``: text is in the same attention map as the video. ``given``: of the latent frames,
    how many are not what was denoised when they are decoded. ``pictured``: starts from a picture
    though it need not."""

    name: str
    build: Callable[[], Any]
    frames: int = 9
    size: int = 32
    joint: bool = False
    given: int = 0
    pictured: bool = False
    without: dict[str, str] = field(default_factory=dict)

    def load(self, folder: Path, **settings: Any) -> LoadedModel:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        pipeline = self.build()
        defaults = CardDefaults(
            width=self.size,
            height=self.size,
            num_frames=self.frames,
            num_inference_steps=2,
            guidance_scale=4.0,
            max_width=4 * self.size,
            max_height=4 * self.size,
            max_frames=33,
        )
        values: dict[str, Any] = {"id": "tiny", "path": str(folder), "dtype": "float32"}
        values |= {"defaults": defaults, **settings}
        family = FAMILIES[type(pipeline).__name__]
        return prepare(pipeline, family, ModelSettings(**values), folder)


@dataclass
class Runs(Bench):
    """A bench that remembers plain runs and captures: every check starts from the same ones."""

    case: Case | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    def recipe(self, prompt: str = "a car", **changes: Any) -> Recipe:
        assert self.case is not None
        made = super().recipe(prompt, **changes)
        return tiny.with_picture(self.model, made) if self.case.pictured else made

    @property
    def source(self) -> Recipe:
        return self.recipe("a car")

    def plain(self, prompt: str) -> torch.Tensor:
        if prompt not in self.kept:
            self.kept[prompt] = self.latents_of(self.recipe(prompt))
        latents: torch.Tensor = self.kept[prompt]
        return latents

    def maps(self, form: Any) -> Any:
        key = f"maps {form}"
        if key not in self.kept:
            self.kept[key] = self.captured(self.source, form)[0]
        return self.kept[key]

    def edited(self, form: Any = "hidden", **transfer: Any) -> torch.Tensor:
        key = f"edit {form} {sorted(transfer.items())}"
        if key not in self.kept:
            edit = self.edit(self.source, "some dog", **transfer)
            self.kept[key] = self.latents_of(edit, transfer_from=self.maps(form), form=form)
        latents: torch.Tensor = self.kept[key]
        return latents


LINEAR = {"transfer": "linear attention: there is no softmax map"}
BY_ROW = {"one graph": "its own code for text of any length breaks the graph"}
SISTER = {"compiled": "its blocks are those of its sister from text, which is compiled there"}
LTX2 = {"compiled": "works, but recompiles for each kind of guidance, too long for this suite"}

CASES = (
    Case("wan", builders_wan.wan),
    Case("wan-a14b", builders_wan.wan_a14b),
    Case("wan-i2v", builders_wan.wan_i2v),
    Case("wan-i2v-a14b", builders_wan.wan_i2v_a14b, without=SISTER),
    Case("wan-ti2v", builders_wan.wan_ti2v, given=1),
    Case("hunyuan-video", builders_joint.hunyuan_video, joint=True),
    Case("hunyuan-video-i2v", builders_pictures.hunyuan_video_i2v, joint=True),
    Case(
        "hunyuan-skyreels-i2v", builders_pictures.hunyuan_skyreels_i2v, joint=True, without=SISTER
    ),
    Case("cogvideox", builders_joint.cogvideox, joint=True),
    Case("cogvideox-1.5", builders_joint.cogvideox15, joint=True),
    Case("cogvideox-i2v", builders_joint.cogvideox_i2v, joint=True, without=SISTER),
    Case("cogvideox-1.5-i2v", builders_joint.cogvideox15_i2v, joint=True, without=SISTER),
    Case("mochi", builders_cross.mochi, frames=7, joint=True, without=BY_ROW),
    Case("hunyuan-video-1.5", builders_joint.hunyuan_video15, frames=3, size=16, joint=True),
    Case(
        "hunyuan-video-1.5-i2v",
        builders_pictures.hunyuan_video15_i2v,
        3,
        16,
        joint=True,
        without=SISTER,
    ),
    Case("ltx", builders_cross.ltx, size=64),
    Case("ltx-i2v", builders_pictures.ltx_i2v, size=64, without=SISTER),
    Case("ltx-condition", builders_pictures.ltx_condition, size=64, pictured=True, without=SISTER),
    Case("ltx-2", builders_cross.ltx2, frames=3, without=LTX2),
    Case("ltx-2-i2v", builders_pictures.ltx2_i2v, frames=3, without=LTX2),
    Case("skyreels-v2", builders_wan.skyreels_v2),
    Case("skyreels-v2-i2v", builders_wan.skyreels_v2_i2v),
    Case("skyreels-v2-df", builders_wan.skyreels_v2_df),
    Case("skyreels-v2-df-i2v", builders_wan.skyreels_v2_df_i2v, without=SISTER),
    Case("kandinsky-5", builders_cross.kandinsky5),
    Case("kandinsky-5-i2v", builders_pictures.kandinsky5_i2v, frames=17, given=4, without=SISTER),
    Case("allegro", builders_cross.allegro, frames=24, size=128),  # a tile
    Case("latte", builders_cross.latte, frames=4, size=8),
    Case("cosmos", builders_cross.cosmos),
    Case("easyanimate", builders_joint.easyanimate, joint=True),
    Case("motif-video", builders_wan.motif_video, joint=True),
    Case("motif-video-i2v", builders_pictures.motif_video_i2v, joint=True, without=SISTER),
    Case("helios", builders_wan.helios, frames=33),
    Case("anyflow", builders_wan.anyflow),
    Case("sana-video", builders_wan.sana_video, without=LINEAR),
    Case("sana-video-i2v", builders_pictures.sana_video_i2v, without=LINEAR),
)
