"""The child of an isolated document: parses within limits of time and memory, and sends sections.

Knows these limits, and the frames that go through the pipes: JSON, and bytes of pictures after it.
Nothing in a frame could run code, so a child that a document took over harms no one. Does not know
any kind of document, nor who starts it (isolation.py).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.registry import load_target

PAGE_SECONDS: Final = 10  # of a processor, for one page or for a document without pages
CHILD_BYTES: Final = 900 * 2**20  # of address space, beyond that of a child that has read nothing
MAX_FRAME_BYTES: Final = 512 * 2**20
EXIT_MEMORY: Final = 77
_MAX_ERROR_BYTES: Final = 2**20  # of what a child writes to stderr


@dataclass(slots=True)
class PageLog:
    """Which pages a parser begins; it must skip those that killed an earlier child.

    Attributes:
        skip: pages that must not be touched.
        on_page: is called with each page that begins.
    """

    skip: frozenset[int] = frozenset()
    on_page: Callable[[int], None] = field(default=lambda page: None)

    def begin(self, page: int) -> bool:
        """Report that a page begins; False if it must be skipped."""
        if page in self.skip:
            return False
        self.on_page(page)
        return True


def write_frame(stream: IO[bytes], fields: dict[str, Any], blobs: list[bytes]) -> None:
    """Write fields as JSON, and bytes after them."""
    text = json.dumps({"fields": fields, "sizes": [len(blob) for blob in blobs]}).encode()
    stream.write(struct.pack(">Q", len(text)) + text)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
    """Read what `write_frame` wrote; None at the end.

    Raises:
        ValueError: it is none, or larger than MAX_FRAME_BYTES.
    """
    head = stream.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack(">Q", head)
    if length > MAX_FRAME_BYTES:
        raise ValueError("a frame over the limit")
    text = stream.read(length)
    if len(text) < length:
        return None
    frame = json.loads(text)
    if sum(frame["sizes"]) > MAX_FRAME_BYTES:
        raise ValueError("a frame over the limit")
    blobs = [stream.read(size) for size in frame["sizes"]]
    complete = [len(blob) for blob in blobs] == frame["sizes"]
    return (frame["fields"], blobs) if complete else None


def serve() -> None:
    """Parse documents until stdin ends: the child's work."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):  # sent to all: the parent ends this process
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what a library prints is no frame
    _limit_memory()
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_receive_requests, args=(requests, waiting), daemon=True).start()
    while True:
        try:
            _parse(waiting.get(), answers)
        except MemoryError:
            os._exit(EXIT_MEMORY)
        except OSError:  # nobody reads: the parent has ended
            os._exit(1)


def _receive_requests(requests: IO[bytes], waiting: queue.Queue[dict[str, Any]]) -> None:
    """Queue the requests. Ends this process with its parent, even in the middle of a page."""
    while (frame := read_frame(requests)) is not None:
        waiting.put(frame[0])
    os._exit(0)


def _parse(request: dict[str, Any], answers: IO[bytes]) -> None:
    parser = load_target(request["parse"])

    def begin(page: int) -> None:
        _limit_seconds()
        write_frame(answers, {"page": page}, [])

    _limit_seconds()
    try:
        parsed = parser(Path(request["path"]), PageLog(frozenset(request["skip"]), begin))
    except (RagVqaError, OSError) as error:
        write_frame(answers, {"error": str(error)}, [])
        return
    head = {
        "title": parsed.title, "metadata": dict(parsed.metadata), "url": parsed.url,
        "fields": dict(parsed.fields), "encoding": parsed.encoding, "nothing": parsed.nothing,
    }  # fmt: skip
    write_frame(answers, head, [])
    for section in parsed.sections:
        if isinstance(section, BadInput):
            write_frame(answers, {"refused": str(section)}, [])
            continue
        blobs = [image for image in section.images if isinstance(image, bytes)]
        names = [None if isinstance(image, bytes) else image for image in section.images]
        fields = {
            "headings": section.headings, "text": section.text, "images": names,
            "page": section.page, "anchor": section.anchor, "name": section.name,
            "remark": section.remark,
        }  # fmt: skip
        write_frame(answers, fields, blobs)
    write_frame(answers, {"end": True}, [])


def _limit_seconds() -> None:
    """From now on, let the system end this process if it computes for PAGE_SECONDS."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    end = int(time.process_time()) + PAGE_SECONDS + 1
    soft = end if hard == resource.RLIM_INFINITY else min(end, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _limit_memory() -> None:
    """Let the system refuse memory over the limit, and long files of errors, where it can."""
    try:
        import resource

        size = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        limit = size + CHILD_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_ERROR_BYTES, _MAX_ERROR_BYTES))
    except (ImportError, OSError, ValueError):  # Windows, macOS
        return
