"""What one command line asked for besides its verb. It knows how flags become settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_vqa.settings import Settings


@dataclass(frozen=True)
class Run:
    """The options that stand before or after any verb."""

    file: Path | None = None
    assignments: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False
    quiet: bool = False

    def settings(self, **flags: Any) -> Settings:
        """All layers together; `reader__model="…"` is the flag reader.model, None is not given."""
        from rag_vqa.settings import load

        tree: dict[str, Any] = {}
        for name, value in {**self.flags, **flags}.items():
            if value is not None:
                section, _, key = name.rpartition("__")
                (tree.setdefault(section, {}) if section else tree)[key] = value
        settings = load(tree, self.assignments, file=self.file)
        _prepare_hub(settings, self.quiet)
        return settings

    def note(self, message: str) -> None:
        """A line for the person at the terminal; --quiet drops it."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)


def download_bars(shown: bool) -> None:
    """Bars of the hub, and of transformers if it is imported later; one that the environment sets
    stays. They are for downloads: shown or not, transformers' say only that weights load."""
    if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

        (enable_progress_bars if shown else disable_progress_bars)()


def _prepare_hub(settings: Settings, quiet: bool) -> None:
    # Read by huggingface_hub when it is first imported, hence before any model is touched.
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if settings.cache_dir is not None:
        os.environ["HF_HUB_CACHE"] = str(settings.cache_dir)
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    download_bars(False)
