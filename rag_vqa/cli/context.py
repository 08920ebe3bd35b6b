"""The context of one command line: the options that every verb shares.

Knows how flags become settings, and where notes go. Does not know any verb.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.jobs.download_consent import show_download_bars

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings


@dataclass(frozen=True)
class CommandContext:
    """The options that stand before or after any verb."""

    file: Path | None = None
    assignments: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False
    quiet: bool = False

    def settings(self, **flags: Any) -> Settings:
        """All layers together; `reader__model="…"` is the flag reader.model, None is not given."""
        from rag_vqa.settings import load_settings

        tree: dict[str, Any] = {}
        for name, value in {**self.flags, **flags}.items():
            if value is not None:
                section, _, key = name.rpartition("__")
                (tree.setdefault(section, {}) if section else tree)[key] = value
        settings = load_settings(tree, self.assignments, file=self.file)
        _prepare_hub(settings, self.quiet)
        return settings

    def note(self, message: str) -> None:
        """A line for the person at the terminal; --quiet drops it."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)


def _prepare_hub(settings: Settings, quiet: bool) -> None:
    # Read by huggingface_hub when it is first imported, hence before any model is touched.
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if settings.cache_dir is not None:
        os.environ["HF_HUB_CACHE"] = str(settings.cache_dir)
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    show_download_bars(False)
