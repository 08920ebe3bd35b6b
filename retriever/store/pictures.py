"""Pictures of documents, each a file named by the hash of its bytes, so that none is there twice.

It knows names and files. It does not open a picture (images.py) nor know documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rag_vqa.errors import BadImage, Missing
from rag_vqa.images import content_hash, read_bytes
from rag_vqa.retriever.store import files
from rag_vqa.retriever.store.segments import corrupt

FOLDER = "images"
_HASH = re.compile(r"[0-9a-f]{64}")


class Pictures:
    """The pictures under one knowledge base."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def path_of(self, data: bytes) -> Path:
        """Where a picture of these bytes lies, or would."""
        return self.folder / content_hash(data)

    def named(self, name: object) -> Path | None:
        """The path of that name; None if it is none: else it could be any path."""
        good = isinstance(name, str) and _HASH.fullmatch(name)
        return self.folder / str(name) if good else None

    def keep(self, data: bytes) -> Path:
        """Store a picture, whole or not at all; safe once `sync` was called."""
        path = self.path_of(data)
        if not _holds(path, data):  # what is damaged there is mended
            files.write_whole(path, data)
        return path

    def keep_copy(self, source: Path) -> Path:
        """Store a picture of another knowledge base.

        Raises:
            CorruptKnowledgeBase: it is not the picture that it is named after.
        """
        data, wrong = read(source)
        if wrong:
            raise corrupt(source, 0, wrong)
        return self.keep(data)

    def sync(self) -> None:
        """Bring the names of new pictures to the disk."""
        files.sync_folder(self.folder)

    def there(self) -> Iterator[Path]:
        """All pictures, whoever names them."""
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if _HASH.fullmatch(path.name))

    def left(self) -> Iterator[Path]:
        """What killed writers left half written."""
        yield from (path for path in self.folder.iterdir() if path.name.endswith(files.NEW))


def read(path: Path) -> tuple[bytes, str]:
    """The bytes of a kept picture, and what is wrong with them; "" if nothing is.

    A link out of its folder, a pipe, a device or a huge file is not read.
    """
    try:
        data = _bytes(path)
    except (BadImage, Missing) as error:
        return b"", f"it cannot be read ({error})"
    sound = content_hash(data) == path.name
    return data, "" if sound else "its bytes are not those that it is named after"


def _holds(path: Path, data: bytes) -> bool:
    try:  # most that is missing or cut is found by its size
        return path.lstat().st_size == len(data) and _bytes(path) == data
    except (FileNotFoundError, BadImage, Missing):
        return False


def _bytes(path: Path) -> bytes:
    return read_bytes(path.name, root=path.parent)
