"""Makes an empty knowledge base, where nothing else is and nobody else makes one.

It knows what may lie in the folder. It does not know what goes into it.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.errors import UsageError
from rag_vqa.retriever.store import files, lock
from rag_vqa.retriever.store.collect import FILE, foreign
from rag_vqa.retriever.store.manifest import Manifest
from rag_vqa.retriever.store.store import Store


def create(folder: Path, made: Manifest) -> None:
    """Write an empty store; one that another process has just made is left as it is.

    Raises:
        UsageError: the folder holds other files, or is none.
    """
    if folder.exists() and (not folder.is_dir() or foreign(folder)):
        raise UsageError(f"{folder} holds other files: give another name with --out.")
    files.make_folder(folder)
    with lock.writing(folder):
        if not (folder / FILE).exists():
            Store.create(folder, made)
