"""Tokenizers and processors of CLIP and Qwen3-VL in the layout of their repositories.

Knows both vocabularies, out of packages that hold them as data, and how the files that transformers
reads are made of them. A vocabulary without merges, for small models, needs no package. Does not
know weights (rehearsal_models.py). The packages are neither imported nor dependencies of rag-vqa:

    pip install --no-deps open-clip-torch dashscope
"""

import base64
import gzip
import importlib.util
import itertools
from pathlib import Path
from typing import Any

from rehearsal_models import TRUE, Sizes, write_json

CLIP_PATTERN = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
START, END = "<|startoftext|>", "<|endoftext|>"
QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>",
    "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
QWEN_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


class VocabularyMissing(RuntimeError):
    """The package that holds a vocabulary is not installed."""


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in vocabularies of byte pairs, in their order."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    return letters | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


def find_data(package: str, name: str) -> Path:
    """A data file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place) / name).is_file():
            return path
    shown = {"open_clip": "open-clip-torch"}.get(package, package)
    raise VocabularyMissing(f"there is no {package}/{name}: pip install --no-deps {shown}")


def clip_vocabulary(words: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary and merges; `words` as many as it has, or 514 for single bytes."""
    letters = list(byte_letters().values())
    pairs: list[tuple[str, str]] = []
    if words > 514:
        packed = find_data("open_clip", "bpe_simple_vocab_16e6.txt.gz")
        lines = gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")
        for line in lines[1 : words - 514 + 1]:
            first, second = line.split()
            pairs.append((first, second))
    tokens = [*letters, *(f"{each}</w>" for each in letters), *("".join(pair) for pair in pairs)]
    return {token: place for place, token in enumerate([*tokens, START, END])}, pairs


def qwen_vocabulary(pieces: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Qwen's vocabulary and merges; `pieces` as many as it has, or 256 for single bytes."""
    letters = byte_letters()
    if pieces == 256:
        return {letter: place for place, letter in enumerate(letters.values())}, []
    ranks: dict[bytes, int] = {}
    for line in find_data("dashscope", "resources/qwen.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)

    def shown(piece: bytes) -> str:
        return "".join(letters[byte] for byte in piece)

    pairs = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            first, second = _last_merge(token, rank, ranks)
            pairs.append((shown(first), shown(second)))
    return {shown(token): rank for token, rank in ranks.items()}, pairs


def _last_merge(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two pieces that a token was merged from: what earlier merges make of its bytes."""
    pieces = [token[place : place + 1] for place in range(len(token))]
    while len(pieces) > 2:
        pairs = [ranks.get(a + b, rank) for a, b in itertools.pairwise(pieces)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
    return pieces[0], pieces[1]


def write_clip(folder: Path, sizes: Sizes = TRUE, empty: int = 0) -> None:
    """openai/clip-vit-large-patch14: its tokenizer and image processor.

    `empty` adds weights of this many bytes, which hold nothing: a program that wants the tokenizer
    should not download them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, pairs = clip_vocabulary(sizes.words)
    write_json(folder / "tokenizer.json", clip_tokenizer(vocabulary, pairs))
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    kind = {"__type": "AddedToken"}
    write_json(folder / "tokenizer_config.json", {
        "unk_token": _clip_token(END) | kind, "bos_token": _clip_token(START) | kind,
        "eos_token": _clip_token(END) | kind, "pad_token": END, "add_prefix_space": False,
        "errors": "replace", "do_lower_case": True, "name_or_path": "openai/clip-vit-base-patch32",
        "model_max_length": 77, "special_tokens_map_file": None,
        "tokenizer_class": "CLIPTokenizer",
    })  # fmt: skip
    write_json(folder / "special_tokens_map.json", {
        "bos_token": _clip_token(START), "eos_token": _clip_token(END),
        "unk_token": _clip_token(END), "pad_token": END,
    })  # fmt: skip
    write_json(folder / "preprocessor_config.json", {
        "crop_size": sizes.image, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": sizes.image,
    })  # fmt: skip
    write_json(folder / "config.json", {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": sizes.text,
    })  # fmt: skip
    for name in ("model.safetensors", "pytorch_model.bin") if empty else ():
        with (folder / name).open("wb") as stream:
            stream.truncate(empty)


def _clip_token(text: str) -> dict[str, Any]:
    return {
        "content": text, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": True,
    }  # fmt: skip


def clip_tokenizer(vocabulary: dict[str, int], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """tokenizer.json of CLIP."""
    start, end = vocabulary[START], vocabulary[END]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [_added(START, start, normalized=True), _added(END, end)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": CLIP_PATTERN}, "behavior": "Removed",
             "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        ]},
        "post_processor": {"type": "RobertaProcessing", "sep": [END, end], "cls": [START, start],
                           "trim_offsets": False, "add_prefix_space": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": END,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
                  "fuse_unk": False, "vocab": vocabulary,
                  "merges": [" ".join(pair) for pair in pairs]},
    }  # fmt: skip


def write_qwen(folder: Path, sizes: Sizes = TRUE) -> None:
    """Tokenizer, processors and chat template of Qwen3-VL."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, pairs = qwen_vocabulary(sizes.pieces)
    added = [
        _added(token, sizes.pieces + place, special=token[1] == "|")
        for place, token in enumerate(QWEN_SPECIAL)
    ]
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated",
             "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
             "use_regex": False},
        ]},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                           "use_regex": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                    "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "byte_fallback": False, "vocab": vocabulary,
                  "merges": [list(pair) for pair in pairs]},
    })  # fmt: skip
    write_json(folder / "vocab.json", vocabulary)
    merges = "".join(f"{a} {b}\n" for a, b in pairs)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", "utf-8")
    special = [token for token in QWEN_SPECIAL[:14] if token != END]
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "additional_special_tokens": special, "bos_token": None,
        "added_tokens_decoder": {
            str(each.pop("id")): each for each in (dict(token) for token in added)
        },
        "chat_template": QWEN_TEMPLATE, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": 262_144,
        "pad_token": END, "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    })  # fmt: skip
    write_json(folder / "chat_template.json", {"chat_template": QWEN_TEMPLATE})
    pixels = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
              "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
              "processor_class": "Qwen3VLProcessor"}  # fmt: skip
    write_json(folder / "preprocessor_config.json", pixels | {
        "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536},
        "image_processor_type": "Qwen2VLImageProcessorFast",
    })  # fmt: skip
    write_json(folder / "video_preprocessor_config.json", pixels | {
        "size": {"longest_edge": 25_165_824, "shortest_edge": 4096},
        "video_processor_type": "Qwen3VLVideoProcessor",
    })  # fmt: skip


def _added(text: str, id: int, *, special: bool = True, normalized: bool = False) -> dict[str, Any]:
    return {
        "id": id, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": normalized, "special": special,
    }  # fmt: skip
