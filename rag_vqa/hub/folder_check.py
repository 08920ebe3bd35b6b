"""The files of a model's folder, checked before a library reads them: one line says what is wrong.

Knows config.json, weights in safetensors and what stands in their place: pointers, pickles,
adapters, other kinds of models; and numbers that no model has. Of weights it reads the headers.
Does not know which class of a model can be read, nor which tensors it wants.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.formatting import one_line
from rag_vqa.hub.repository import INDEX, no_weights_error, shard_names, weight_names
from rag_vqa.hub.weight_headers import WeightFile, count_tensors, read_starts

_LFS = b"version https://git-lfs.github.com/spec/"
# JSON objects that loaders read; the tokenizer's own file is large, and its loader checks it.
_OBJECTS = (
    "generation_config.json", "tokenizer_config.json", "processor_config.json",
    "preprocessor_config.json", "special_tokens_map.json", "chat_template.json",
    "added_tokens.json",
)  # fmt: skip
_NOT_EMPTY = ("tokenizer.json", "vocab.json", "tokenizer.model", "merges.txt", "vocab.txt")
# Files that only another kind of model has.
_OTHER_KINDS = {
    "adapter_config.json": "an adapter, which needs its base model. Merge both first, with peft's "
    "merge_and_unload(), and save the result with save_pretrained(), the tokenizer too",
    "model_index.json": "a pipeline of diffusion, which makes pictures. Name a model that reads "
    "them",
    "modules.json": "an embedding model of sentence-transformers: it writes no text, and it is no "
    "ReT retriever. Name a reader, or a ReT retriever",
}
_ALREADY_QUANTISED = "bitsandbytes"  # the only form whose weights this code reads as they are


def check_model_files(model: str, folder: Path) -> dict[str, Any]:
    """Check a folder's small files and its weights' headers; returns the content of config.json.

    Raises:
        Missing: there is no model, or files of it are missing.
        UsageError: it is of another kind, or in a form that is not read.
        RagVqaError: a file is damaged.
    """
    config = read_config_file(model, folder)
    refuse_quantised(model, config)
    for name in (*_OBJECTS, *_NOT_EMPTY):
        file = folder / name
        if file.is_symlink() or file.exists():
            _ = read_object(file) if name in _OBJECTS else _read(file, len(_LFS))
    read_headers(folder, weights_of(model, folder))
    return config


def refuse_file(model: str) -> None:
    """Raises UsageError if `model` is a file: a model is a folder."""
    path = Path(model)
    try:
        is_file = path.is_file()
    except OSError:  # a name that no file can have
        return
    if is_file:
        raise UsageError(
            f"{one_line(model)} is a file. Name the folder that holds the model: {path.parent}"
        )


def list_files(model: str, folder: Path) -> list[str]:
    """Names of the entries of a folder.

    Raises:
        RagVqaError: it cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise RagVqaError(_unreadable(folder, error)) from error


def read_config_file(model: str, folder: Path) -> dict[str, Any]:
    """The content of config.json; raises as `check_model_files` does."""
    names = list_files(model, folder)
    for name, kind in _OTHER_KINDS.items():
        if name in names:
            raise UsageError(f"{one_line(model)} holds {name}: it is {kind}")
    if "config.json" not in names:
        if any(name.endswith(".gguf") for name in names):
            raise no_weights_error(model, names)
        raise Missing(
            f"{one_line(model)} has no config.json, so it is no model. Check the path, or pull "
            "one: rag-vqa models pull MODEL"
        )
    file = folder / "config.json"
    config = read_object(file)
    if not isinstance(config.get("model_type"), str):
        raise RagVqaError(
            f"{one_line(str(file))} names no model_type that is a text, so no class can read it. "
            "Fetch the model again, or name another"
        )
    return config


def refuse_quantised(model: str, config: dict[str, Any]) -> None:
    """Raises UsageError for weights that are quantised already, in a form that is not read."""
    about = config.get("quantization_config") or config.get("compression_config")
    for part in ("text_config", "llm_config"):
        if not about and isinstance(config.get(part), dict):
            about = config[part].get("quantization_config")
    if not about:
        return
    method = about.get("quant_method") if isinstance(about, dict) else None
    if method != _ALREADY_QUANTISED:
        raise UsageError(
            f"{one_line(model)} is quantised already ({one_line(str(method or 'unknown'))}), which "
            "only servers such as vLLM read: --server URL. Or take the model that it was made "
            "from: it is quantised here, with --quantization nf4"
        )


def weights_of(model: str, folder: Path) -> list[str]:
    """Names of the files of weights; raises as `check_model_files` does."""
    names = list_files(model, folder)
    found = weight_names(names)
    if not found:
        raise no_weights_error(model, names)
    if found != [INDEX]:
        return found
    file = folder / INDEX
    index = read_object(file)
    found = shard_names(index)
    if not found or not isinstance(index.get("metadata", {}), dict):
        raise RagVqaError(f"{one_line(str(file))} is damaged: it names no weights.")
    if any(Path(name).name != name for name in found):
        raise RagVqaError(f"{one_line(str(file))} names files outside its folder.")
    return found


def read_headers(folder: Path, names: Sequence[str]) -> list[WeightFile]:
    """The headers of weights, each checked against the size of its file.

    Raises:
        Missing: files are missing, or are pointers.
        RagVqaError: one is damaged.
    """
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise Missing(
            f"{one_line(str(folder))}: {len(absent)} of {len(names)} files of weights are missing: "
            f"{one_line(', '.join(absent[:3]))}. Fetch the model again"
        )
    for name in names:
        _read(folder / name, len(_LFS))
    try:
        files = read_starts(folder, names)
        empty = [file.name for file in files if not count_tensors(file)]
    except RagVqaError as error:
        raise RagVqaError(f"{one_line(str(folder))}: {error}. Fetch the model again") from error
    except OSError as error:
        raise RagVqaError(_unreadable(folder, error)) from error
    if empty:
        raise RagVqaError(f"{one_line(str(folder / empty[0]))} holds no tensors")
    return files


def refuse_broken_numbers(model: str, tensors: Iterable[tuple[str, Any]]) -> None:
    """Raises RagVqaError if a tensor of a loaded model holds a number that is infinite or none."""
    import torch

    for name, tensor in tensors:
        if tensor.is_meta or not tensor.is_floating_point() or not tensor.numel():
            continue
        # Both are NaN if one number is; unlike isfinite or a sum, they need no copy of the weights.
        least, greatest = torch.aminmax(tensor.detach())
        if not (torch.isfinite(least) and torch.isfinite(greatest)):
            raise RagVqaError(
                f"{one_line(model)}: the weights hold numbers that are infinite or none (in "
                f"{one_line(name)}), so that every result would be noise. Fetch the model again, "
                "or name another"
            )


def _read(file: Path, count: int = -1) -> bytes:
    """The first bytes of a file, or all; refuses empty ones, pointers and unreadable ones."""
    try:
        with file.open("rb") as stream:
            content = stream.read(count)
    except OSError as error:
        raise RagVqaError(_unreadable(file, error)) from error
    if not content.strip():
        raise RagVqaError(f"{one_line(str(file))} is damaged: it is empty. Fetch the model again")
    if content.startswith(_LFS):
        raise Missing(
            f"{one_line(str(file))} is a pointer of Git LFS, not the file. In its folder: "
            "git lfs pull. Or: rag-vqa models pull MODEL"
        )
    return content


def read_object(file: Path) -> dict[str, Any]:
    """The content of a small file of JSON.

    Raises:
        Missing: it is a pointer of Git LFS.
        RagVqaError: it is damaged.
    """
    content = _read(file)
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RagVqaError(
            f"{one_line(str(file))} is damaged: {one_line(str(error))}. Fetch the model again"
        ) from error
    if not isinstance(found, dict):
        raise RagVqaError(
            f"{one_line(str(file))} is damaged: it is no JSON object. Fetch the model again"
        )
    return found


def _unreadable(path: Path, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{one_line(str(path))} cannot be read: {reason}. Check its permissions and links"
