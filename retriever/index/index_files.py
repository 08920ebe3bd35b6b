"""Files of an index: its rows in one file, and the cache of candidates' means beside them.

Knows the files' names, types and checksums. Does not know engines. The cache holds nothing that
cannot be made again, which takes minutes. It has a checksum of each row, because a key may come to
mean another row where an older copy of a knowledge base was put back.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rag_vqa.errors import CorruptKnowledgeBase, Missing, RagVqaError, UsageError
from rag_vqa.retriever.index import Codes, Keys, Tokens
from rag_vqa.retriever.index.rows import RowBlocks, code_dtype
from rag_vqa.storage import atomic

DIGEST = "digest"
Arrays = Mapping[str, NDArray[Any]]
AddRows = Callable[[Tokens | None, Keys, Codes | None], None]
NOT_CACHED = -1  # the place of a row that a cache does not have
_CODES_AT_ONCE = 4096  # mapped codes that are copied at once


def save_rows(path: Path, rows: RowBlocks, further_arrays: Arrays | None = None) -> None:
    """Write the rows that are not deleted, block by block, and further arrays."""
    arrays: dict[str, NDArray[Any]] = {
        "shape": np.array(rows.shape, np.int64),
        **(further_arrays or {}),
    }
    for number, (block, chosen) in enumerate(rows.select(rows.positions_among(None))):
        part = slice(None) if chosen is None else chosen
        keys = rows.keys[block.start : block.start + len(block)]
        arrays[f"keys.{number}"] = np.ascontiguousarray(keys[part])
        arrays[f"codes.{number}"] = np.ascontiguousarray(block.codes[part]).view(np.uint8)
        if block.tokens is not None:
            arrays[f"tokens.{number}"] = np.ascontiguousarray(block.tokens[part])
    save_arrays(path, arrays)


def save_tokens(path: Path, tokens: NDArray[np.float16], keys: Keys) -> None:
    """Write rows (N, K, D) of an engine that keeps no codes."""
    save_arrays(path, {"tokens": tokens, "keys": keys})


def load_tokens(path: Path, add: AddRows) -> None:
    """Read a file that `save_tokens` wrote, and pass its rows to `add`."""
    arrays = load_arrays(path)
    try:
        tokens, keys = arrays["tokens"], arrays["keys"]
        if tokens.dtype != np.float16 or keys.dtype != np.int64:
            raise CorruptKnowledgeBase(f"{path} is no index: its arrays have other types.")
        if len(keys):
            add(tokens, keys, None)
    except (KeyError, UsageError) as error:
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: {error}") from error


def load_rows(path: Path, add: AddRows) -> Arrays:
    """Read a file that `save_rows` wrote: pass each block to `add`, return the other arrays."""
    arrays = load_arrays(path)
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
            add(tokens, keys, raw.reshape(-1).view(code_dtype(K, D)))
    except (KeyError, ValueError, UsageError) as error:
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: {error}") from error
    return arrays


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write named arrays to one file with a digest of them, whole or not at all.

    Raises:
        RagVqaError: the disk is full, or the file cannot be written for another reason.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{atomic.PARTIAL_SUFFIX}")
    try:
        with atomic.partial_file(path, partial) as new:
            save_file({**arrays, DIGEST: _digest_arrays(arrays)}, new)
    except (SafetensorError, OSError) as error:  # a full disk is the former
        raise RagVqaError(
            f"{path} cannot be written: {error}. Make room on the disk or check the rights, then "
            "run the same command again."
        ) from error


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file that `save_arrays` wrote.

    Raises:
        Missing, CorruptKnowledgeBase: see `Index.open`.
    """
    if not path.is_file():
        raise Missing(f"{path} does not exist: `Index.save` writes it.")
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a type that numpy lacks
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: {error}.") from error
    written = arrays.pop(DIGEST, np.empty(0))
    if not np.array_equal(written, _digest_arrays(arrays)):
        raise CorruptKnowledgeBase(f"{path} is no index, or is damaged: its digest differs.")
    return arrays


def _digest_arrays(arrays: Arrays) -> NDArray[np.uint8]:
    """Digest of names, types, shapes and bytes: a flipped bit would silently change answers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return np.frombuffer(digest.digest(), np.uint8)


@dataclass(frozen=True, slots=True)
class CandidateCache:
    """The means that an engine computed from its rows (N), by rising key, and their lists.

    Attributes:
        checks: (N,) `row_checksums` of the rows' codes.
        coarse: (N,) codes of the J means of each row.
        centres, ids: with inverted lists, their centres (M, D) and the list of each mean (N, J).
    """

    keys: Keys
    checks: NDArray[np.uint64]
    coarse: Codes
    centres: NDArray[np.float32] | None = None
    ids: NDArray[np.uint16] | None = None

    def find(self, keys: Keys, codes: Codes) -> NDArray[np.intp]:
        """Places of the rows with these keys and codes (n,); NOT_CACHED where there is none."""
        found = np.full(len(keys), NOT_CACHED, np.intp)
        if not len(self.keys):
            return found
        nearest = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        same_key = np.flatnonzero(self.keys[nearest] == keys)
        for start in range(0, len(same_key), _CODES_AT_ONCE):
            part = same_key[start : start + _CODES_AT_ONCE]
            same_row = self.checks[nearest[part]] == row_checksums(codes[part])
            found[part[same_row]] = nearest[part[same_row]]
        return found

    def write(self, path: Path) -> None:
        """Write the cache to one file, whole or not at all."""
        J, D = self.coarse.dtype["values"].shape
        arrays: dict[str, NDArray[Any]] = {
            "keys": self.keys,
            "checks": self.checks,
            "coarse": np.ascontiguousarray(self.coarse).view(np.uint8),
            "shape": np.array([J, D], np.int64),
        }
        if self.centres is not None and self.ids is not None:
            arrays |= {"centres": self.centres, "ids": self.ids}
        save_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote.

        Raises:
            Missing, CorruptKnowledgeBase: see `Index.open`.
        """
        arrays = load_arrays(path)
        try:
            J, D = (int(size) for size in arrays["shape"])
            if min(J, D) < 1:
                raise ValueError(f"means of {J} × {D}")
            coarse = arrays["coarse"].reshape(-1).view(code_dtype(J, D))
            centres, ids = arrays.get("centres"), arrays.get("ids")
            cache = cls(arrays["keys"].reshape(-1), arrays["checks"], coarse, centres, ids)
        except (KeyError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
            raise CorruptKnowledgeBase(
                f"{path} is damaged, or of another version: {error!r}."
            ) from error
        cache._check(path)
        return cache

    def _check(self, path: Path) -> None:
        """Raise CorruptKnowledgeBase unless types, shapes and list numbers are consistent."""
        N, (J, D) = len(self.keys), self.coarse.dtype["values"].shape
        has_lists = self.centres is not None and self.ids is not None
        M = self.centres.size // D if self.centres is not None else 0
        wanted: list[tuple[NDArray[Any] | None, Any, tuple[int, ...]]] = [
            (self.keys, np.int64, (N,)),
            (self.checks, np.uint64, (N,)),
            (self.coarse, self.coarse.dtype, (N,)),
            (self.centres, np.float32, (M, D)),
            (self.ids, np.uint16, (N, J)),
        ]
        for array, dtype, shape in wanted[: 5 if has_lists else 3]:
            if array is None or array.dtype != dtype or array.shape != shape:
                raise CorruptKnowledgeBase(f"{path} is damaged: an array is not {shape}.")
        if has_lists and self.ids is not None and self.ids.size and int(self.ids.max()) >= M:
            raise CorruptKnowledgeBase(f"{path} is damaged: a list has no centre.")


def row_checksums(codes: Codes) -> NDArray[np.uint64]:
    """64-bit checksums (N,) of the rows of codes.

    Two quick ones joined, against accidents and not malice: each opening computes them of all rows.
    """
    rows = np.ascontiguousarray(codes).view(np.uint8).reshape(len(codes), codes.itemsize)
    checks = (zlib.crc32(row.data) << 32 | zlib.adler32(row.data) for row in rows)
    return np.fromiter(checks, np.uint64, len(rows))
