"""Progress: how a job reports to whoever started it.

Knows the Reporter protocol, and a reporter for Python programs that writes to a log. Knows no
terminal: the command line's reporter is cli/context.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]  # called with the number of items that are done in all
LineNote = Callable[[], str]  # what else to show on the progress line


def no_note() -> str:
    """Nothing else to show on the progress line."""
    return ""


class Reporter(Protocol):
    """Receives the notes, progress and questions of a job, for the program that started it."""

    def note(self, message: str) -> None:
        """Report something useful, for instance which model is used. It may be dropped."""

    def warn(self, message: str) -> None:
        """Report something that the person has to see, for instance that rows failed."""

    def progress(
        self, name: str, total: int | None, *, first: int = 0, note: LineNote = no_note
    ) -> AbstractContextManager[Advance]:
        """Show progress while the `with` block runs.

        Args:
            name: what the job does, for instance "encode".
            total: number of items; None if it is not known.
            first: items that an earlier run finished; they do not count towards the rate.
            note: returns what else to show on the line.
        """

    def confirm(self, question: str) -> bool | None:
        """Ask for permission, for instance to download a model; None if nobody can be asked."""


class LogReporter:
    """Writes notes to the log "rag_vqa.jobs", shows no bars, and agrees to downloads.

    The reporter of jobs that a Python program calls: calling the job is the permission.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("rag_vqa.jobs")

    def note(self, message: str) -> None:
        """Log at level INFO."""
        self._log.info(message)

    def warn(self, message: str) -> None:
        """Log at level WARNING."""
        self._log.warning(message)

    @contextmanager
    def progress(
        self, name: str, total: int | None, *, first: int = 0, note: LineNote = no_note
    ) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda done: None

    def confirm(self, question: str) -> bool | None:
        """Agree, and log what was agreed to."""
        self._log.info("%s Yes.", question)
        return True


LOG = LogReporter()
