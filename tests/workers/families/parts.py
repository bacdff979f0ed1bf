"""Tokenizers, text encoders and VAEs of the real classes, tiny and random."""

import re
from pathlib import Path
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


def tokenizer(*headers: str, single: str = "$A </s>") -> Any:
    """Words in pieces of up to four letters, about as many as real tokenizers make of a template;
    only the pieces of the tests' prompts are known. ``headers``: tokens that are not split."""
    pieces = sorted(set(re.findall(r"[a-z]{1,4}", WORDS)))
    tokens = ["<pad>", "<unk>", *headers, *pieces, "<s>", "</s>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    split = pre_tokenizers.Split(Regex(r"[A-Za-z0-9]{1,4}|[^A-Za-z0-9]"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    backend.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(each, vocab[each]) for each in ("<s>", "</s>")]
    )
    made = text.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=512,
        additional_special_tokens=list(headers),
    )
    made.chat_template = CHAT
    return made


def llava_tokenizer() -> Any:
    """The picture is the sixth token of HunyuanVideo's template, and headers are one token each."""
    headers = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>")
    return tokenizer(*headers, single="<s> $A")


def vocab_size() -> int:
    return len(tokenizer())


def save_clip(folder: Path) -> None:
    """A CLIP model and its processor: of pictures of 32x32 pixels."""
    size = vocab_size()
    config = text.CLIPConfig(
        text_config={
            "vocab_size": size, "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "eos_token_id": size - 1,
            "bos_token_id": size - 2, "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        projection_dim=8,
    )  # fmt: skip
    torch.manual_seed(2)  # one whose cosines are above 0
    text.CLIPModel(config).save_pretrained(folder)
    images = text.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    made = tokenizer()
    made.chat_template = None
    text.CLIPProcessor(images, made).save_pretrained(folder)


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


def _llama_config(vocab_size: int) -> Any:
    return text.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
    )


def llama() -> Any:
    return louder(text.LlamaModel(_llama_config(vocab_size())).eval())


def llava() -> Any:
    """A picture is 576 tokens to it, as to HunyuanVideo's."""
    tokens = llava_tokenizer()
    vision = text.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=48,
        patch_size=2,
    )
    config = text.LlavaConfig(
        vision_config=vision,
        text_config=_llama_config(len(tokens)),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    config.pad_token_id = tokens.pad_token_id
    return louder(text.LlavaForConditionalGeneration(config).eval())


def llava_processor() -> Any:
    side = {"height": 48, "width": 48}
    return text.CLIPImageProcessor(size=side, crop_size=side)


SIGLIP = {
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


def siglip() -> Any:
    return louder(text.SiglipVisionModel(text.SiglipVisionConfig(**SIGLIP)).eval())


def siglip_processor() -> Any:
    return text.SiglipImageProcessor(size={"height": 16, "width": 16})


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
