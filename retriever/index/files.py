"""The rows of an index in one file, and back. It knows the file's names and types, no engine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rag_vqa.errors import CorruptKnowledgeBase, Missing, RagVqaError, UsageError
from rag_vqa.retriever.codes import Codes, row_type
from rag_vqa.retriever.index.protocol import Keys, Tokens
from rag_vqa.retriever.index.rows import Rows

DIGEST = "digest"
NEW = ".new"  # ends the name of a file that is not whole yet
Arrays = Mapping[str, NDArray[Any]]
Add = Callable[[Tokens | None, Keys, Codes | None], None]


def save_rows(path: Path, rows: Rows, more: Arrays | None = None) -> None:
    """Write the rows that are there, block by block, and further arrays."""
    arrays: dict[str, NDArray[Any]] = {"shape": np.array(rows.shape, np.int64), **(more or {})}
    at = rows.among(None)
    for number, (block, here) in enumerate(rows.parts(at)):
        chosen = slice(None) if here is None else here
        keys = rows.keys[block.start : block.start + len(block)]
        arrays[f"keys.{number}"] = np.ascontiguousarray(keys[chosen])
        arrays[f"codes.{number}"] = np.ascontiguousarray(block.codes[chosen]).view(np.uint8)
        if block.tokens is not None:
            arrays[f"tokens.{number}"] = np.ascontiguousarray(block.tokens[chosen])
    save(path, arrays)


def save_tokens(path: Path, tokens: NDArray[np.float16], keys: Keys) -> None:
    """Write rows (N, K, D) of an engine that keeps no codes."""
    save(path, {"tokens": tokens, "keys": keys})


def load_tokens(path: Path, add: Add) -> None:
    """Read what `save_tokens` wrote, and give it to `add`."""
    arrays = load(path)
    try:
        tokens, keys = arrays["tokens"], arrays["keys"]
        if tokens.dtype != np.float16 or keys.dtype != np.int64:
            raise CorruptKnowledgeBase(f"{path} is no index: its arrays have other types.")
        if len(keys):
            add(tokens, keys, None)
    except (KeyError, UsageError) as error:
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: {error}") from error


def load_rows(path: Path, add: Add) -> Arrays:
    """Read what `save_rows` wrote: each block is given to `add`, the other arrays are returned."""
    arrays = load(path)
    try:
        shape = arrays.pop("shape")
        count = sum(name.startswith("keys.") for name in arrays)
        for number in range(count):
            tokens, keys = arrays.pop(f"tokens.{number}", None), arrays.pop(f"keys.{number}")
            raw = arrays.pop(f"codes.{number}")
            if keys.dtype != np.int64 or raw.dtype != np.uint8:
                raise CorruptKnowledgeBase(f"{path} is no index: its arrays have other types.")
            if tokens is not None and tokens.dtype != np.float16:
                raise CorruptKnowledgeBase(f"{path} is no index: its tokens are no fp16.")
            K, D = (int(size) for size in shape)
            add(tokens, keys, raw.reshape(-1).view(row_type(K, D)))
    except (KeyError, ValueError, UsageError) as error:
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: {error}") from error
    return arrays


def save(path: Path, arrays: Arrays) -> None:
    """Write named arrays to one file with a digest of them, whole or not at all.

    Raises:
        RagVqaError: the disk is full, or the file cannot be written for another reason.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}{NEW}")
    try:
        try:
            save_file({**arrays, DIGEST: _digest(arrays)}, new)
            with new.open("rb") as file:
                os.fsync(file.fileno())  # or a power loss could leave the name without the bytes
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except (SafetensorError, OSError) as error:  # a full disk is the former
        raise RagVqaError(
            f"{path} cannot be written: {error}. Make room on the disk or check the rights, then "
            "run the same command again."
        ) from error


def load(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `save` wrote.

    Raises:
        Missing, CorruptKnowledgeBase: see `Index.open`.
    """
    if not path.is_file():
        raise Missing(f"{path} does not exist: it is written by `Index.save`.")
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a type numpy has not
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: {error}.") from error
    written = arrays.pop(DIGEST, np.empty(0))
    if not np.array_equal(written, _digest(arrays)):
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: its digest is another.")
    return arrays


def _digest(arrays: Arrays) -> NDArray[np.uint8]:
    """Of names, types, shapes and bytes: a flipped bit would change answers in silence."""
    found = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return np.frombuffer(found.digest(), np.uint8)
