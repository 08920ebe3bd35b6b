"""Files of one source → a folder that is read row by row: checked, joined, written once.

It knows rows, documents and lists of negatives as the formats read them, and what is refused. It
does not know where the folder lies (folders.py), or how rows are drawn (files.py). What is packed,
tabular or joined of several files costs the disk its texts once more, and no memory: while it
works, 8 bytes for each id that rows name.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import Record, Rejected, nearest, shown
from rag_vqa.formats.jsonl import objects
from rag_vqa.formats.questions import evqa, infoseek, m2kr, mbeir, pairs
from rag_vqa.formats.questions.opening import picture
from rag_vqa.formats.questions.rows import Asked, Benchmark
from rag_vqa.formats.source import open_source as open_documents
from rag_vqa.retriever.passages import whole
from rag_vqa.retriever.training.batch import number
from rag_vqa.retriever.training.sources.records import check_picture, passage, within
from rag_vqa.retriever.training.sources.settings import SourceSettings
from rag_vqa.retriever.training.sources.shelf import Shelf, digest_of, write

ROWS, DOCUMENTS, PACKED, REJECTS = "rows.jsonl", "documents.jsonl", "packed.json", "rejects.jsonl"
_FIND = {"pairs": pairs.find, "m2kr": m2kr.find, "mbeir": mbeir.find,
         "infoseek": infoseek.find, "evqa": evqa.find}  # fmt: skip
FORMATS = tuple(_FIND)
_COMPACTED = 2**20  # ids gathered between two passes that drop those that came before
Numbers = NDArray[np.int64]
Refuse = Callable[[str, str], None]


def find(settings: SourceSettings) -> Benchmark:
    """The files of a source's rows.

    Raises:
        UsageError: no such format, or nothing that says where its files are.
        Missing: a file is not there.
    """
    if settings.format not in _FIND:
        raise UsageError(
            f"{settings.format!r} is no format of training data."
            f"{nearest(settings.format, FORMATS)} There are {', '.join(FORMATS)}."
        )
    if settings.questions is None:
        raise UsageError(f"a source of {settings.format} needs `questions`: its file or folder.")
    split = settings.split
    if split is None and not settings.questions.is_file():
        split = "train"
    return _FIND[settings.format](settings.questions, split, settings.images, settings.task)


class Packing:
    """One folder in the making."""

    def __init__(self, settings: SourceSettings, found: Benchmark, folder: Path) -> None:
        self.settings, self.found, self.folder = settings, found, folder
        self.counts: Counter[str] = Counter()
        self.stop = settings.on_bad == "stop"
        self.inline = False  # whether a row brings a passage

    def write(self) -> None:
        """All files of the folder.

        Raises:
            BadInput: a row that is refused, where the settings say stop; nothing that is left.
        """
        path = self.settings.negatives
        given = None if path is None else _given(path, self.folder / "negatives.jsonl")
        with (self.folder / REJECTS).open("w", encoding="utf-8") as rejects:

            def refuse(where: str, reason: str) -> None:
                if self.stop:
                    said = ": ".join(part for part in (where, reason) if part)
                    raise BadInput(f"{said} To leave such rows out: on_bad: skip")
                self.counts["refused"] += 1
                rejects.write(json.dumps({"where": where, "reason": reason}) + "\n")

            documents = self._documents(self._wanted(given), refuse)
            rows = write(self.folder / ROWS, self._rows(documents, given, refuse))
        if not len(rows):
            what = f"{self.counts['refused']:,} were refused, see on_bad" if self.counts else ""
            raise BadInput(f"{self.settings.questions} leaves no row to train on. {what}".strip())
        self.counts |= Counter(rows=len(rows), documents=len(documents))
        digest = sha256(digest_of(rows).encode() + digest_of(documents).encode()).hexdigest()
        packed = {"counts": self.counts, "digest": digest}
        (self.folder / PACKED).write_text(json.dumps(packed), "utf-8")

    def _asked(self) -> Iterator[Asked | BadInput]:
        return self.found.rows(None if self.found.names is None else self.found.names())

    def _wanted(self, given: Shelf | None) -> Numbers:
        """Numbers of all ids that rows name, ascending."""
        wanted, new = np.empty(0, np.int64), array("q")
        for asked in self._asked():
            if not isinstance(asked, BadInput):
                self.inline = self.inline or bool(asked.documents)
                new.extend(map(number, (*_right(asked), *_wrong(asked, given))))
            if len(new) >= _COMPACTED:
                wanted, new = np.union1d(wanted, np.array(new)), array("q")
        return np.union1d(wanted, np.array(new, np.int64))

    def _documents(self, wanted: Numbers, refuse: Refuse) -> Shelf:
        """Those that rows name, from the file of documents and from the rows themselves."""
        came = np.zeros(len(wanted), np.int64)  # of each id a number of its content; 0: not yet

        def first(record: Record, where: str) -> Iterator[dict[str, Any]]:
            where = f"{where}, document {shown(record.id)}"
            if _has(wanted, number(record.id)) and self._usable(record, where, refuse):
                one, at = passage(record), np.searchsorted(wanted, number(record.id))
                content = number(json.dumps(one))
                if not came[at]:
                    came[at] = content
                    yield one
                elif came[at] != content:
                    refuse(where, "its id was there before, with another content: keep one.")

        def records() -> Iterator[dict[str, Any]]:
            path = self.settings.documents
            for record in () if path is None else self._read(path, refuse):
                yield from first(record, _line(path, record.line))
            root = (self.settings.document_images or self.found.images).resolve()
            for asked in self._asked() if self.inline else ():
                if not isinstance(asked, BadInput):
                    for document in asked.documents:
                        yield from first(within(document, root), self._where(asked))

        return write(self.folder / DOCUMENTS, records())

    def _where(self, asked: Asked) -> str:
        return f"{self.settings.questions}, question {shown(asked.example.id)}"

    def _read(self, path: Path, refuse: Refuse) -> Iterable[Record]:
        def reject(rejected: Rejected) -> None:
            refuse(_line(path, rejected.line), rejected.reason)

        images = self.settings.document_images
        return open_documents(path, images=images, on_reject=reject).records()

    def _usable(self, document: Record, where: str, refuse: Refuse) -> bool:
        """Whether there is something to encode; a picture is looked for, not opened."""
        try:
            image = whole(document).image
            if isinstance(image, str | Path):
                check_picture(Path(image), document.folder)
        except BadInput as error:
            refuse(where, str(error))
            return False
        return True

    def _rows(
        self, documents: Shelf, given: Shelf | None, refuse: Refuse
    ) -> Iterator[dict[str, Any]]:
        for asked in self._asked():
            if isinstance(asked, BadInput):
                refuse("", str(asked))  # says itself where it is
                continue
            where = self._where(asked)
            image = picture(asked, self.found.images)
            right = _right(asked)
            there = _known(right, documents)
            if asked.picture and image is None:
                refuse(where, f"its picture {self.found.images / asked.picture[0]} is not there.")
            elif not there:
                refuse(where, f"{shown(right[0])}, which is right, is not among the documents.")
            else:
                yield self._row(asked, image, right, there, _wrong(asked, given), documents)

    def _row(
        self,
        asked: Asked,
        image: Path | None,
        right: tuple[str, ...],
        there: list[str],
        wrong: tuple[str, ...],
        documents: Shelf,
    ) -> dict[str, Any]:
        honest = tuple(one for one in wrong if one not in right)
        kept = _known(honest, documents)
        self.counts["negatives that are right"] += len(wrong) - len(honest)
        self.counts["negatives that are not there"] += len(honest) - len(kept)
        query = asked.example.query
        return {
            "id": asked.example.id,
            "text": query.text,
            "instruction": query.instruction,
            "image": None if image is None else str(image.absolute()),
            "right": [*there, *(one for one in right if one not in there)],
            "there": len(there),
            "negatives": kept,
        }


def _line(path: Path | None, line: int | None) -> str:
    """A place for messages; in a folder of files there are no lines."""
    return f"{path}" if line is None else f"{path}, line {line}"


def _right(asked: Asked) -> tuple[str, ...]:
    """Ids that are right. Where those are of parents, the documents that hold the answer too."""
    example = asked.example
    more = example.oracle if example.level == "parent" else ()
    return tuple(dict.fromkeys((*more, *example.relevant)))


def _wrong(asked: Asked, given: Shelf | None) -> tuple[str, ...]:
    mined = None if given is None else given.find(asked.example.id)
    return tuple(dict.fromkeys((*asked.negatives, *(mined["negatives"] if mined else ()))))


def _known(named: tuple[str, ...], documents: Shelf) -> list[str]:
    there = documents.among(np.array([number(one) for one in named], np.int64))
    return [one for one, found in zip(named, there, strict=True) if found]


def _has(numbers: Numbers, wanted: int) -> bool:
    at = int(np.searchsorted(numbers, wanted))
    return at < len(numbers) and int(numbers[at]) == wanted


def _given(path: Path, out: Path) -> Shelf:
    """The file of `train mine`, by question.

    Raises:
        BadInput: a line that is none of it.
    """

    def records() -> Iterator[dict[str, Any]]:
        for line, row in objects(path):
            if isinstance(row, BadInput):
                raise BadInput(f"{path}, line {line}: {row}")
            listed, identity = row.get("negatives"), row.get("id")
            texts = isinstance(listed, list) and all(isinstance(one, str) for one in listed)
            if not (isinstance(identity, str) and texts):
                raise BadInput(f'{path}, line {line}: not {{"id": "…", "negatives": ["…"]}}.')
            yield {"id": identity, "negatives": listed}

    return write(out, records(), path)
