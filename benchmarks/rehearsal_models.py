"""Checkpoints of the true shapes and layouts of published models, with random weights.

Knows ReT-CLIP-ViT-L-14 as its authors' classes save it (transformers 4.45), and
Qwen3-VL-2B-Instruct: names, shapes, types, configurations. Each comes in small as well, for tests.
Does not know tokenizers (rehearsal_tokenizers.py), nor where models are served from.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RETRIEVER, TOWERS = "aimagelab/ReT-CLIP-ViT-L-14", "openai/clip-vit-large-patch14"
READER = "Qwen/Qwen3-VL-2B-Instruct"
BLOCK = 4_194_301  # random numbers that are used again and again; a prime, so that rows differ
BYTES = {"F32": 4, "BF16": 2}


@dataclass(frozen=True)
class Sizes:
    """The sizes of both models. `words`: of CLIP's vocabulary; `pieces`: of the reader's."""

    cell: int = 1024
    text: int = 768
    vision: int = 1024
    text_layers: int = 12
    vision_layers: int = 24
    image: int = 224
    patch: int = 14
    words: int = 49_408
    pieces: int = 151_643
    embeddings: int = 151_936
    reader: dict[str, Any] = field(default_factory=lambda: {
        "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    })  # fmt: skip
    reader_vision: dict[str, Any] = field(default_factory=lambda: {
        "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
        "out_hidden_size": 2048, "deepstack_visual_indexes": [5, 11, 17],
    })  # fmt: skip


TRUE = Sizes()
SMALL = Sizes(
    cell=64, text=32, vision=32, image=28, words=514, pieces=256, embeddings=320,
    reader={
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
    },
    reader_vision={
        "depth": 4, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
        "out_hidden_size": 64, "deepstack_visual_indexes": [1, 2, 3],
    },
)  # fmt: skip


@dataclass(frozen=True)
class Weight:
    """One array of a checkpoint. `fill`: "random", "zeros", "ones", or its values."""

    name: str
    shape: tuple[int, ...]
    kind: str = "F32"
    fill: Any = "random"

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.kind]


class WeightWriter:
    """Writes safetensors block after block: never more than a block is in memory."""

    def __init__(self, seed: int = 0) -> None:
        numbers = np.random.default_rng(seed).normal(0, 0.02, BLOCK).astype(np.float32)
        upper = (numbers.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16, rounded down
        self._blocks = {"F32": numbers, "BF16": upper}
        self._next = 0

    def write(self, path: Path, weights: list[Weight]) -> None:
        """One file in the format of safetensors, with the header that transformers writes."""
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for weight in weights:
            start, end = end, end + weight.bytes
            header[weight.name] = {
                "dtype": weight.kind, "shape": list(weight.shape), "data_offsets": [start, end],
            }  # fmt: skip
        head = json.dumps(header, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        with path.open("wb") as stream:
            stream.write(len(head).to_bytes(8, "little") + head)
            for weight in weights:
                for piece in self._pieces(weight):
                    stream.write(memoryview(piece).cast("B"))

    def write_shards(self, folder: Path, weights: list[Weight], largest: float) -> None:
        """Several files of at most `largest` bytes and their index, or one if that is enough."""
        shards: list[list[Weight]] = [[]]
        for weight in weights:
            if shards[-1] and sum(each.bytes for each in shards[-1]) + weight.bytes > largest:
                shards.append([])
            shards[-1].append(weight)
        if len(shards) == 1:
            self.write(folder / "model.safetensors", weights)
            return
        where: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
            self.write(folder / name, shard)
            where |= {weight.name: name for weight in shard}
        total = sum(weight.bytes for weight in weights)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        write_json(folder / "model.safetensors.index.json", index)

    def _pieces(self, weight: Weight) -> Iterator[Any]:
        count = math.prod(weight.shape)
        if not isinstance(weight.fill, str):
            yield np.ascontiguousarray(weight.fill, np.float32).reshape(-1)
            return
        if weight.fill != "random":
            one = {"F32": np.float32(1), "BF16": np.uint16(0x3F80)}[weight.kind]
            yield np.full(count, one if weight.fill == "ones" else 0, one.dtype)
            return
        block = self._blocks[weight.kind]
        while count:
            piece = block[self._next : self._next + count]
            count -= len(piece)
            self._next = (self._next + len(piece)) % BLOCK
            yield piece


def write_retriever(
    folder: Path, sizes: Sizes = TRUE, *, largest: float = 5e9, towers: str = TOWERS
) -> None:
    """ReT-CLIP-ViT-L-14; `largest`: bytes of a shard; `towers`: what its configuration names."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", retriever_config(sizes, towers))
    WeightWriter(1).write_shards(folder, sorted_weights(retriever_weights(sizes)), largest)
    card = "---\nlicense: apache-2.0\n---\n# ReT, random weights of the true shapes\n"
    (folder / "README.md").write_text(card)


def sorted_weights(weights: Iterator[Weight]) -> list[Weight]:
    return sorted(weights, key=lambda weight: weight.name)


def retriever_weights(sizes: Sizes) -> Iterator[Weight]:
    """Two cells with adapters, and the towers, which the query side alone holds."""
    for side in ("query_model.", "passage_model."):
        yield from _cell_weights(f"{side}ret_cell.", sizes.cell)
        for step in range(12):
            for tower, width in (("text", sizes.text), ("vision", sizes.vision)):
                yield from _linear(f"{side}{tower}_adapter.{step}", width, sizes.cell)
        yield Weight(f"{side}late_proj.weight", (128, sizes.cell))
    text, vision = "query_model.text_model.text_model.", "query_model.vision_model.vision_model."
    yield Weight(f"{text}embeddings.token_embedding.weight", (sizes.words, sizes.text))
    yield Weight(f"{text}embeddings.position_embedding.weight", (77, sizes.text))
    yield from _norm(f"{text}final_layer_norm", sizes.text)
    for layer in range(sizes.text_layers):
        yield from _layer(f"{text}encoder.layers.{layer}.", sizes.text)
    patches = (sizes.image // sizes.patch) ** 2
    yield Weight(f"{vision}embeddings.class_embedding", (sizes.vision,))
    patch = (sizes.vision, 3, sizes.patch, sizes.patch)
    yield Weight(f"{vision}embeddings.patch_embedding.weight", patch)
    yield Weight(f"{vision}embeddings.position_embedding.weight", (patches + 1, sizes.vision))
    yield from _norm(f"{vision}pre_layrnorm", sizes.vision)
    yield from _norm(f"{vision}post_layernorm", sizes.vision)
    for layer in range(sizes.vision_layers):
        yield from _layer(f"{vision}encoder.layers.{layer}.", sizes.vision)


def _cell_weights(cell: str, width: int) -> Iterator[Weight]:
    yield Weight(f"{cell}query_hidden_states", (1, 32, width))
    places = np.arange(32)[:, None] * 10_000.0 ** (-2 * np.arange(width // 2) / width)
    waves = np.stack([np.sin(places), np.cos(places)], -1).reshape(1, 32, width)
    yield Weight(f"{cell}query_state_ids", (1, 32, width), fill=waves)
    for gate in ("input", "forget"):
        yield Weight(f"{cell}{gate}_gate_bias_prior", (), fill="zeros")
        for tower in ("text", "vision"):
            yield from _linear(f"{cell}{tower}_{gate}_gate_w", width, width)
    for attention in ("sa", "text_xa", "vision_xa"):
        yield Weight(f"{cell}{attention}.in_proj_weight", (3 * width, width))
        yield Weight(f"{cell}{attention}.out_proj.weight", (width, width))
    yield Weight(f"{cell}sa.in_proj_bias", (3 * width,), fill="zeros")
    yield Weight(f"{cell}sa.out_proj.bias", (width,), fill="zeros")
    yield from _linear(f"{cell}mlp.0", width, 4 * width)
    yield from _linear(f"{cell}mlp.3", 4 * width, width)
    for norm in ("xa_ln", "text_ln", "vision_ln", "sa_ln", "mlp_ln"):
        yield from _norm(f"{cell}{norm}", width)


def _layer(name: str, width: int) -> Iterator[Weight]:
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from _linear(f"{name}self_attn.{part}", width, width)
    yield from _linear(f"{name}mlp.fc1", width, 4 * width)
    yield from _linear(f"{name}mlp.fc2", 4 * width, width)
    yield from _norm(f"{name}layer_norm1", width)
    yield from _norm(f"{name}layer_norm2", width)


def _linear(name: str, wide: int, out: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (out, wide))
    yield Weight(f"{name}.bias", (out,), fill="zeros")


def _norm(name: str, width: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (width,), fill="ones")
    yield Weight(f"{name}.bias", (width,), fill="zeros")


# What transformers 4.45 writes into every configuration besides its own fields.
_DUMPED: dict[str, Any] = dict.fromkeys(
    ("architectures", "bad_words_ids", "begin_suppress_tokens", "cross_attention_hidden_size",
     "decoder_start_token_id", "exponential_decay_length_penalty", "finetuning_task",
     "forced_bos_token_id", "forced_eos_token_id", "prefix", "problem_type", "sep_token_id",
     "suppress_tokens", "task_specific_params", "tokenizer_class", "torch_dtype")
) | dict.fromkeys(
    ("add_cross_attention", "do_sample", "early_stopping", "is_decoder", "is_encoder_decoder",
     "output_attentions", "output_hidden_states", "output_scores", "remove_invalid_values",
     "return_dict_in_generate", "tf_legacy_loss", "tie_encoder_decoder", "torchscript",
     "use_bfloat16"), False
) | {
    "_name_or_path": "", "chunk_size_feed_forward": 0, "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0, "max_length": 20,
    "min_length": 0, "no_repeat_ngram_size": 0, "num_beam_groups": 1, "num_beams": 1,
    "num_return_sequences": 1, "pruned_heads": {}, "repetition_penalty": 1.0, "return_dict": True,
    "temperature": 1.0, "tie_word_embeddings": True, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
}  # fmt: skip


def retriever_config(sizes: Sizes, towers: str) -> dict[str, Any]:
    """config.json as RetrieverConfig of transformers 4.45 saves it."""
    both = {"_name_or_path": towers, "attention_dropout": 0.0, "hidden_act": "quick_gelu",
            "initializer_factor": 1.0, "initializer_range": 0.02, "layer_norm_eps": 1e-05,
            "projection_dim": sizes.text}  # fmt: skip
    heads = 1 if sizes.text < 64 else 64
    text = _DUMPED | both | {
        "model_type": "clip_text_model", "vocab_size": sizes.words, "hidden_size": sizes.text,
        "intermediate_size": 4 * sizes.text, "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": max(1, sizes.text // heads), "max_position_embeddings": 77,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    vision = _DUMPED | both | {
        "model_type": "clip_vision_model", "hidden_size": sizes.vision,
        "intermediate_size": 4 * sizes.vision, "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": max(1, sizes.vision // heads), "image_size": sizes.image,
        "patch_size": sizes.patch, "num_channels": 3,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    side = _DUMPED | {
        "model_type": "ret", "text_config": text, "vision_config": vision,
        "is_text_frozen": True, "is_vision_frozen": True, "late_proj_output_size": 128,
        "layer_strategy": "clip_vit_l", "use_pooler_features": False, "num_queries": 32,
        "hidden_size": sizes.cell, "intermediate_size": 4 * sizes.cell,
        "num_attention_heads": sizes.cell // 64, "dropout_p": 0.05, "attention_dropout": 0.05,
        "activation_fn": "gelu", "input_gate_bias_prior": 0.0, "forget_gate_bias_prior": 0.0,
        "use_tanh": False, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    return {
        "architectures": ["RetrieverModel"], "fg_loss": True, "model_type": "retriever",
        "passage_config": side, "query_config": side, "share_query_passage_models": False,
        "share_text_models": True, "share_vision_models": True, "simmetric_loss": False,
        "torch_dtype": "float32", "transformers_version": "4.45.0",
    }  # fmt: skip


def write_reader(folder: Path, sizes: Sizes = TRUE) -> None:
    """Configuration and weights of Qwen3-VL-2B-Instruct, in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    config = reader_config(sizes)
    write_json(folder / "config.json", config)
    ends = [sizes.pieces + 2, sizes.pieces]
    write_json(folder / "generation_config.json", {
        "bos_token_id": sizes.pieces, "pad_token_id": sizes.pieces, "do_sample": True,
        "eos_token_id": ends, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.0,
        "temperature": 0.7, "transformers_version": "4.56.0",
    })  # fmt: skip
    WeightWriter(2).write_shards(folder, sorted_weights(reader_weights(config)), 5e9)
    card = "---\nlicense: apache-2.0\n---\n# Qwen3-VL, random weights of the true shapes\n"
    (folder / "README.md").write_text(card)


def reader_config(sizes: Sizes) -> dict[str, Any]:
    """config.json of Qwen3-VL-2B-Instruct."""
    first = sizes.pieces  # the special tokens follow the vocabulary
    half = sizes.reader["head_dim"] // 2
    section = [half - 2 * (half * 5 // 16), half * 5 // 16, half * 5 // 16]
    rope = {"mrope_interleaved": True, "mrope_section": section, "rope_type": "default"}
    text = sizes.reader | {
        "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": first,
        "dtype": "bfloat16", "eos_token_id": first + 2, "hidden_act": "silu",
        "initializer_range": 0.02, "max_position_embeddings": 262_144,
        "model_type": "qwen3_vl_text", "rms_norm_eps": 1e-06, "rope_scaling": rope,
        "rope_theta": 5_000_000, "tie_word_embeddings": True, "use_cache": True,
        "vocab_size": sizes.embeddings,
    }  # fmt: skip
    vision = sizes.reader_vision | {
        "hidden_act": "gelu_pytorch_tanh", "in_channels": 3, "initializer_range": 0.02,
        "model_type": "qwen3_vl", "num_position_embeddings": 2304, "patch_size": 16,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"], "image_token_id": first + 12,
        "model_type": "qwen3_vl", "text_config": text, "tie_word_embeddings": True,
        "transformers_version": "4.57.0.dev0", "video_token_id": first + 13,
        "vision_config": vision, "vision_end_token_id": first + 10,
        "vision_start_token_id": first + 9,
    }  # fmt: skip


def reader_weights(config: dict[str, Any]) -> Iterator[Weight]:
    """Names and shapes as the class of transformers has them; the output layer is tied."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    known = AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(known)
    for name, value in model.state_dict().items():
        if name != "lm_head.weight":
            fill = "zeros" if name.endswith(".bias") else "random"
            fill = "ones" if "norm" in name and name.endswith(".weight") else fill
            yield Weight(name, tuple(value.shape), "BF16", fill)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
