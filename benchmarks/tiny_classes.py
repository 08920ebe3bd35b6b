"""Writes a folder with tiny random weights for any class that transformers maps.

Knows how to shrink a configuration by the names of its numbers, and which marks a processor's
source asks of its tokenizer. Does not know what is tried with the folder (model_classes.py), and
has no table of models: where the general way fails, the class is not seen.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

PIXELS, PATCH, VOCABULARY = 64, 8, 640
LARGEST = 200_000_000  # parameters
WAYS: tuple[dict[str, int], ...] = (
    {},
    {"num_key_value_heads": 4},
    {"num_hidden_layers": 4, "num_layers": 4, "depth": 4},
    {"head_dim": 64, "num_attention_heads": 1, "num_key_value_heads": 1},
)
MARK = re.compile(r"""["'](<[^"'<>\s{}]{1,40}>|\[[A-Z_]{2,30}\])["']""")
ATTRIBUTE = re.compile(r"tokenizer\.(\w+_token)\b")
STANDARD = {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token"}
CHAT = """{%- for message in messages %}{{ "<|im_start|>" + message.role + "\\n" }}
{%- for part in message.content %}
{%- if part.type == "image" %}IMAGE{% else %}{{ part.text }}{% endif %}
{%- endfor %}{{ "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""

# From the names of numbers to small values that fit one another; the first that matches counts.
SMALL: tuple[tuple[str, int], ...] = (
    (r"(max|original_max)_position_embeddings|max_source_positions", 4096),
    (r"moe_(shared_expert_)?intermediate_size|moe_hidden_size|share_expert_dim", 64),
    (r".*intermediate_size(_mlp)?|.*ffn_dim|d_ff|mlp_dim", 128),
    (r"head_dim|.*_head_dim|d_kv|kv_lora_rank|q_lora_rank|linear_head_dim|rotary_dim", 16),
    (r"linear_num_value_heads", 32),  # layers that are narrower cannot be packed on a CPU
    (r".*(num_key_value_heads|n_kv_heads|num_kv_heads|linear_num_key_heads)", 2),
    (r".*(num_attention_heads|num_heads|n_heads?|attention_heads|num_value_heads)", 4),
    (r"num_hidden_layers|num_decoder_layers|n_layers?|num_layers|depth|encoder_layers"
     r"|decoder_layers|resampler_depth|layers|.*_num_hidden_layers", 2),
    (r"(.*_)?(num|n_routed|num_local|n)_experts", 4),
    (r"num_experts_per_tok|moe_topk|moe_k|top_k_experts|experts_per_token", 2),
    (r"n_group|topk_group|n_shared_experts|moe_num_shared_experts|first_k_dense_replace", 1),
    (r"vocab_size|.*_vocab_size|vocab_size_per_layer_input", VOCABULARY),
    (r"image_size|max_img_size|max_image_size", PIXELS),
    (r"patch_size", PATCH),
    (r"num_position_embeddings|position_embedding_size|num_patches|max_num_patches", 64),
    (r"pos_emb_height|pos_emb_width|posemb_grid_size", 8),
    (r"image_seq_length|num_image_tokens", 64),
    (r"mm_tokens_per_image|vision_soft_tokens_per_image|hidden_size_per_layer_input", 16),
    (r"sliding_window(_size)?", 64),
    (r"num_nextn_predict_layers|num_kv_shared_layers|max_window_layers", 0),
    (r"hidden_size|.*_hidden_size|embed_dim|d_model|n_embd|.*projection_dim|out_hidden_size"
     r"|word_embed_proj_dim|output_dim|vision_output_dim|width|merged_hidden_size"
     r"|projector_(in|out)put_dim|adapter_out_dim|projection_hidden_dim", 64),
)  # fmt: skip
BY_LAYER = re.compile(r"layer_types|.*_layer_types|layers_block_type|no_rope_layers|indexer_types")
INDEXES = re.compile(r".*_ind(ex)?(e?s)|mlp_only_layers|cross_attention_layers|moe_layers|.*_idxs")


def small_config(kind: type, ids: dict[str, int], **changes: int) -> Any:
    """The default configuration with small numbers.

    Args:
        kind: class of the configuration.
        ids: those of the tokenizer's marks.
        changes: numbers that differ from `SMALL`, wherever they stand.
    """
    config = kind.from_dict(_change(_shrink(kind().to_dict(), ids), changes))
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None)
    if isinstance(rope, dict) and "rope_type" in rope:  # defaults are for larger heads
        head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        half = int(head * rope.get("partial_rotary_factor", 1)) // 2
        third = (half + 1) // 3
        rope["mrope_section"] = [third, third, half - 2 * third]
    return config


def _change(values: dict[str, Any], changes: dict[str, int]) -> dict[str, Any]:
    return {
        name: _change(value, changes) if isinstance(value, dict)
        else changes.get(name, value) if isinstance(value, int)
        else value
        for name, value in values.items()
    }  # fmt: skip


def _shrink(values: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    layers = values.get("num_hidden_layers")
    by_layer = {
        name: _one_of_each(value)
        for name, value in values.items()
        if isinstance(value, list) and value and (len(value) == layers or BY_LAYER.fullmatch(name))
    }
    return {name: _small(str(name), value, ids) for name, value in values.items()} | by_layer


def _one_of_each(values: list[Any]) -> list[Any]:
    """The values of two layers: the first, and one that differs."""
    return [values[0], next((each for each in values if each != values[0]), values[0])]


def _small(name: str, value: Any, ids: dict[str, int]) -> Any:
    if name in ("id2label", "label2id", "task_specific_params"):
        return value
    if name == "per_layer_config":  # by the index of a layer that there is no more
        return {}
    if isinstance(value, dict):
        return _shrink(value, ids)
    if re.fullmatch(r".*(_token_id|_token_index|_image_patch_id)", name):
        return _token_id(name, value, ids)
    if isinstance(value, list | tuple):
        return _small_list(name, list(value))
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if re.fullmatch("vision_feature_layer|feature_layer", name):
        return -1
    small = next((few for form, few in SMALL if re.fullmatch(form, name)), value)
    return min(value, small) if value > 0 else value


def _small_list(name: str, values: list[Any]) -> list[Any]:
    if name == "mrope_section":
        return [2, 3, 3]
    if name == "image_grid_pinpoints":
        return [[PIXELS, 2 * PIXELS], [2 * PIXELS, PIXELS], [2 * PIXELS, 2 * PIXELS]]
    if INDEXES.fullmatch(name) and values and all(isinstance(each, int) for each in values):
        return [1]
    if name in ("image_size", "patch_size"):
        return [PIXELS if name == "image_size" else PATCH for _ in values]
    return values


def _token_id(name: str, value: Any, ids: dict[str, int]) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return ids["eos"] if name == "eos_token_id" and value else value
    kind = re.sub("_token_id|_token_index|_id", "", name)
    # A mark of its own for every name that we do not know: two must never be the same.
    return ids.get(kind) or ids.setdefault(kind, 300 + len(ids))


def make_tokenizer(processor: Any | None) -> tuple[Any, dict[str, int]]:
    """A tokenizer of bytes with all marks that the processor's source names, and the image's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    source = Path(inspect.getsourcefile(processor) or "").read_text("utf-8") if processor else ""
    image = "<image>"
    if processor:
        default = inspect.signature(processor.__init__).parameters.get("image_token")
        image = default.default if default and isinstance(default.default, str) else image
    names = {"image_token": image, "video_token": "<video>"}
    if processor:
        for name, one in inspect.signature(processor.__init__).parameters.items():
            if name.endswith("_token") and isinstance(one.default, str):
                names[name] = one.default
    for name in sorted(set(ATTRIBUTE.findall(source)) - STANDARD):
        names.setdefault(name, f"<{name.removesuffix('_token')}>")
    marks = ["<pad>", "<s>", "<|im_end|>", "<|im_start|>", *names.values()]
    marks += MARK.findall(source)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(mark, normalized=False) for mark in dict.fromkeys(marks)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>",
        extra_special_tokens=names,
    )  # fmt: skip
    fast.chat_template = CHAT.replace("IMAGE", image)
    ids = {
        name.removesuffix("_token"): fast.convert_tokens_to_ids(mark)
        for name, mark in {"pad": "<pad>", "bos": "<s>", "eos": "<|im_end|>", **names}.items()
    }
    if patch := ids.get("img_patch"):  # what stands for the features within a picture's text
        ids["image"] = patch
    return fast, ids


def save_weights(model_class: Any, kind: type, ids: dict[str, int], folder: Path) -> None:
    """Saves random weights, larger than at the start of a training so that the input matters."""
    import torch

    torch.manual_seed(0)
    model = _build(model_class, kind, ids)
    size = sum(weight.numel() for weight in model.parameters())
    if size > LARGEST:
        raise ValueError(f"its small configuration still has {size:,} parameters")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
                if not weight.any():
                    weight.normal_()
            elif not torch.isfinite(weight).all():
                weight.zero_()
    model.save_pretrained(folder)


def _build(model_class: Any, kind: type, ids: dict[str, int]) -> Any:
    """The model, after the first of several ways to make numbers fit that works."""
    first: Exception | None = None
    for changes in WAYS:
        try:
            return model_class.from_config(small_config(kind, dict(ids), **changes))
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001  of any library: the next way may fit
            first = first or error
    assert first is not None
    raise first


def save_images(model_type: str, processor: Any, folder: Path) -> None:
    """Saves the image processor of the class for small pictures, as it runs without torchvision.

    Raises:
        LookupError: there is none without torchvision.
    """
    from transformers.models.auto.image_processing_auto import (
        IMAGE_PROCESSOR_MAPPING_NAMES,
        get_image_processor_class_from_name,
    )

    package = processor.__module__.split(".")[-2]
    names = (model_type, package, package.replace("_", "-"))
    found = (IMAGE_PROCESSOR_MAPPING_NAMES.get(name) for name in names)
    kinds = next((each for each in found if each), {})
    kind = get_image_processor_class_from_name(kinds.get("pil") or "")
    if kind is None:
        raise LookupError("needs torchvision" if kinds else "no image processor")
    images = kind()
    for name, value in _image_sizes(images).items():
        setattr(images, name, value)
    images.save_pretrained(folder)


def _image_sizes(images: Any) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name in ("size", "crop_size", "max_image_size", "high_res_size"):
        size = getattr(images, name, None)
        if isinstance(size, int):
            changed[name] = PIXELS
        elif size is not None:
            changed[name] = {key: _image_side(key, value) for key, value in dict(size).items()
                             if value is not None}  # fmt: skip
    if isinstance(getattr(images, "patch_size", None), int):
        changed["patch_size"] = PATCH
    elif isinstance(getattr(images, "patch_size", None), dict):
        changed["patch_size"] = {"height": PATCH, "width": PATCH}
    if getattr(images, "image_grid_pinpoints", None):
        changed["image_grid_pinpoints"] = _small_list("image_grid_pinpoints", [])
    if hasattr(images, "image_seq_length"):
        changed["image_seq_length"] = (PIXELS // PATCH) ** 2
    if isinstance(getattr(images, "max_patches", None), int):
        changed["max_patches"] = 4
    return changed


def _image_side(key: str, value: int) -> int:
    if value > 2500:  # an area, of Qwen's processors
        return (2 * PATCH) ** 2 if key == "shortest_edge" else 16 * (2 * PATCH) ** 2
    return PIXELS


def save_processor(processor: Any, folder: Path, image_tokens: int = 64) -> None:
    """Writes processor_config.json, with small sizes for the parameters that the class takes."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    known = {
        "patch_size": PATCH, "vision_feature_select_strategy": "full", "img_size": PIXELS,
        "image_seq_length": image_tokens, "image_seq_len": image_tokens,
        "num_image_tokens": image_tokens, "num_query_tokens": image_tokens,
    }  # fmt: skip
    taken = inspect.signature(processor.__init__).parameters
    known |= {
        name: config[name] for name in ("downsample_factor", "scale_factor") if name in config
    }
    options = {name: value for name, value in known.items() if name in taken}
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": processor.__name__, **options}), "utf-8"
    )
