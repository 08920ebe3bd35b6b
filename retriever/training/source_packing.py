"""Pack the files of one source into a folder that is read row by row: checked, joined, saved.

Knows rows, documents and negatives as the formats read them, what is refused, and how a packed
folder is found again while its source's files stay the same. Does not know how rows are drawn
(packed_source.py). Packing costs the disk the texts once more, and little memory: 8 bytes for each
id that rows name.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.benchmark import QuestionFiles, QuestionRow
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formats.jsonl import read_objects
from rag_vqa.formats.question_set import find_question_files, picture_path
from rag_vqa.formats.source import open_source as open_documents
from rag_vqa.formatting import quote_value
from rag_vqa.retriever.passages import whole_document_passage
from rag_vqa.retriever.training.record_store import (
    RecordStore,
    check_picture_path,
    digest_records,
    inline_record,
    passage_record,
    write_records,
)
from rag_vqa.retriever.training.training_pairs import id_number
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.storage import atomic
from rag_vqa.storage.fingerprint import file_state
from rag_vqa.storage.lock import hold_lock

ROWS_FILE, DOCUMENTS_FILE, PACKED_FILE, REJECTS_FILE = (
    "rows.jsonl",
    "documents.jsonl",
    "packed.json",
    "rejects.jsonl",
)
_IDS_AT_ONCE = 2**20  # gathered before duplicates are dropped
IdNumbers = NDArray[np.int64]
Refuse = Callable[[str, str], None]
PACK_FORMAT = 1  # of the folder; another number makes another folder
SCRATCH_PREFIX = ".packing-"


def find_files(settings: SourceSettings) -> QuestionFiles:
    """The files with a source's rows.

    Raises:
        UsageError: unknown format, or `questions` is not set.
        Missing: a file does not exist.
    """
    if settings.questions is None:
        raise UsageError(
            f"A source of format {settings.format} needs `questions`: its file or folder."
        )
    split = settings.split
    if split is None and not settings.questions.is_file():
        split = "train"
    return find_question_files(
        settings.format, settings.questions, split, settings.images, settings.task, use="training"
    )


class PackWriter:
    """Writes one packed folder."""

    def __init__(self, settings: SourceSettings, found: QuestionFiles, folder: Path) -> None:
        self.settings, self.found, self.folder = settings, found, folder
        self.counts: Counter[str] = Counter()
        self.stop = settings.on_bad == "stop"
        self.inline = False  # whether any row brings its own passage

    def write(self) -> None:
        """Write all files of the folder.

        Raises:
            BadInput: a row is rejected and `on_bad` is "stop", or no row is left.
        """
        path = self.settings.negatives
        given = None if path is None else _read_negatives(path, self.folder / "negatives.jsonl")
        with (self.folder / REJECTS_FILE).open("w", encoding="utf-8") as rejects:

            def refuse(where: str, reason: str) -> None:
                if self.stop:
                    message = ": ".join(part for part in (where, reason) if part)
                    raise BadInput(f"{message} To skip such rows, set on_bad: skip")
                self.counts["refused"] += 1
                rejects.write(json.dumps({"where": where, "reason": reason}) + "\n")

            documents = self._documents(self._named_ids(given), refuse)
            rows = write_records(self.folder / ROWS_FILE, self._rows(documents, given, refuse))
        if not len(rows):
            what = f"{self.counts['refused']:,} were rejected, see on_bad." if self.counts else ""
            raise BadInput(f"{self.settings.questions} leaves no row to train on. {what}".strip())
        self.counts |= Counter(rows=len(rows), documents=len(documents))
        digest = sha256(
            digest_records(rows).encode() + digest_records(documents).encode()
        ).hexdigest()
        packed = {"counts": self.counts, "digest": digest}
        atomic.write_file(self.folder / PACKED_FILE, json.dumps(packed))

    def _question_rows(self) -> Iterator[QuestionRow | BadInput]:
        return self.found.rows(None if self.found.names is None else self.found.names())

    def _named_ids(self, mined_negatives: RecordStore | None) -> IdNumbers:
        """Numbers of all document ids that rows name, ascending."""
        wanted, new = np.empty(0, np.int64), array("q")
        for question in self._question_rows():
            if not isinstance(question, BadInput):
                self.inline = self.inline or bool(question.documents)
                new.extend(
                    map(id_number, (*_right_ids(question), *_wrong_ids(question, mined_negatives)))
                )
            if len(new) >= _IDS_AT_ONCE:
                wanted, new = np.union1d(wanted, np.array(new)), array("q")
        return np.union1d(wanted, np.array(new, np.int64))

    def _documents(self, wanted: IdNumbers, refuse: Refuse) -> RecordStore:
        """Write the documents that rows name, from the file of documents and from the rows."""
        contents = np.zeros(len(wanted), np.int64)  # a number of each document's content; 0: none

        def unique(record: Record, where: str) -> Iterator[dict[str, Any]]:
            where = f"{where}, document {quote_value(record.id)}"
            if _has_number(wanted, id_number(record.id)) and self._is_usable(record, where, refuse):
                one, at = passage_record(record), np.searchsorted(wanted, id_number(record.id))
                content = id_number(json.dumps(one))
                if not contents[at]:
                    contents[at] = content
                    yield one
                elif contents[at] != content:
                    refuse(where, "an earlier document has this id and other content: keep one.")

        def records() -> Iterator[dict[str, Any]]:
            path = self.settings.documents
            for record in () if path is None else self._read(path, refuse):
                yield from unique(record, _describe_line(path, record.line))
            root = (self.settings.document_images or self.found.images).resolve()
            for question in self._question_rows() if self.inline else ():
                if not isinstance(question, BadInput):
                    for document in question.documents:
                        yield from unique(
                            inline_record(document, root), self._describe_question(question)
                        )

        return write_records(self.folder / DOCUMENTS_FILE, records())

    def _describe_question(self, question: QuestionRow) -> str:
        return f"{self.settings.questions}, question {quote_value(question.example.id)}"

    def _read(self, path: Path, refuse: Refuse) -> Iterable[Record]:
        def reject(rejected: Rejected) -> None:
            refuse(_describe_line(path, rejected.line), rejected.reason)

        images = self.settings.document_images
        return open_documents(path, images=images, on_reject=reject).records()

    def _is_usable(self, document: Record, where: str, refuse: Refuse) -> bool:
        """Whether there is something to encode. Does not open the picture."""
        try:
            image = whole_document_passage(document).image
            if isinstance(image, str | Path):
                check_picture_path(Path(image), document.folder)
        except BadInput as error:
            refuse(where, str(error))
            return False
        return True

    def _rows(
        self, documents: RecordStore, mined_negatives: RecordStore | None, refuse: Refuse
    ) -> Iterator[dict[str, Any]]:
        for question in self._question_rows():
            if isinstance(question, BadInput):
                refuse("", str(question))  # the message names its place
                continue
            where = self._describe_question(question)
            image = picture_path(question, self.found.images)
            right = _right_ids(question)
            known_right = _known_ids(right, documents)
            if question.picture and image is None:
                refuse(
                    where, f"its picture {self.found.images / question.picture[0]} does not exist."
                )
            elif not known_right:
                refuse(
                    where, f"its right document {quote_value(right[0])} is not among the documents."
                )
            else:
                yield self._row(
                    question,
                    image,
                    right,
                    known_right,
                    _wrong_ids(question, mined_negatives),
                    documents,
                )

    def _row(
        self,
        question: QuestionRow,
        image: Path | None,
        right: tuple[str, ...],
        known_right: list[str],
        wrong: tuple[str, ...],
        documents: RecordStore,
    ) -> dict[str, Any]:
        negatives = tuple(one for one in wrong if one not in right)
        known = _known_ids(negatives, documents)
        self.counts["negatives that are right"] += len(wrong) - len(negatives)
        self.counts["negatives that are not there"] += len(negatives) - len(known)
        query = question.example.query
        return {
            "id": question.example.id,
            "text": query.text,
            "instruction": query.instruction,
            "image": None if image is None else str(image.absolute()),
            "right": [*known_right, *(one for one in right if one not in known_right)],
            "there": len(known_right),
            "negatives": known,
        }


def _describe_line(path: Path | None, line: int | None) -> str:
    """The place of a record, for messages; a folder of files has no line numbers."""
    return f"{path}" if line is None else f"{path}, line {line}"


def _right_ids(question: QuestionRow) -> tuple[str, ...]:
    """Ids of right documents; if parents are right, also the documents with the answer."""
    example = question.example
    more = example.oracle if example.level == "parent" else ()
    return tuple(dict.fromkeys((*more, *example.relevant)))


def _wrong_ids(question: QuestionRow, mined_negatives: RecordStore | None) -> tuple[str, ...]:
    mined = None if mined_negatives is None else mined_negatives.find(question.example.id)
    return tuple(dict.fromkeys((*question.negatives, *(mined["negatives"] if mined else ()))))


def _known_ids(ids: tuple[str, ...], documents: RecordStore) -> list[str]:
    known = documents.contains(np.array([id_number(one) for one in ids], np.int64))
    return [one for one, found in zip(ids, known, strict=True) if found]


def _has_number(numbers: IdNumbers, number: int) -> bool:
    at = int(np.searchsorted(numbers, number))
    return at < len(numbers) and int(numbers[at]) == number


def _read_negatives(path: Path, out: Path) -> RecordStore:
    """The file that `train mine` wrote, by question.

    Raises:
        BadInput: a line has another form.
    """

    def records() -> Iterator[dict[str, Any]]:
        for line, row in read_objects(path):
            if isinstance(row, BadInput):
                raise BadInput(f"{path}, line {line}: {row}")
            listed, identity = row.get("negatives"), row.get("id")
            texts = isinstance(listed, list) and all(isinstance(one, str) for one in listed)
            if not (isinstance(identity, str) and texts):
                raise BadInput(f'{path}, line {line}: not {{"id": "…", "negatives": ["…"]}}.')
            yield {"id": identity, "negatives": listed}

    return write_records(out, records(), path)


def pack_source(settings: SourceSettings, folder: Path) -> Path:
    """Pack a source into a subfolder of `folder`, unless it is packed there; returns its path.

    Then removes folders of the same source from before its files changed, and what a kill left.

    Raises:
        BadInput: a row is rejected and `on_bad` is "stop", or no row is left.
        UsageError, Missing: see `find_files`.
        RagVqaError: another process is writing into `folder`.
    """
    found = find_files(settings)
    source, state = _source_signatures(settings, found)
    stem = f"{found.name.replace('/', '-')}-{source}-"
    target = folder / f"{stem}{state}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder):
        _remove_folders(folder, SCRATCH_PREFIX)
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=folder))
        try:
            PackWriter(settings, found, scratch).write()
            atomic.replace_file(scratch, target)
            _remove_folders(folder, stem, but=target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _remove_folders(folder: Path, prefix: str, but: Path | None = None) -> None:
    """Remove folders that `pack_source` made: nothing else has such names."""
    for path in [*folder.iterdir()]:
        if path.name.startswith(prefix) and path != but:
            shutil.rmtree(path)


def _source_signatures(settings: SourceSettings, question_files: QuestionFiles) -> tuple[str, str]:
    """Hashes of a source's settings, and of the names, sizes and times of its files."""
    files = [*question_files.files.values()]
    for path in (settings.documents, settings.negatives):
        if path is not None:
            files += sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [file_state(file) for file in files if file.exists()]
    unused = {"weight", "hard", "instructions"}  # do not change the packed files
    options = [
        PACK_FORMAT,
        settings.model_dump_json(exclude=unused),
        str(question_files.images.resolve()),
    ]
    source, state = (sha256(json.dumps(one).encode()).hexdigest() for one in (options, states))
    return source[:8], state[:16]
