"""Options that say where documents come from, and the Source that they make.

It knows flags. How files are read is the matter of formats/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_vqa.cli import options
from rag_vqa.errors import Missing, UsageError

if TYPE_CHECKING:
    from rag_vqa.formats.document import Record, Rejected
    from rag_vqa.formats.source import Source
    from rag_vqa.formats.survey import Survey

Path_ = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="JSONL, CSV, TSV, Parquet, a folder of pictures and texts, or a benchmark's own file.",
    ),
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the pictures.")]
Kind = Annotated[
    str, typer.Option(help="What SOURCE is, where it does not show: jsonl, csv, parquet, evqa …")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="Columns of CSV or Parquet; several by ,"),
]
Unit = Annotated[
    str | None, typer.Option(metavar="page|section", help="Of E-VQA: what a document is.")
]
Subset = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Only these: ids or titles, one a line.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first document refused.")]


@dataclass(frozen=True)
class Sourcing:
    """A source as a command line names it."""

    path: Path
    images: Path | None = None
    kind: str = "auto"
    mapping: tuple[str, ...] = ()
    unit: str | None = None
    subset: Path | None = None
    strict: bool = False

    def absolute(self) -> Sourcing:
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

        options.existing(self.path, "source of documents", "Give a file or a folder.")
        if self.images is not None:
            options.folder(self.images, "--images")
        if self.subset is not None:
            options.existing(self.subset, "file of ids", "Give --subset one with an id a line.")
        try:
            return open_source(
                self.path,
                self.kind,  # type: ignore[arg-type] # checked there
                images=self.images,
                mapping=parse_mapping(self.mapping) if self.mapping else None,
                unit=self.unit,  # type: ignore[arg-type] # checked there
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


def look_through(source: Source) -> Survey:
    """Count what a source holds, so that hours are not spent on one that is wrong."""
    from rag_vqa.formats.survey import survey

    return survey(replace(source))


def said(source: Source, found: Survey, out: Path | None) -> Iterator[str]:
    """What a person should know of a source before it is encoded, a line each; `out` is where
    lists of what is amiss will be written, None if they will not."""
    from rag_vqa.cli.building import MISSING, REJECTS
    from rag_vqa.cli.output import one_line

    pictures = f" · {found.with_image:,} with image" if found.with_image else ""
    lists = ("", "") if out is None else (f" → {out / MISSING}", f" → {out / REJECTS}")
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
