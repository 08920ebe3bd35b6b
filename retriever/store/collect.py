"""Removes what nothing names: files of killed writers, pictures of deleted documents.

It knows which files the last commit names. Only the writer calls it: to a reader, a file that
nothing names yet may be named a moment later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.retriever.store import files, lock, pictures, segments

if TYPE_CHECKING:
    from rag_vqa.retriever.store.store import Store

FILE = "kb.sqlite"


def foreign(folder: Path) -> bool:
    """Whether a folder without a knowledge base holds more than what killed writers left."""
    ours = (pictures.FOLDER, segments.FOLDER)
    return any(
        entry.name not in ours and not entry.name.startswith((FILE, lock.FILE))
        for entry in folder.iterdir()
    )


def collect(store: Store) -> None:
    """Remove segments without a committed row, and files that are not whole.

    Pictures that no document names are left: a build that was killed goes on with them.
    """
    named = {number for (number,) in store.db.rows("SELECT number FROM segments")}
    for path in store.segments.there():
        if int(path.stem) not in named:
            files.remove(path)
    for path in store.pictures.left():
        files.remove(path)
    for path in store.folder.glob(f"{store.db.file.name}{files.NEW}*"):
        files.remove(path)


def collect_pictures(store: Store) -> int:
    """Remove pictures that no document names; how many there were."""
    named = {image for _, document in store.all_documents() for image in document.images}
    unnamed = [path for path in store.pictures.there() if path not in named]
    for path in unnamed:
        files.remove(path)
    return len(unnamed)
