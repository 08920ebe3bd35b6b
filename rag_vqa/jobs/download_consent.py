"""Consent to downloads: shows the size and licence of missing models, and asks before a download.

Knows licences and the Hugging Face cache. Downloads nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rag_vqa.checkpoints import CHECKPOINTS, EMBEDDED, licence_line
from rag_vqa.errors import Missing
from rag_vqa.formatting import one_line
from rag_vqa.progress import Reporter

ModelRevision = tuple[str, str | None]  # a model and its revision


def show_download_bars(shown: bool) -> None:
    """Show or hide the progress bars of the hub; HF_HUB_DISABLE_PROGRESS_BARS goes first.

    transformers imports them, too, but only to show that weights load.
    """
    if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

        (enable_progress_bars if shown else disable_progress_bars)()


def ask_before_download(
    models: Sequence[ModelRevision], reporter: Reporter, *, offline: bool, yes: bool
) -> None:
    """Return if every model is on this machine, or if the person agrees to download the others.

    Args:
        yes: the person agreed in advance, by --yes. Sizes and licences are shown all the same.

    Raises:
        Missing: the network is off, nobody can be asked, or the answer was no.
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
        reporter.warn(f"To download: {one_line(licence_line(model))}")
    answer = True if yes else reporter.confirm("Download now?")
    if answer is None:
        raise Missing(f"{names}: not on this machine. To download, run again with --yes")
    if not answer:
        raise Missing(f"{names}: not downloaded. Without them: rag-vqa demo")
    show_download_bars(True)


def is_available(model: str, revision: str | None = None) -> bool:
    """True if a model needs no download: embedded, a folder, or complete in the hub's cache."""
    if model == EMBEDDED or Path(model).is_dir():
        return True
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    known = CHECKPOINTS.get(model)
    if known and not known.parameters:  # only its tokenizer and image processor are used
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
