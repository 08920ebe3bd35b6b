"""Models on this machine: which snapshots the hub's cache holds, and whether they are complete.

Knows the folders that huggingface_hub makes. Reads names, sizes and the index of weights, and
contacts nobody. The cache of data sets that are sources of documents: formats/hub_cache.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rag_vqa.checkpoints import CHECKPOINTS, EMBEDDED
from rag_vqa.hub.repository import INDEX, shard_names, weight_names

PARTIAL = ".incomplete"  # ends the name of a file that is not complete, as in huggingface_hub
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class CachedModel:
    """A model in the hub's cache, with all its revisions.

    Attributes:
        snapshots: folder of each revision that is there, by commit.
        refs: commit of each name that was asked for, such as "main".
        size: bytes on the disk. partial: bytes of unfinished files.
    """

    model: str
    folder: Path
    snapshots: dict[str, Path]
    refs: dict[str, str]
    size: int
    partial: int


def cache_folder() -> Path:
    """The folder of the hub's cache, which HF_HUB_CACHE and HF_HOME move."""
    from huggingface_hub import constants

    # The variable may have been set after the library was imported.
    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser()


def model_folder(model: str) -> Path:
    """Where the cache keeps a model, whether it is there or not."""
    return cache_folder() / "--".join(["models", *model.split("/")])


def find_snapshot(model: str, revision: str | None = None) -> Path | None:
    """The folder of a model's files at a revision (default: main); None if it is not cached."""
    folder = model_folder(model)
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (folder / "refs" / commit).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def is_available(model: str, revision: str | None = None) -> bool:
    """True if a model needs no download: embedded, a folder, or complete in the hub's cache."""
    if model == EMBEDDED or Path(model).is_dir():
        return True
    if not is_hub_id(model):
        return False
    folder = find_snapshot(model, revision)
    if folder is None:
        return False
    known = CHECKPOINTS.get(model)
    if known and not known.parameters:  # only its tokenizer and image processor are used
        return has_processor(folder)
    return has_all_weights(folder)


def has_processor(folder: Path) -> bool:
    """True if tokenizer and image processor are there."""
    names = ("tokenizer_config.json", "preprocessor_config.json")
    return all((folder / name).is_file() for name in names)


def has_all_weights(folder: Path) -> bool:
    """True if a folder has a configuration and every file of its weights."""
    return (folder / "config.json").is_file() and not missing_weights(folder)


def missing_weights(folder: Path) -> list[str]:
    """Names of weights that a folder lacks; ["model.safetensors"] if it has none at all."""
    names = weight_names([path.name for path in folder.iterdir() if path.is_file()])
    if names == [INDEX]:
        try:
            names = shard_names(json.loads((folder / INDEX).read_text("utf-8")))
        except (OSError, ValueError):
            return [INDEX]
        return [name for name in names if not (folder / name).is_file()] or (
            [] if names else [INDEX]
        )
    return [] if names else ["model.safetensors"]


def is_hub_id(name: str) -> bool:
    """True of OWNER/NAME or NAME, as the hub allows them."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def list_cached_models() -> Iterator[CachedModel]:
    """The models of the cache, by name. A folder that is no model's is passed over."""
    try:
        folders = sorted(cache_folder().glob("models--*"))
    except OSError:
        return
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink():
            yield _read_cached_model(folder)


def find_cached_model(model: str) -> CachedModel | None:
    """A model of the cache; None if it is not there."""
    folder = model_folder(model)
    return _read_cached_model(folder) if is_hub_id(model) and folder.is_dir() else None


def _read_cached_model(folder: Path) -> CachedModel:
    snapshots = {
        path.name: path for path in sorted((folder / "snapshots").glob("*")) if path.is_dir()
    }
    refs: dict[str, str] = {}
    for path in sorted((folder / "refs").rglob("*")):
        with suppress(OSError, UnicodeDecodeError):
            refs[path.relative_to(folder / "refs").as_posix()] = path.read_text("utf-8").strip()
    sizes = _sizes_on_disk(folder)
    return CachedModel(
        "/".join(folder.name.split("--")[1:]),
        folder,
        snapshots,
        refs,
        sum(sizes.values()),
        sum(size for path, size in sizes.items() if path.name.endswith(PARTIAL)),
    )


def _sizes_on_disk(folder: Path) -> dict[Path, int]:
    """Bytes of each file below a folder. Only blobs may be links that count: to a store of all."""
    sizes: dict[Path, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.parent.name == "blobs" or not path.is_symlink():
                with suppress(OSError):
                    sizes[path] = path.stat().st_size
    return sizes
