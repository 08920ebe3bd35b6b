"""Document sources: which files to read, how to read them, and which shard of their documents.

Knows the options of a source, how its documents are divided into shards, and what to report about
it before a build. Does not know file formats (formats/) or how documents are stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.errors import Missing, UsageError
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formatting import one_line

if TYPE_CHECKING:
    from rag_vqa.formats.source import Source
    from rag_vqa.formats.source_statistics import SourceStatistics

REJECTS_FILE, MISSING_IMAGES_FILE = "rejects.jsonl", "missing.csv"
_COLUMNS_SHOWN = 20  # whose values cannot be kept
_MANY_FOREIGN_TEXTS = 0.1  # share of texts from which non-English ones are reported


def require_folder(path: Path, option: str) -> Path:
    """The path; raises UsageError if it is no folder."""
    if not path.is_dir():
        problem = "this is a file" if path.exists() else "no such folder"
        raise UsageError(f"{option} {path}: {problem}. Give a folder.")
    return path


def require_path(path: Path, what: str, next_step: str) -> Path:
    """The path; raises UsageError, which names the next step, if nothing is there."""
    if not path.exists():
        raise UsageError(f"{path}: no such {what}. {next_step}")
    return path


@dataclass(frozen=True)
class SourceOptions:
    """Options of a source: which documents to read, and how.

    Attributes:
        path: JSONL, CSV, TSV, Parquet, a folder of pictures and texts, or a benchmark's own file.
        images: folder of the pictures, if the files name them relative to another one.
        kind: format of `path`; "auto" finds it out.
        mapping: columns of a table or fields of its records, `FIELD=COLUMN` each.
        text: template that makes the text out of columns: "{Title}. {Description}".
        encoding: of a file of text, if it is not found out rightly.
        unit: Encyclopedic-VQA only: make a document of each "page" or of each "section".
        subset: a file of ids or titles, one a line: only these documents.
        strict: stop at the first document that is refused.
    """

    path: Path
    images: Path | None = None
    kind: str = "auto"
    mapping: tuple[str, ...] = ()
    text: str | None = None
    encoding: str | None = None
    unit: str | None = None
    subset: Path | None = None
    strict: bool = False

    def absolute(self) -> SourceOptions:
        """The same options with absolute paths, for processes that work in another folder."""
        return replace(
            self,
            path=self.path.resolve(),
            images=None if self.images is None else self.images.resolve(),
            subset=None if self.subset is None else self.subset.resolve(),
        )

    def open(self, rejected: list[Rejected]) -> Source:
        """Open the source; each reading of it appends the records that it refuses to `rejected`.

        Raises:
            UsageError: no such file or folder, or options that do not fit the source.
            BadInput: the source cannot be read.
        """
        from rag_vqa.formats.mapping import parse_mapping
        from rag_vqa.formats.source import open_source

        require_path(self.path, "source of documents", "Give a file or a folder.")
        if self.images is not None:
            require_folder(self.images, "--images")
        if self.subset is not None:
            require_path(self.subset, "file of ids", "Give --subset a file with one id a line.")
        try:
            return open_source(
                self.path,
                self.kind,
                images=self.images,
                mapping=parse_mapping(self.mapping) if self.mapping else None,
                text=self.text,
                encoding=self.encoding,
                unit=self.unit,
                subset=self.subset,
                on_reject=rejected.append,
                strict=self.strict,
            )
        except Missing as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count` of a source: consecutive documents. Shard 1 of 1 is all of them."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """The shard of a text such as "2/8"; None means all documents. Raises UsageError."""
        if text is None:
            return cls()
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise UsageError(f"--shard {text}: expected i/n, for instance 2/8")
        if not 1 <= int(number) <= int(count):
            raise UsageError(f"--shard {text}: shards are numbered from 1 to {count}.")
        return cls(int(number), int(count))

    def size(self, total: int) -> int:
        """Number of its documents, if the source has `total`."""
        return self._end(total, self.number) - self._end(total, self.number - 1)

    def select(
        self, records: Iterator[Record], total: int, on_start: Callable[[], object] | None = None
    ) -> Iterator[Record]:
        """The records of this shard, out of those of the whole source.

        They are consecutive, so that shards merged in order make what one build makes. A record
        that the source refuses between two shards counts for the later one; those after the last
        document count for the last shard.

        Args:
            on_start: called once the records of earlier shards are skipped: what was refused until
                then belongs to those.
        """
        for _ in islice(records, self._end(total, self.number - 1)):
            pass
        if on_start is not None:
            on_start()
        # The last shard reads to the end, to report what is refused there.
        yield from islice(records, None if self.number == self.count else self.size(total))

    def _end(self, total: int, number: int) -> int:
        return total * number // self.count


class SourceReader:
    """Reads the documents of a shard of a source, from the beginning at each iteration.

    Attributes:
        rejected: what the last reading refused.
        documents: number of documents of the whole source; 0 until it is known.
        total: number of documents of the shard.
    """

    def __init__(self, options: SourceOptions, shard: Shard | None = None) -> None:
        """Open the source. Raises as `SourceOptions.open`."""
        self.options, self.shard = options, shard or Shard()
        self.rejected: list[Rejected] = []
        self.source = options.open(self.rejected)
        self.documents = self.total = 0

    def __iter__(self) -> Iterator[Record]:
        self.rejected.clear()
        return self.shard.select(self.source.records(), self.documents, self.rejected.clear)

    def survey(self) -> SourceStatistics:
        """Read through the source once and count, before hours are spent on a wrong one."""
        from rag_vqa.formats.source_statistics import collect_statistics

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again when the source is encoded
            found = collect_statistics(replace(self.source))
        self.set_documents(found.documents)
        return found

    def set_documents(self, documents: int) -> None:
        """Set how many documents the source has, if an earlier survey counted them."""
        self.documents, self.total = documents, self.shard.size(documents)


def describe_left_out(left_out: Mapping[tuple[str, str], int]) -> str:
    """The metadata that is left out, by name: "place (2 values, nested)"."""
    first = sorted(left_out.items(), key=lambda pair: (-pair[1], pair[0]))[:_COLUMNS_SHOWN]
    parts = [
        f"{one_line(name)} ({count:,} {'value' if count == 1 else 'values'}, {reason})"
        for (name, reason), count in first
    ]
    more = len(left_out) - len(first)
    return ", ".join(parts) + (f" and {more:,} more" if more else "")


def describe_source(
    source: Source, found: SourceStatistics, out: Path | None = None
) -> Iterator[str]:
    """Lines for the person who builds: what the source holds, and what looks wrong.

    Args:
        out: folder where the lists of refused documents and missing pictures will be written.
    """
    missing_file, rejects_file = (
        ("", "") if out is None else (f" → {out / MISSING_IMAGES_FILE}", f" → {out / REJECTS_FILE}")
    )
    images = f" · {found.with_image:,} with image" if found.with_image else ""
    if found.images_missing:
        images += f" ({found.images_missing:,} missing{missing_file})"
    count = found.refused + found.empty
    refused = f" · {count:,} refused{rejects_file}" if count else ""
    yield f"{found.documents - found.empty:,} documents ({source.kind}){images}{refused}"
    yield from source.remarks
    yield from source.findings()
    if source.metadata:
        yield f"metadata: {one_line(', '.join(source.metadata))}"
    if source.unknown:
        yield f"left out, no field of a document: {one_line(', '.join(source.unknown))}"
    for remark, number in found.remarks.items():
        yield f"{number:,} documents: {one_line(remark)}"
    if found.left_out:
        yield f"metadata that cannot be kept: {describe_left_out(found.left_out)}"
    if found.duplicates:
        yield f"{found.duplicates:,} documents repeat an earlier id: the first one stays"
    if found.foreign_share > _MANY_FOREIGN_TEXTS:
        sampled = "sampled " if found.is_sampled else ""
        yield (
            f"{found.foreign:,} of {found.judged:,} {sampled}texts look non-English, for instance "
            f"{one_line(found.foreign_ids[0])}: if the retriever reads English, give them an "
            "English `retrieval_text`"
        )
