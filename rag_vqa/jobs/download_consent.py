"""Consent to downloads: shows the size and licence of missing models, and asks before a download.

Knows licences and the Hugging Face cache. Downloads nothing itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.checkpoints import CHECKPOINTS, EMBEDDED, licence_line
from rag_vqa.errors import Missing
from rag_vqa.formatting import one_line

if TYPE_CHECKING:
    pass

ModelRevision = tuple[str, str | None]  # a model and its revision


def show_download_bars(shown: bool) -> None:
    """Bars of the hub, and of transformers if it is imported later; one that the environment sets
    stays. They are for downloads: shown or not, transformers' say only that weights load."""
    if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

        (enable_progress_bars if shown else disable_progress_bars)()


def ask_before_download(
    models: list[ModelRevision], *, offline: bool, yes: bool, cache: Path | None = None
) -> None:
    """Returns if every model is here already or the download was agreed to.

    Raises:
        Missing: offline, nobody to ask, or the answer was no.
    """
    wanted = [(model, revision) for model, revision in models if not is_available(model, revision)]
    if not wanted:
        return
    names = ", ".join(one_line(model) for model, _ in wanted)
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise Missing(
            f"{names}: not on this machine, and the network is off. Leave out --offline (and "
            "HF_HUB_OFFLINE), or give a folder that holds the model."
        )
    for model, _ in wanted:
        print(f"To download: {one_line(licence_line(model))}", file=sys.stderr)
    if not yes:
        _confirm_download(names)
    show_download_bars(True)


def _confirm_download(names: str) -> None:
    """Returns if the person agrees."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Missing(f"{names}: not on this machine. To download, run again with --yes")
    print("Download now? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Missing(f"{names}: not downloaded. Without them: rag-vqa demo")


def is_available(model: str, revision: str | None = None) -> bool:
    """Whether a model needs no download: embedded, a folder, or whole in the hub's cache."""
    if model == EMBEDDED or Path(model).is_dir():
        return True
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    known = CHECKPOINTS.get(model)
    if known and not known.parameters:  # its tokenizer and image processor are all that is wanted
        names = ("tokenizer_config.json", "preprocessor_config.json")
        return all((folder / name).is_file() for name in names)
    return _has_all_weights(folder)


def _has_all_weights(folder: Path) -> bool:
    import json

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
