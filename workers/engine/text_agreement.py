"""How well frames agree with a text, by a CLIP model (arXiv 2103.00020) from a folder."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

log = logging.getLogger("retake.worker")
parts: Any = transformers  # untyped
_FRAMES = 8  # of a video that are looked at: what an edit changed, it changed in all of them


class TextAgreement:
    """The model in ``folder``, as transformers saves one with its processor; loaded once, here.

    Raises ValueError where there is none.
    """

    def __init__(self, folder: Path, device: str) -> None:
        try:
            loaded = parts.CLIPModel.from_pretrained(str(folder), use_safetensors=True)
            self._processor = parts.CLIPProcessor.from_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"text_agreement_model: {folder} is no folder of a CLIP model: {error}"
            ) from None
        self._model = loaded.eval().to(device)

    @torch.no_grad()
    def cosines(self, frames: NDArray[np.uint8], text: str) -> NDArray[np.float32]:
        """Of each of ``frames`` (F, H, W, 3) and ``text``, of which CLIP reads the first 75 tokens:
        (F,), -1 to 1."""
        given = self._processor(
            text=[text], images=list(frames), return_tensors="pt", padding=True, truncation=True
        ).to(self._model.device)
        found = self._model(**given)
        images, words = (
            torch.nn.functional.normalize(each, dim=-1)
            for each in (found.image_embeds, found.text_embeds)
        )
        cosines: NDArray[np.float32] = (images @ words.T)[:, 0].float().cpu().numpy()
        return cosines

    def of_video(self, frames: NDArray[np.uint8], text: str) -> float | None:
        """The mean over frames that are evenly apart; None where it fails, which is no reason to
        lose a video."""
        places = np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).round().astype(int)
        try:
            return float(self.cosines(frames[places], text).mean())
        except RuntimeError as error:  # the device's memory, say
            log.warning("text agreement not measured: %s", type(error).__name__)
            return None


def open_text_agreement(folder: str | None) -> TextAgreement | None:
    """By the model in ``folder``, on the GPU where there is one; None: none is configured."""
    if folder is None:
        return None
    return TextAgreement(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
