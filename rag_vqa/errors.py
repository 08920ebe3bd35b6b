"""The exception tree. Each message says what, why, and the next command.

RagVqaError               exit 1: it failed
├── UsageError            exit 2: the request cannot be meant (flags, settings, k = 0)
├── BadInput              exit 1: an item of the user's data is refused
│   └── BadImage          a file that is no picture, or a dangerous one
├── Missing               exit 3: a model, a file, an extra is not there
├── Mismatch              exit 2: knowledge base and retriever do not belong together
├── CorruptKnowledgeBase  exit 1: files damaged
├── Locked                exit 1: another process is at it; the same again succeeds later
└── ReaderError           exit 1: the reader could not read (memory, too many images)
"""

from __future__ import annotations

# Exit codes of the program.
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_PARTIAL = 4  # the same command goes on from here
EXIT_INTERRUPTED = 130


class RagVqaError(Exception):
    """Root of everything that rag-vqa raises on purpose; `exit_code` is the process's."""

    exit_code = 1


class UsageError(RagVqaError):
    """The request cannot be meant: found before any model loads."""

    exit_code = 2


class BadInput(RagVqaError):
    """An item of the user's data is refused; the message names file, line and reason."""


class BadImage(BadInput):
    """A file that is no picture, is damaged, or is dangerous to decode."""


class Missing(RagVqaError):
    """A model, a file or an optional package is not there; the message says how to get it."""

    exit_code = 3


class Mismatch(RagVqaError):
    """The knowledge base was made by another retriever."""

    exit_code = 2


class CorruptKnowledgeBase(RagVqaError):
    """Files of a knowledge base are damaged; the message names file and offset."""


class Locked(RagVqaError):
    """Another process writes the knowledge base, or holds on to what it reads; it may be tried
    again as it is."""


class ReaderError(RagVqaError):
    """The reader could not read the prompt; the message names the flag that helps."""
