"""Takes over the documents of other knowledge bases, tokens and all: nothing is encoded again.

It knows when two stores belong together and what is taken. It does not know files. Parts that
were built on several machines become what one build would have made.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from rag_vqa.errors import Mismatch
from rag_vqa.formats.document import Rejected, shown
from rag_vqa.retriever.report import AddReport
from rag_vqa.retriever.store import Encoded, Store, content_of
from rag_vqa.retriever.store.places import Places
from rag_vqa.types import Document

_BATCH = 256  # documents of one commit


def merge(into: Store, other: Store, report: AddReport) -> None:
    """Take all documents of `other`; equal ones count as unchanged, an id of other content is
    rejected. Interrupted, the same call goes on.

    Raises:
        Mismatch: the two were not built alike.
        CorruptKnowledgeBase: what would be taken is damaged.
    """
    check(into, other)
    with other.db.snapshot():
        places = Places(other)
        found = other.all_documents()
        while part := list(islice(found, _BATCH)):
            taken = (_taken(into, other, places, *pair, report) for pair in part)
            batch = [new for new in taken if new is not None]
            into.put(batch)
            report.added += len(batch)


def check(into: Store, other: Store) -> None:
    """What two stores must share: all but the name that the retriever was loaded by.

    Raises:
        Mismatch: they do not.
    """
    mine = into.manifest
    named = replace(other.manifest, source=mine.source, revision=mine.revision)
    if replace(named, options=mine.options) != mine:
        raise Mismatch(
            f"{other.folder} was not built as {into.folder} was: with another retriever or "
            "splitting, or tokens are kept in one only. Build it again with the same options."
        )


def _taken(
    into: Store, other: Store, places: Places, row: int, document: Document, report: AddReport
) -> Encoded | None:
    """A document with its tokens, its pictures copied; None if it is not to be taken."""
    names = [Path(str(image)) for image in document.images]
    here = replace(document, images=tuple(into.image(path.name) for path in names))
    content, stored = content_of(here), into.hashes_of(document.id)
    if stored is not None:
        if stored[0] == content.hash:
            report.unchanged += 1
        else:
            reason = f"the id {shown(document.id)} of {other.folder} has other content here."
            report.rejected.append(Rejected(None, document.id, reason))
        return None
    for path in names:
        into.pictures.keep_copy(path)
    keyed = other.passages_of(row)
    passages = [
        replace(p, image=None if p.image is None else into.image(Path(str(p.image)).name))
        for _, p in keyed
    ]
    tokens, codes = places.rows(np.array([key for key, _ in keyed], np.int64))
    ((length, cut),) = other.db.rows("SELECT tokens, cut FROM documents WHERE row = ?", [row])
    return Encoded(here, content, passages, tokens, codes, length, cut)
