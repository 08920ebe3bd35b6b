"""Document sources: which files to read, how to read them, and which shard of their documents.

Knows the options of a source, how its documents are divided into shards, and what to report about
it before a build. Does not know file formats (formats/) or how documents are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.errors import Missing, UsageError
from rag_vqa.formats.document import Record, Rejected

if TYPE_CHECKING:
    from rag_vqa.formats.source import Source
    from rag_vqa.formats.source_statistics import SourceStatistics

REJECTS_FILE, MISSING_IMAGES_FILE = "rejects.jsonl", "missing.csv"


def require_folder(path: Path, option: str) -> Path:
    """The path, if it is a folder; else UsageError."""
    if not path.is_dir():
        problem = "this is a file" if path.exists() else "no such folder"
        raise UsageError(f"{option} {path}: {problem}. Give a folder.")
    return path


def require_path(path: Path, what: str, mend: str) -> Path:
    """The path, if something is there; else UsageError, which says what helps."""
    if not path.exists():
        raise UsageError(f"{path}: no such {what}. {mend}")
    return path


@dataclass(frozen=True)
class SourceOptions:
    """A source as a command line names it."""

    path: Path
    images: Path | None = None
    kind: str = "auto"
    mapping: tuple[str, ...] = ()
    unit: str | None = None
    subset: Path | None = None
    strict: bool = False

    def absolute(self) -> SourceOptions:
        """The same from any folder."""
        return replace(
            self,
            path=self.path.resolve(),
            images=None if self.images is None else self.images.resolve(),
            subset=None if self.subset is None else self.subset.resolve(),
        )

    def open(self, rejected: list[Rejected]) -> Source:
        """The source; each reading of it fills `rejected` with what it refuses.

        Raises:
            UsageError: no such file or folder, or options that do not fit.
            BadInput: it cannot be read.
        """
        from rag_vqa.formats.mapping import parse_mapping
        from rag_vqa.formats.source import open_source

        require_path(self.path, "source of documents", "Give a file or a folder.")
        if self.images is not None:
            require_folder(self.images, "--images")
        if self.subset is not None:
            require_path(self.subset, "file of ids", "Give --subset one with an id a line.")
        try:
            return open_source(
                self.path,
                self.kind,
                images=self.images,
                mapping=parse_mapping(self.mapping) if self.mapping else None,
                unit=self.unit,
                subset=self.subset,
                on_reject=rejected.append,
                strict=self.strict,
            )
        except Missing as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count` of a source, as a run of its documents: 1 of 1 is all."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """`"2/8"`; None is all. Raises UsageError."""
        if text is None:
            return cls()
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise UsageError(f"--shard {text}: expected i/n, for instance 2/8")
        if not 1 <= int(number) <= int(count):
            raise UsageError(f"--shard {text}: parts are counted from 1 to {count}.")
        return cls(int(number), int(count))

    def size(self, total: int) -> int:
        """Its documents, of `total`."""
        return self._end(total, self.number) - self._end(total, self.number - 1)

    def of(
        self, records: Iterator[Record], total: int, skipped: Callable[[], object] | None = None
    ) -> Iterator[Record]:
        """Its records: runs, so that parts merged in order are what one build makes.

        What is refused between two runs is met by the later part, behind all by the last one.
        `skipped` is called once the parts before have been read past: what was refused is theirs.
        """
        for _ in islice(records, self._end(total, self.number - 1)):
            pass
        if skipped is not None:
            skipped()
        # The last part reads to the end: what is refused there is told, too.
        yield from islice(records, None if self.number == self.count else self.size(total))

    def _end(self, total: int, number: int) -> int:
        return total * number // self.count


def survey_source(source: Source) -> SourceStatistics:
    """Count what a source holds, so that hours are not spent on one that is wrong."""
    from rag_vqa.formats.source_statistics import collect_statistics

    return collect_statistics(replace(source))


def describe_source(source: Source, found: SourceStatistics, out: Path | None) -> Iterator[str]:
    """What a person should know of a source before it is encoded, a line each; `out` is where
    lists of what is amiss will be written, None if they will not."""
    from rag_vqa.formatting import one_line

    pictures = f" · {found.with_image:,} with image" if found.with_image else ""
    lists = (
        ("", "") if out is None else (f" → {out / MISSING_IMAGES_FILE}", f" → {out / REJECTS_FILE}")
    )
    gone = f" ({found.images_missing:,} missing{lists[0]})" if found.images_missing else ""
    bad = found.refused + found.empty
    refused = f" · {bad:,} refused{lists[1]}" if bad else ""
    yield f"{found.documents - found.empty:,} documents ({source.kind}){pictures}{gone}{refused}"
    if source.metadata:
        yield f"metadata: {one_line(', '.join(source.metadata))}"
    if source.unknown:
        yield f"left out, no field of ours: {one_line(', '.join(source.unknown))}"
    if found.duplicates:
        yield f"{found.duplicates:,} documents have an id that was there before: the first stays"
    if found.foreign_share > 0.1:
        yield (
            f"{found.foreign:,} of {found.judged:,} texts look non-English, for instance "
            f"{one_line(found.foreign_ids[0])}: if the retriever reads English, give them an "
            "English `retrieval_text`"
        )
