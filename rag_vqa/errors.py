"""The exception tree, and the program's exit codes. Each message says what, why, and the next step.

RagVqaError               exit 1: it failed
├── UsageError            exit 2: invalid options or settings, or a combination that cannot work
├── BadInput              exit 1: an item of the user's data is refused
│   └── BadImage          a file that is no picture, or a dangerous one
├── Missing               exit 3: a model, a file or an extra is not there
├── Mismatch              exit 2: knowledge base and retriever do not belong together
├── CorruptKnowledgeBase  exit 1: files are damaged
├── Locked                exit 1: another process is at work; the same command succeeds later
└── ReaderError           exit 1: the reader could not read (memory, too many images)
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_PARTIAL = 4  # the same command continues
EXIT_INTERRUPTED = 130  # ^C


class RagVqaError(Exception):
    """Root of everything that rag-vqa raises on purpose; `exit_code` is the process's."""

    exit_code = EXIT_FAILED


class NoMatch(UserWarning):
    """Python's warning that no document passes a filter; it says which values there are."""


class DemoLimits(UserWarning):
    """Python's warning that the built-in models do not know these documents."""


class UsageError(RagVqaError):
    """Invalid options or settings, or an invalid combination; found before any model loads."""

    exit_code = EXIT_USAGE


class BadInput(RagVqaError):
    """An item of the user's data is refused; the message names file, line and reason."""


class BadImage(BadInput):
    """A file that is no picture, is damaged, or is dangerous to decode."""


class Missing(RagVqaError):
    """A model, a file or an optional package is not there; the message says how to get it."""

    exit_code = EXIT_MISSING


class Mismatch(RagVqaError):
    """The knowledge base was built by another retriever."""

    exit_code = EXIT_USAGE


class CorruptKnowledgeBase(RagVqaError):
    """Files of a knowledge base are damaged; the message names file and offset."""


class Locked(RagVqaError):
    """Another process writes the knowledge base, or still uses what it reads; try again later."""


class ReaderError(RagVqaError):
    """The reader could not read the prompt; the message names the flag that helps."""
