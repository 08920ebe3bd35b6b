"""Saves readers of the real classes with random weights, for measurements only.

Knows sizes. Does not know what is measured.
"""

from pathlib import Path
from typing import Any

SPECIAL = [
    "<pad>", "<s>", "</s>", "<image>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>",
]  # fmt: skip
QWEN_IMAGE, LLAVA_IMAGE = "<|vision_start|><image><|vision_end|>", "<image>"
CHAT = """{%- for message in messages %}{{ "<s>" }}{% for part in message.content %}
{%- if part.type == "image" %}IMAGE{% else %}{{ part.text }}{% endif %}
{%- endfor %}{{ "</s>" }}{% endfor %}{% if add_generation_prompt %}{{ "<s>" }}{% endif %}"""


QWEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "qwen3vl-wide": (
        {"hidden_size": 1664, "intermediate_size": 4352, "num_hidden_layers": 13,
         "num_attention_heads": 13, "num_key_value_heads": 13, "head_dim": 128,
         "vocab_size": 64_000},
        {"depth": 14, "hidden_size": 768, "intermediate_size": 2304, "num_heads": 12},
    ),
    "qwen3vl-short": (
        {"hidden_size": 1408, "intermediate_size": 3520, "num_hidden_layers": 9,
         "num_attention_heads": 11, "num_key_value_heads": 11, "head_dim": 128,
         "vocab_size": 90_000},
        {"depth": 8, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16},
    ),
    "qwen3vl-deep": (
        {"hidden_size": 896, "intermediate_size": 3840, "num_hidden_layers": 28,
         "num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 64,
         "vocab_size": 80_000},
        {"depth": 10, "hidden_size": 640, "intermediate_size": 2560, "num_heads": 10},
    ),
}  # fmt: skip
LLAVA: dict[str, dict[str, Any]] = {
    "llava-tall": {"hidden_size": 896, "intermediate_size": 2560, "num_hidden_layers": 24,
                   "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 48_000},
    "llava-thin": {"hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 8,
                   "num_attention_heads": 12, "num_key_value_heads": 4, "vocab_size": 50_000},
}  # fmt: skip


def qwen3vl(name: str, folder: Path) -> None:
    """Saves a Qwen3-VL; its tokenizer has one token a byte."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = byte_tokenizer(QWEN_IMAGE)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    text, vision = QWEN[name]
    quarter = text["head_dim"] // 8
    sections = [text["head_dim"] // 2 - 2 * quarter, quarter, quarter]
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": sections}
    rest = {"max_position_embeddings": 8192, "tie_word_embeddings": True, "rope_parameters": rope}
    deep = [vision["depth"] * n // 4 for n in (1, 2, 3)]
    shown = {"out_hidden_size": text["hidden_size"], "patch_size": 16}
    config = Qwen3VLConfig(
        text_config=text | rest,
        vision_config=vision | shown | {"deepstack_visual_indexes": deep},
        tie_word_embeddings=True,
        image_token_id=ids["<image>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    save(Qwen3VLForConditionalGeneration, config, folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=16, size={"shortest_edge": 32 * 32, "longest_edge": 4096 * 4096}
    ).save_pretrained(folder)


def llava(name: str, folder: Path) -> None:
    """Saves a LLaVA with a CLIP vision tower."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = byte_tokenizer(LLAVA_IMAGE)
    size = {"height": 336, "width": 336}
    text = LlamaConfig(**LLAVA[name], max_position_embeddings=8192)
    vision = CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        image_size=336, patch_size=14,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    save(LlavaForConditionalGeneration, config, folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer=tokenizer, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)  # fmt: skip


def byte_tokenizer(image: str) -> Any:
    """A tokenizer of bytes and special tokens; its chat template writes `image` for a picture."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        extra_special_tokens={
            "image_token": "<image>", "video_token": "<|video_pad|>",
            "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>",
        },
    )  # fmt: skip
    fast.chat_template = CHAT.replace("IMAGE", image)
    return fast


def save(kind: Any, config: Any, folder: Path) -> None:
    """Saves random weights in bfloat16, like most checkpoints."""
    import torch

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)  # the model is never in memory in 32 bits
    try:
        kind(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)


def build(name: str, folder: Path) -> None:
    """Saves the model of that name into a folder."""
    (qwen3vl if name in QWEN else llava)(name, folder)
