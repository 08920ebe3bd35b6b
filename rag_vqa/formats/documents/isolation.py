"""Isolation: a document is parsed in a child process, which may hang, crash or grow without harm.

Knows how children are started, watched and replaced. Does not know any kind of document, nor what
a child does (isolated_child.py). Sections come through a pipe, one at a time, so that memory does
not grow with the document.

The child is started by `python -c`, not by multiprocessing, so that it works in notebooks and in
scripts without a main guard. A page that kills the child costs that page: a new child skips it, and
goes on where the first ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

from rag_vqa.errors import BadInput
from rag_vqa.formats.documents.isolated_child import (
    CHILD_BYTES,
    EXIT_MEMORY,
    PAGE_SECONDS,
    PageLog,
    read_frame,
    write_frame,
)
from rag_vqa.formats.sections import ParsedDocument, Section

WAIT_SECONDS: Final = 30.0  # by the clock, for the same: other processes may need the processor
START_SECONDS: Final = 60.0  # more, for Python to start
DOCUMENT_SECONDS: Final = 3_600.0  # of waiting for one document
MAX_LOST_PAGES: Final = 8  # a document that loses more is not worth another start
_CODE: Final = (
    "import sys; sys.path[:] = {path!r}; "
    "from rag_vqa.formats.documents.isolated_child import serve; serve()"
)


class IsolatedParser(Protocol):
    """A function of a module that parses a file."""

    def __call__(self, path: Path, pages: PageLog, /) -> ParsedDocument:
        """Raises BadInput."""


def parse_apart(parser: IsolatedParser, path: Path) -> ParsedDocument:
    """The document that `parser` reads, in a child process; its sections come as they are read.

    Raises:
        BadInput: the parser refuses the document, or the child ended or took too long.
    """
    reading = _DocumentReading(f"{parser.__module__}:{parser.__qualname__}", path.resolve())  # type: ignore[attr-defined]
    head = reading.head()
    return ParsedDocument(reading.sections(), **head)


class _DocumentReading:
    """One document, read by one child after the other if pages kill them."""

    def __init__(self, target: str, path: Path) -> None:
        self._target, self._path = target, path
        self._child: _Child | None = None
        self._page: int | None = None  # the page that the child works on
        self._lost: dict[int, str] = {}
        self._seconds = DOCUMENT_SECONDS

    def head(self) -> dict[str, Any]:
        """Start to parse, and return title, metadata and address.

        Raises:
            BadInput: the document is refused.
        """
        while True:
            self._child = _Child.take()
            skipped = sorted(self._lost)
            self._child.send({"parse": self._target, "path": str(self._path), "skip": skipped})
            try:
                return self._next_frame()[0]
            except _ChildEnded as ended:
                self._give_up_page(ended.reason)

    def sections(self) -> Iterator[Section | BadInput]:
        given = 0
        try:
            while True:
                try:
                    for section in self._sections_of_child(given):
                        given += 1
                        yield section
                    break
                except _ChildEnded as ended:
                    try:
                        self._give_up_page(ended.reason)
                        self.head()
                    except BadInput as error:
                        yield BadInput(f"{error} The document ends there.")
                        return
            for page, reason in sorted(self._lost.items()):
                yield BadInput(f"page {page} {reason}: it was left out.")
            _Child.give_back(self._child)
            self._child = None
        finally:
            if self._child is not None:
                self._child.kill()

    def _sections_of_child(self, given: int) -> Iterator[Section | BadInput]:
        """The sections of one child, without those that an earlier one gave."""
        while True:
            fields, images = self._next_frame()
            if "end" in fields:
                return
            if given:
                given -= 1
            elif "refused" in fields:
                yield BadInput(fields["refused"])
            else:
                pictures = iter(images)
                sources = tuple(
                    next(pictures) if name is None else name for name in fields.pop("images")
                )
                headings = tuple(fields.pop("headings"))
                yield Section(headings=headings, images=sources, **fields)

    def _next_frame(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next frame that is no page number.

        Raises:
            BadInput: the document is refused.
            _ChildEnded: the child has ended, or was ended because it took too long.
        """
        assert self._child is not None
        while True:
            start = time.monotonic()
            fields, images = self._child.receive(min(WAIT_SECONDS, self._seconds))
            self._seconds -= time.monotonic() - start
            if "page" in fields and len(fields) == 1:
                self._page = fields["page"]
            elif "error" in fields:
                _Child.give_back(self._child)
                self._child = None
                raise BadInput(fields["error"])
            else:
                return fields, images

    def _give_up_page(self, reason: str) -> None:
        """Note the page that ended the child.

        Raises:
            BadInput: it was no page, or too many pages were lost.
        """
        self._child = None
        if self._page is None:
            raise BadInput(f"reading it {reason}: the file is damaged or hostile.")
        if self._page in self._lost or len(self._lost) >= MAX_LOST_PAGES:
            raise BadInput(f"page {self._page} {reason}, and too many pages did before.")
        self._lost[self._page], self._page = reason, None


class _ChildEnded(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Child:
    """A process that parses one document after the other. One that is idle is kept for the next."""

    _idle: list[_Child] = []  # noqa: RUF012 - shared on purpose

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._fresh, self._late = True, False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        code = _CODE.format(path=[os.path.abspath(part) for part in sys.path])  # noqa: PTH100
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.kill = weakref.finalize(self, _end_process, self._process, self._errors)

    @classmethod
    def take(cls) -> _Child:
        """An idle child, or a new one."""
        while cls._idle:
            child = cls._idle.pop()
            if child._owner == os.getpid() and child._process.poll() is None:
                return child
        return cls()

    @classmethod
    def give_back(cls, child: _Child | None) -> None:
        """Keep one idle child; end the others."""
        if child is None or child._process.poll() is not None:
            return
        if cls._idle:
            child.kill()
        else:
            cls._idle.append(child)

    def send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: `receive` will notice
            write_frame(self._process.stdin, request, [])

    def receive(self, seconds: float) -> tuple[dict[str, Any], list[bytes]]:
        """The next frame.

        Raises:
            _ChildEnded: there is none, because the child has ended or took too long.
        """
        assert self._process.stdout is not None
        watch = threading.Timer(seconds + START_SECONDS * self._fresh, self._end_late)
        watch.daemon = True
        watch.start()
        try:
            frame = read_frame(self._process.stdout)
        except (OSError, ValueError):
            frame = None
        finally:
            watch.cancel()
        self._fresh = False
        if frame is None:
            self._process.kill()
            self._process.wait()
            reason = self._end_reason()
            self.kill()
            raise _ChildEnded(reason)
        return frame

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()

    def _end_reason(self) -> str:
        code = self._process.returncode
        if self._late or code == -getattr(signal, "SIGXCPU", 0):
            return f"took over {PAGE_SECONDS} seconds"
        if code == EXIT_MEMORY:
            return f"took over {CHILD_BYTES // 2**20} MB of memory"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"crashed its reader ({said or f'exit {code}'})"


def _end_process(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.wait()
