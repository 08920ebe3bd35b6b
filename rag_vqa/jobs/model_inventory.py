"""Models on this machine: list them, find their folders, delete them from the hub's cache.

Knows presets and the state of a cached model. Contacts nobody, and deletes nothing but whole
repositories of the hub's cache, by huggingface_hub's own deletion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from rag_vqa.checkpoints import EMBEDDED, embedded_model
from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.hub.model_cache import (
    CachedModel,
    find_cached_model,
    find_snapshot,
    has_all_weights,
    has_processor,
    is_available,
    list_cached_models,
)
from rag_vqa.jobs.download_consent import resolve_names
from rag_vqa.presets import PRESETS
from rag_vqa.progress import LOG, Reporter

State = Literal["complete", "processor", "unfinished", "partial"]


@dataclass(frozen=True)
class ModelOnDisk:
    """A revision of a model in the hub's cache.

    Attributes:
        state: "complete"; "processor": all but weights, as a retriever needs of a CLIP model;
            "unfinished": a download was cut; "partial": configuration or other files alone.
        size: bytes of the repository on the disk, all revisions together.
        presets: names of the presets that use the model.
        kind: the `model_type` of its configuration, "" without one; `rag-vqa models check` says
            whether this version reads it.
        last_used: day of the last read or download, as the file system keeps it: "2026-01-31".
    """

    model: str
    commit: str
    refs: tuple[str, ...]
    state: State
    size: int
    folder: Path
    presets: tuple[str, ...]
    kind: str = ""
    last_used: str = ""


def list_models() -> list[ModelOnDisk]:
    """Every revision of every model in the hub's cache."""
    return [found for cached in list_cached_models() for found in _revisions(cached)]


def _revisions(cached: CachedModel) -> Iterator[ModelOnDisk]:
    users = tuple(
        preset.name
        for preset in PRESETS.values()
        if cached.model in {model.id for model in preset.models}
    )
    if not cached.snapshots:
        yield ModelOnDisk(cached.model, "", (), "unfinished", cached.size, cached.folder, users)
    for commit, folder in cached.snapshots.items():
        names = tuple(name for name, target in cached.refs.items() if target == commit)
        state = _state(cached, folder)
        yield ModelOnDisk(
            cached.model, commit, names, state, cached.size, folder, users,
            _model_type(folder), _last_use(folder),
        )  # fmt: skip


def _model_type(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("model_type") or "") if isinstance(config, dict) else ""


def _last_use(folder: Path) -> str:
    # The list itself reads config.json.
    paths = (path for path in folder.iterdir() if path.is_file() and path.name != "config.json")
    stats = [path.stat() for path in paths]
    latest = max((max(each.st_atime, each.st_mtime) for each in stats), default=None)
    return "" if latest is None else date.fromtimestamp(latest).isoformat()


def _state(cached: CachedModel, folder: Path) -> State:
    if has_all_weights(folder):
        return "complete"
    if cached.partial:
        return "unfinished"
    return "processor" if has_processor(folder) else "partial"


def preset_states() -> dict[str, list[str]]:
    """For each preset that downloads models, those that are missing here."""
    return {
        preset.name: [
            model.id for model in preset.models if not is_available(model.id, model.revision)
        ]
        for preset in PRESETS.values()
        if preset.models
    }


def find_model_folders(name: str) -> list[Path]:
    """The folders of a model, or of all models of a preset.

    Raises:
        Missing: one is not on this machine, or not complete.
        UsageError: the name is neither a preset nor a hub id.
    """
    if name == EMBEDDED:
        return [embedded_model("retriever"), embedded_model("reader")]
    if Path(name).is_dir():
        return [Path(name).resolve()]
    wanted = resolve_names([name])
    if name not in PRESETS:
        wanted = wanted[:1]  # without the model whose tokenizer a retriever uses
    for model, revision in wanted:
        if not is_available(model, revision):
            raise Missing(
                f"{one_line(model)} is not on this machine, or not complete. Download it: "
                f"rag-vqa models pull {one_line(name)}"
            )
    return [folder for each in wanted if (folder := find_snapshot(*each)) is not None]


def remove_models(
    names: Sequence[str], reporter: Reporter = LOG, *, yes: bool = False
) -> dict[str, int]:
    """Delete models from the hub's cache, all revisions, after a question.

    Args:
        names: PRESET or MODEL. Of a preset, models that another complete preset uses go as well,
            which is reported before the question.

    Returns: bytes of each model that is gone.

    Raises:
        UsageError: a name is none, or one of a folder, which is never deleted.
        Missing: a model is not in the cache; or nobody agreed.
        RagVqaError: the system refused to delete a file.
    """
    found = [_find_removable(model) for model in _removable_names(names)]
    for cached in found:
        users = {name for each in _revisions(cached) for name in each.presets} - set(names)
        also = f", which the presets {', '.join(sorted(users))} use as well" if users else ""
        reporter.warn(f"To delete: {one_line(cached.model)}, {format_bytes(cached.size)}{also}")
    total = format_bytes(sum(cached.size for cached in found))
    answer = True if yes else reporter.confirm(f"Delete {total} from {found[0].folder.parent}?")
    if answer is None:
        raise Missing("Nothing was deleted: nobody could be asked. To delete, add --yes")
    if not answer:
        raise Missing("Nothing was deleted.")
    return {cached.model: _remove(cached) for cached in found}


def _removable_names(names: Sequence[str]) -> list[str]:
    """The models that names mean; of a single model only itself."""
    models: dict[str, None] = {}
    for name in names:
        if name == EMBEDDED:
            raise UsageError("The embedded models are part of the package: they stay.")
        if Path(name).is_dir():
            raise UsageError(
                f"{name} is a folder of yours. rag-vqa deletes only what is in the hub's cache."
            )
        wanted = resolve_names([name])
        for model, _ in wanted if name in PRESETS else wanted[:1]:
            models[model] = None
    return list(models)


def _find_removable(model: str) -> CachedModel:
    cached = find_cached_model(model)
    if cached is None:
        raise Missing(f"{one_line(model)} is not in the hub's cache. See: rag-vqa models list")
    return cached


def _remove(cached: CachedModel) -> int:
    """Delete a repository; returns its bytes."""
    from huggingface_hub import DeleteCacheStrategy

    DeleteCacheStrategy(
        cached.size,
        blobs=frozenset(),
        refs=frozenset(),
        repos=frozenset({cached.folder}),
        snapshots=frozenset(),
        cache_dir=cached.folder.parent,
    ).execute()
    if cached.folder.exists():
        raise RagVqaError(
            f"{one_line(str(cached.folder))} could not be deleted. Check who owns it, and whether "
            "a program still uses it."
        )
    return cached.size
