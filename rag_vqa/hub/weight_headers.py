"""Headers of weights in safetensors: names, types and shapes of tensors, without their numbers.

Knows the format and ranged requests, so that a model can be judged by kilobytes of gigabytes. Does
not know which tensors a model wants.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_vqa.errors import RagVqaError
from rag_vqa.formatting import one_line
from rag_vqa.hub.failures import not_a_hub, translate_hub_errors
from rag_vqa.hub.repository import Repository, RepositoryFile

_FIRST = 1 << 18  # bytes: most headers are smaller, so one request is enough
_LONGEST = 100_000_000  # bytes, as the library that reads them has it
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16,
    "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: `start` is its beginning up to the numbers, `size` that of all of it."""

    name: str
    size: int
    start: bytes


def read_starts(folder: Path, names: Sequence[str]) -> list[WeightFile]:
    """The beginnings of the files of a folder.

    Raises:
        RagVqaError: one is no safetensors file.
    """
    found = []
    for name in names:
        path = folder / name
        with path.open("rb") as stream:
            first = stream.read(8)
            stream.seek(0)
            start = stream.read(_start_size(name, first, path.stat().st_size))
        found.append(WeightFile(name, path.stat().st_size, start))
    return found


def fetch_starts(repository: Repository, files: Sequence[RepositoryFile]) -> list[WeightFile]:
    """The beginnings of files of the hub, by ranged requests.

    Raises:
        Missing: the hub cannot be reached, or refuses.
        RagVqaError: one is no safetensors file.
    """
    found = []
    with translate_hub_errors(repository.model, repository.revision):
        for file in files:
            start = _fetch_range(repository, file, min(_FIRST, file.size))
            wanted = _start_size(file.name, start[:8], file.size)
            if wanted > len(start):
                start = _fetch_range(repository, file, wanted)
            found.append(WeightFile(file.name, file.size, start[:wanted]))
    return found


def _fetch_range(repository: Repository, file: RepositoryFile, count: int) -> bytes:
    """The first `count` bytes of a file; the rest is not read, even if the server sends it."""
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers() | {"Accept-Encoding": "identity", "Range": f"bytes=0-{count - 1}"}
    url = hf_hub_url(repository.model, file.name, revision=repository.commit)
    content = b""
    with get_session().stream("GET", url, headers=headers, timeout=20.0) as answer:
        hf_raise_for_status(answer)
        for piece in answer.iter_bytes():
            content += piece
            if len(content) >= count:
                break
    if len(content) < count:
        raise not_a_hub(f"it sends {len(content)} of {count} bytes of {one_line(file.name)}")
    return content[:count]


def _start_size(name: str, first: bytes, size: int) -> int:
    """Bytes before the numbers: eight, and the header whose length they give."""
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
    if not 2 <= length <= min(_LONGEST, size - 8):
        raise RagVqaError(
            f"{one_line(name)} is no safetensors file, or was cut: it has {size} bytes"
        )
    return 8 + int(length)


def count_tensors(file: WeightFile) -> Counter[str]:
    """How many numbers of each type a file holds, after a check of its header against its size.

    Raises:
        RagVqaError: header and size do not fit, so the file was cut or is damaged.
    """
    try:
        header = json.loads(file.start[8:])
        header.pop("__metadata__", None)
        counts: Counter[str] = Counter()
        end = 0
        for name, about in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
            counts[about["dtype"]] += _check_tensor(name, about, end)
            end = about["data_offsets"][1]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RagVqaError(
            f"{one_line(file.name)} has a damaged header ({one_line(str(error))})"
        ) from error
    if len(file.start) + end != file.size:
        raise RagVqaError(
            f"{one_line(file.name)} was cut or is damaged: its header describes "
            f"{len(file.start) + end:,} bytes, it has {file.size:,}"
        )
    return counts


def _check_tensor(name: str, about: dict[str, Any], begin: int) -> int:
    """How many numbers a tensor has; raises ValueError if its place and its shape do not fit."""
    first, last = about["data_offsets"]
    count: int = math.prod(map(int, about["shape"]))
    bits = _BITS.get(about["dtype"])
    if first != begin or (bits is not None and (last - first) * 8 != count * bits):
        raise ValueError(f"the place of {name}")
    return count


def write_hollow_file(file: WeightFile, place: Path) -> None:
    """A file with the same header and size, whose numbers take no room: for loaders that ask."""
    with place.open("wb") as target:
        target.write(file.start)
        target.truncate(file.size)
