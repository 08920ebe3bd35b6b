"""The context of one command line: the options that every verb shares, and the terminal.

Knows how flags become settings, and is the Reporter of jobs: notes, progress and questions go to
stderr. Does not know any verb.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.progress import progress
from rag_vqa.progress import Advance, LineNote, no_note

if TYPE_CHECKING:
    from rag_vqa.settings_schema import Settings


@dataclass(frozen=True)
class CommandContext:
    """The options that stand before or after any verb.

    Attributes:
        file: the settings file of --config.
        assignments: what --set gave, `key=value` each.
        flags: settings that the program's own options set, by key; None: not given.
    """

    file: Path | None = None
    assignments: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False
    quiet: bool = False

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """The settings of this command line.

        Args:
            flags: settings that the verb's options set, by key: `{"reader.model": …}`. None is
                as good as not given.
        """
        from rag_vqa.settings import load_settings

        tree: dict[str, Any] = {}
        for key, value in {**self.flags, **(flags or {})}.items():
            if value is not None:
                section, _, name = key.rpartition(".")
                (tree.setdefault(section, {}) if section else tree)[name] = value
        settings = load_settings(tree, self.assignments, file=self.file)
        _prepare_hub(settings)
        return settings

    def note(self, message: str) -> None:
        """Print a line on stderr, unless --quiet is given."""
        if not self.quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """Print a line on stderr."""
        print(message, file=sys.stderr, flush=True)

    def progress(
        self, name: str, total: int | None, *, first: int = 0, note: LineNote = no_note
    ) -> AbstractContextManager[Advance]:
        """Show a bar or lines on stderr, unless --quiet is given."""
        return progress(name, total, quiet=self.quiet, first=first, note=note)

    def confirm(self, question: str) -> bool | None:
        """Ask on the terminal; anything but "y" is no. None if there is no terminal."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def _prepare_hub(settings: Settings) -> None:
    # huggingface_hub reads these when it is first imported, hence before any model is touched.
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if settings.cache_dir is not None:
        os.environ["HF_HUB_CACHE"] = str(settings.cache_dir)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Bars of weights that load. Downloads have a bar of ours (hub/download.py).
    if os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1") == "1":
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
