"""What `data check` found, kept beside the questions in rag-vqa.json; runs use it.

It knows digests, names of missing pictures, and names of files that a data set's own lists gave.
One file serves all sets of a folder, each under its name and split. It opens no picture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from rag_vqa.errors import BadInput

MANIFEST = "rag-vqa.json"
MissingPolicy: TypeAlias = Literal["fail", "skip", "text-only"]


class Manifest(BaseModel):
    """One question set as it was checked.

    Attributes:
        files: role → sha256 of each question file.
        images: the folder of pictures, absolute.
        questions, with_picture: how many there are, and how many of them have their picture.
        missing: names of pictures that are not there.
        names: ids of pictures → names of files, where the data set's own lists say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    files: dict[str, str]
    images: str
    policy: MissingPolicy
    questions: int
    with_picture: int
    without_picture: int
    missing: list[str]
    names: dict[str, str] | None = None


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of each file, in hex."""
    found = {}
    for role, path in files.items():
        with path.open("rb") as file:
            found[role] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def load(home: Path, key: str) -> Manifest | None:
    """The manifest of a set, if its folder has one.

    Raises:
        BadInput: the file is damaged.
    """
    entry = _entries(home / MANIFEST).get(key)
    try:
        return None if entry is None else Manifest.model_validate(entry)
    except ValidationError as error:
        raise _damaged(home / MANIFEST, str(error.errors()[0]["msg"])) from error


def save(home: Path, key: str, manifest: Manifest) -> Path:
    """Write it, in the place of an older one of the same set."""
    path = home / MANIFEST
    entries = {**_entries(path), key: manifest.model_dump()}
    scratch = path.with_name(f".{MANIFEST}.{os.getpid()}")
    scratch.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", "utf-8")
    scratch.replace(path)
    return path


def _entries(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, "no object")
    return found


def _damaged(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is damaged ({reason}). Delete it, then: rag-vqa data check")
