"""A copy of a knowledge base as its last commit left it, while others read and write.

It knows the order of steps: bytes first, the database last, so that a copy that was cut short is
no knowledge base and the same call goes on. It does not know what the bytes mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.errors import CorruptKnowledgeBase, UsageError
from rag_vqa.retriever.store import files, lock
from rag_vqa.retriever.store.collect import FILE, foreign
from rag_vqa.retriever.store.pictures import Pictures
from rag_vqa.retriever.store.segments import Segments

if TYPE_CHECKING:
    from rag_vqa.retriever.store.store import Store

_PIECE = 2**24  # bytes copied at once


def copy(store: Store, folder: Path) -> None:
    """Write a copy to `folder`, which is new, empty, or what an interrupted copy left.

    Raises:
        UsageError: it holds other things, or a knowledge base.
    """
    if store.folder.resolve() in folder.resolve().parents:
        raise UsageError(f"{folder} lies within the knowledge base: give a place outside of it.")
    there = folder.exists()
    if there and (not folder.is_dir() or foreign(folder) or (folder / FILE).exists()):
        raise UsageError(f"{folder} exists and is not empty: give another name for the copy.")
    files.make_folder(folder)
    with lock.writing(folder):
        while True:
            generation = store.db.number("generation")
            try:
                _copy(store, folder)
                return
            except (CorruptKnowledgeBase, FileNotFoundError):
                # A compaction took files away that this snapshot names: the next has others.
                if store.db.number("generation") == generation:
                    raise


def _copy(store: Store, folder: Path) -> None:
    made = store.manifest
    segments = Segments(folder, made.K, made.D, made.keep_tokens)
    pictures = Pictures(folder)
    for inner in (segments.folder, pictures.folder):
        files.make_folder(inner)
    new = folder / f"{store.db.file.name}{files.NEW}"
    files.remove(new)
    with store.db.snapshot():
        store.db.copy_to(new)
        for number, rows in store.ends():
            store.segments.check(number, rows)
            for kind, path in store.segments.paths(number).items():
                _copy_bytes(path, segments.path(number, kind), segments.offset(kind, rows))
        for name in {image for _, d in store.all_documents() for image in d.images}:
            pictures.keep_copy(Path(str(name)))
    for inner in (segments.folder, pictures.folder, folder):
        files.sync_folder(inner)
    files.replace(new, folder / store.db.file.name)


def _copy_bytes(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as file:
        for offset in range(0, size, _PIECE):
            files.write_at(target, offset, file.read(min(_PIECE, size - offset)))
