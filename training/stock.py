"""The stock classes that this package trains, under one roof.

Owns nothing but their typing: diffusers and transformers declare types that their own metaclasses
and decorators then hide, so here they are openly untyped.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import diffusers
import transformers

Network: TypeAlias = Any  # an AutoencoderKLWan, a WanTransformer3DModel or a UMT5EncoderModel
Pipeline: TypeAlias = Any  # a WanPipeline
Tokenizer: TypeAlias = Any  # a T5Tokenizer

AutoencoderKLWan: Any = diffusers.AutoencoderKLWan
UniPCMultistepScheduler: Any = diffusers.UniPCMultistepScheduler
WanPipeline: Any = diffusers.WanPipeline
WanTransformer3DModel: Any = diffusers.WanTransformer3DModel
T5Tokenizer: Any = transformers.T5Tokenizer
UMT5EncoderModel: Any = transformers.UMT5EncoderModel
