"""Tiny random checkpoints of each family's true classes, saved as users have them.

Two layers, a few thousand weights; a tokenizer of bytes; the family's own image processor with
small tiles. What needs torchvision to be made (a processor with a video part) is written as the
JSON that a real checkpoint has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PAD, START, END = "<pad>", "<s>", "</s>"
LLAVA_CHAT = """{{ bos_token }}{%- for message in messages %}{{ message.role.upper() + ": " }}
{%- for part in message.content %}
{%- if part.type == "image" %}{{ "<image>\\n" }}{% else %}{{ part.text }}{% endif %}
{%- endfor %}{{ "\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "ASSISTANT:" }}{% endif %}"""
CHATML = """{%- for message in messages %}{{ "<|im_start|>" + message.role + "\\n" }}
{%- for part in message.content %}
{%- if part.type == "image" %}IMAGE{% else %}{{ part.text }}{% endif %}
{%- endfor %}{{ "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""
QWEN_CHAT = CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
SMOLVLM_CHAT = """<|im_start|>{%- for message in messages %}{{ message.role | capitalize + ": " }}
{%- for part in message.content %}
{%- if part.type == "image" %}<image>{% else %}{{ part.text }}{% endif %}
{%- endfor %}{{ "<end_of_utterance>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "Assistant:" }}{% endif %}"""
GEMMA_CHAT = """{{ bos_token }}{%- for message in messages %}{{ "<start_of_turn>user\\n" }}
{%- for part in message.content %}
{%- if part.type == "image" %}<start_of_image>{% else %}{{ part.text }}{% endif %}
{%- endfor %}{{ "<end_of_turn>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<start_of_turn>model\\n" }}{% endif %}"""
LLAVA_SPECIAL = [PAD, START, END, "<image>"]
QWEN_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
TILES = [f"<row_{row}_col_{column}>" for row in (1, 2, 3, 4) for column in (1, 2, 3, 4)]
SMOLVLM_SPECIAL = [
    PAD,
    "<|im_start|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *TILES,
]
GRIDS = [[32, 64], [64, 32], [64, 64]]  # of LLaVA-NeXT and LLaVA-OneVision, in pixels


def tokenizer_of(special: list[str], words: list[str], **names: Any) -> Any:
    """One token a byte, special tokens, and words that are held whole without being special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {byte: i for i, byte in enumerate(alphabet)}
    # Two newlines are one token, as in Gemma's: what stands beside a picture may merge with it.
    newline = "\u010a"
    vocabulary[newline * 2] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, [(newline, newline)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.add_tokens(words)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def llava(folder: Path) -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = _llava_tokenizer()
    LlavaProcessor(
        image_processor=_clip_images(),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
    ).save_pretrained(folder)
    config = LlavaConfig(
        vision_config=_clip(),
        text_config=_llama(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    _save(LlavaForConditionalGeneration, config, folder)


def llava_next(folder: Path) -> None:
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    tokenizer = _llava_tokenizer()
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=GRIDS,
        ),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
    ).save_pretrained(folder)
    config = LlavaNextConfig(
        vision_config=_clip(),
        text_config=_llama(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=GRIDS,
        vision_feature_layer=-1,
    )
    _save(LlavaNextForConditionalGeneration, config, folder)


def llava_onevision(folder: Path) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
    )

    tokenizer = _llava_tokenizer("<video>")
    tokenizer.save_pretrained(folder)
    LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32}, image_grid_pinpoints=GRIDS
    ).save_pretrained(folder)
    _write_processor(
        folder,
        processor_class="LlavaOnevisionProcessor",
        num_image_tokens=4,
        vision_feature_select_strategy="full",
    )
    config = LlavaOnevisionConfig(
        vision_config=_siglip(patch_size=16),
        text_config=_llama(tokenizer).to_dict() | {"model_type": "qwen2"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=GRIDS,
        vision_feature_layer=-1,
    )
    _save(LlavaOnevisionForConditionalGeneration, config, folder)


def qwen2_vl(folder: Path) -> None:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(**_qwen(folder, patch_size=14), vision_config=vision)
    _save(Qwen2VLForConditionalGeneration, config, folder)


def qwen2_5_vl(folder: Path) -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 64,
        "num_heads": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(**_qwen(folder, patch_size=14), vision_config=vision)
    _save(Qwen2_5_VLForConditionalGeneration, config, folder)


def qwen3_vl(folder: Path) -> None:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 64,
        "num_heads": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(**_qwen(folder, patch_size=16), vision_config=vision)
    _save(Qwen3VLForConditionalGeneration, config, folder)


def smolvlm(folder: Path) -> None:
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
    )

    SmolVLMImageProcessorPil(**_IDEFICS_IMAGES).save_pretrained(folder)
    _write_processor(folder, processor_class="SmolVLMProcessor", image_seq_len=4)
    config = SmolVLMConfig(**_idefics(folder))
    _save(SmolVLMForConditionalGeneration, config, folder)


def idefics3(folder: Path) -> None:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
    )

    Idefics3ImageProcessorPil(**_IDEFICS_IMAGES).save_pretrained(folder)
    _write_processor(folder, processor_class="Idefics3Processor", image_seq_len=4)
    config = Idefics3Config(**_idefics(folder))
    _save(Idefics3ForConditionalGeneration, config, folder)


def internvl(folder: Path) -> None:
    from transformers import (
        GotOcr2ImageProcessorPil,
        InternVLConfig,
        InternVLForConditionalGeneration,
    )

    tokenizer = tokenizer_of(
        [PAD, "<|im_start|>", "<|im_end|>"],
        ["capital"],
        pad_token=PAD,
        eos_token="<|im_end|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    tokenizer.chat_template = CHATML.replace("IMAGE", "<IMG_CONTEXT>")
    tokenizer.save_pretrained(folder)
    GotOcr2ImageProcessorPil(
        size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=4
    ).save_pretrained(folder)
    _write_processor(folder, processor_class="InternVLProcessor", image_seq_length=4)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [32, 32],
            "patch_size": [8, 8],
        },
        text_config=_llama(tokenizer).to_dict() | {"model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    _save(InternVLForConditionalGeneration, config, folder)


def gemma3(folder: Path) -> None:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
        Gemma3TextConfig,
    )

    tokenizer = tokenizer_of(
        [PAD, "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
        ["capital"],
        pad_token=PAD,
        bos_token="<bos>",
        eos_token="<end_of_turn>",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=GEMMA_CHAT,
    ).save_pretrained(folder)
    text = Gemma3TextConfig(
        **_sizes(tokenizer),
        head_dim=16,
        sliding_window=24,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    token = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config=text,
        vision_config=_siglip(patch_size=8),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,  # tied and random, it would repeat what it read last
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        image_token_index=token("<image_soft_token>"),
    )
    _save(Gemma3ForConditionalGeneration, config, folder)


def gemma4(folder: Path) -> None:
    """With the parts for sound and video that its processor hands on by keyword."""
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration

    names = ["boi", "eoi", "image", "boa", "eoa", "audio"]
    marks = ["<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>"]
    extra = dict(zip((f"{name}_token" for name in names), marks, strict=True))
    tokenizer = tokenizer_of(
        [PAD, "<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|video|>"],
        ["capital"],
        pad_token=PAD,
        bos_token="<bos>",
        eos_token="<turn|>",
        extra_special_tokens=extra,
    )
    chat = GEMMA_CHAT.replace("<start_of_turn>", "<|turn>").replace("<end_of_turn>", "<turn|>")
    tokenizer.chat_template = chat.replace("<start_of_image>", "<|image|>")
    tokenizer.save_pretrained(folder)
    images = {"image_processor_type": "Gemma4ImageProcessor", "patch_size": 16}
    _write_processor(
        folder,
        processor_class="Gemma4Processor",
        feature_extractor={"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
        image_processor={**images, "max_soft_tokens": 70, "pooling_kernel_size": 2},
        video_processor={"video_processor_type": "Gemma4VideoProcessor"},
    )
    token = tokenizer.convert_tokens_to_ids
    config = Gemma4Config(
        text_config={
            **_sizes(tokenizer),
            "head_dim": 16,
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"],
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size_per_layer_input": 16,
            "tie_word_embeddings": False,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        audio_config=None,
        tie_word_embeddings=False,
        **{f"{name}_token_id": token(mark) for name, mark in zip(names, marks, strict=True)},
        video_token_id=token("<|video|>"),
    )
    _save(Gemma4ForConditionalGeneration, config, folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    make.__name__: make
    for make in (
        llava,
        llava_next,
        llava_onevision,
        qwen2_vl,
        qwen2_5_vl,
        qwen3_vl,
        smolvlm,
        idefics3,
        internvl,
        gemma3,
        gemma4,
    )
}
_IDEFICS_IMAGES = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}


def _sizes(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _llama(tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**_sizes(tokenizer))


def _clip() -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )


def _siglip(patch_size: int) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": patch_size,
        "vision_use_head": False,
    }


def _clip_images() -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def _llava_tokenizer(*more: str) -> Any:
    tokenizer = tokenizer_of(
        [*LLAVA_SPECIAL, *more],
        ["capital", "<tool_call>"],
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
    )
    tokenizer.chat_template = LLAVA_CHAT
    return tokenizer


def _qwen(folder: Path, patch_size: int) -> dict[str, Any]:
    """Tokenizer and images of the Qwen families, saved; and what their configurations share."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = tokenizer_of(
        QWEN_SPECIAL, ["capital"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = QWEN_CHAT
    tokenizer.save_pretrained(folder)
    area = (2 * patch_size) ** 2
    Qwen2VLImageProcessorPil(
        size={"shortest_edge": area, "longest_edge": area * 16}, patch_size=patch_size
    ).save_pretrained(folder)
    token = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = {**_sizes(tokenizer), "rope_parameters": rope, "head_dim": 16}
    return {
        "text_config": {**text, "bos_token_id": token("<|endoftext|>")},
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
    }


def _idefics(folder: Path) -> dict[str, Any]:
    """Tokenizer of SmolVLM and Idefics3, saved; and their configuration."""
    tokenizer = tokenizer_of(
        SMOLVLM_SPECIAL, ["capital"], pad_token=PAD, eos_token="<end_of_utterance>"
    )
    tokenizer.chat_template = SMOLVLM_CHAT
    tokenizer.save_pretrained(folder)
    return {
        "text_config": _llama(tokenizer).to_dict(),
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        "scale_factor": 2,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": tokenizer.pad_token_id,
    }


def _write_processor(folder: Path, **options: Any) -> None:
    (folder / "processor_config.json").write_text(json.dumps(options))


def _save(kind: Any, config: Any, folder: Path) -> None:
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        # Random models repeat one token at the default scale; at this one the prompt matters.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
                if not parameter.any():  # Gemma's projector, which would hide the picture
                    parameter.normal_()
    model.save_pretrained(folder)
