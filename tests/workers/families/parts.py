"""Tokenizers, text encoders and VAEs of the real classes, tiny and random."""

import re
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from tests.tiny import louder, parts

text: Any = transformers  # its constructors are untyped
WIDTH = 16  # of every text encoder
WORDS = "a car some dog red blurred the video is in"
CHAT = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %} "
    "{% endfor %}"
)


def tokenizer() -> Any:
    """Words in pieces of up to four letters, about as many as real tokenizers make of a template;
    only the pieces of the tests' prompts are known."""
    pieces = sorted(set(re.findall(r"[a-z]{1,4}", WORDS)))
    vocab = {token: i for i, token in enumerate(["<pad>", "<unk>", *pieces, "<s>", "</s>"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    split = pre_tokenizers.Split(Regex(r"[A-Za-z0-9]{1,4}|[^A-Za-z0-9]"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocab["</s>"])]
    )
    made = text.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=512,
    )
    made.chat_template = CHAT
    return made


def vocab_size() -> int:
    return len(tokenizer())


def t5(width: int = WIDTH) -> Any:
    config = text.T5Config(
        vocab_size=400,  # ByT5's bytes fit too
        d_model=width,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
    )
    return louder(text.T5EncoderModel(config).eval())


def clip() -> Any:
    size = vocab_size()
    config = text.CLIPTextConfig(
        vocab_size=size,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=0,
        projection_dim=WIDTH,
    )
    return louder(text.CLIPTextModel(config).eval())


def llama() -> Any:
    config = text.LlamaConfig(
        vocab_size=vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    return louder(text.LlamaModel(config).eval())


def qwen_text() -> dict[str, Any]:
    return {
        "vocab_size": vocab_size(),
        "hidden_size": WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {
            "mrope_section": [1, 1, 2],
            "rope_type": "default",
            "rope_theta": 1e6,
        },
        "pad_token_id": 0,
    }


def qwen25_vl() -> Any:
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
    }
    config = text.Qwen2_5_VLConfig(text_config=qwen_text(), vision_config=vision)
    return louder(text.Qwen2_5_VLForConditionalGeneration(config).eval())


def qwen2_vl() -> Any:
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 1}
    config = text.Qwen2VLConfig(text_config=qwen_text(), vision_config=vision)
    return louder(text.Qwen2VLForConditionalGeneration(config).eval())


def flow(**options: Any) -> Any:
    return parts.FlowMatchEulerDiscreteScheduler(**options)


def hunyuan_vae() -> Any:
    return parts.AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )


def with_statistics(vae: Any) -> Any:
    """LTX keeps its latents' mean and deviation with the weights; a fresh one has 0 and 1."""
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 2.0)
    return vae


class AllowsAll(torch.nn.Module):
    """In the place of Cosmos' guardrail, which is a package and weights of its own."""

    dtype = torch.float32
    device = torch.device("cpu")

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: Any) -> Any:
        return frames


def lively(transformer: Any, text_gain: float = 1.0) -> Any:
    """Random weights that let text and maps show: sharp maps, and loud cross-attention."""
    louder(transformer)
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if re.search(r"(norm_q|query_norm)\.weight$", name):
                weight.mul_(4)
            elif re.search(r"(attn2|cross_attention)\.(to_out\.0|out_layer)\.weight$", name):
                weight.mul_(text_gain)
    return transformer.eval()
