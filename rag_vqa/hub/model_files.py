"""The files that a loader needs of a model: on this machine already, or downloaded now.

Knows the order: a folder, the cache, the hub. Every loader of models calls it and then loads
offline, so that a missing network is one line and no library waits or retries. Asks nobody for
consent (jobs/download_consent.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.hub.download import download_files
from rag_vqa.hub.failures import is_network_off
from rag_vqa.hub.model_cache import find_snapshot, has_all_weights, is_hub_id
from rag_vqa.hub.repository import look_up, needed_files
from rag_vqa.progress import Advance, LineNote, LogReporter, no_note


def ensure_available(
    model: str, revision: str | None = None, *, offline: bool = False, marker: str = ""
) -> dict[str, Any]:
    """Download a model unless it is here; returns where transformers finds it, without the hub.

    Args:
        model: a folder, or a hub id.
        marker: name of a file whose presence is enough, such as "tokenizer_config.json"; the
            weights then stay on the hub. "": configuration and all weights are needed.

    Returns: `revision` and `local_files_only`, as `from_pretrained` takes them.

    Raises:
        Missing: it is not on this machine, and the network is off or the hub does not give it.
        RagVqaError: the disk is full, or a file came damaged.
    """
    where = {"revision": revision, "local_files_only": True}
    if Path(model).is_dir() or _is_cached(model, revision, marker):
        return where
    if not is_hub_id(model):
        raise Missing(
            f"{one_line(model)}: there is no such folder. Give one that holds a model, or a hub "
            "id, which reads OWNER/NAME."
        )
    if offline or is_network_off():
        raise network_off_error(one_line(model))
    repository = look_up(model, revision)
    files = needed_files(repository, weights=not marker)
    reporter = _LibraryBars()
    reporter.note(f"Downloading {model}, {format_bytes(sum(file.size for file in files))}")
    download_files(repository, files, reporter)
    return where


def _is_cached(model: str, revision: str | None, marker: str) -> bool:
    folder = find_snapshot(model, revision) if is_hub_id(model) else None
    if folder is None:
        return False
    # A whole model may have no such file, and loads without.
    return has_all_weights(folder) or bool(marker and (folder / marker).is_file())


def network_off_error(names: str) -> Missing:
    """The error for models that are not here while the network is turned off."""
    return Missing(
        f"{names}: not on this machine, and the network is off. Leave out --offline (and "
        "HF_HUB_OFFLINE), or give a folder that holds the model."
    )


class _LibraryBars(LogReporter):
    """Shows the bar of huggingface_hub, in notebooks too; HF_HUB_DISABLE_PROGRESS_BARS hides it."""

    @contextmanager
    def progress(
        self, name: str, total: int | None, *, first: int = 0, note: LineNote = no_note
    ) -> Iterator[Advance]:
        """Show a bar while the `with` block runs."""
        from huggingface_hub.utils.tqdm import tqdm

        with tqdm(desc=name, total=total, initial=first) as bar:  # type: ignore[no-untyped-call]
            yield lambda done: bar.update(done - bar.n)
