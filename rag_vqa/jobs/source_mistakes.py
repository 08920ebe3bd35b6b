"""Mistakes of a source that a build stops before: its pictures lie elsewhere, or it is another one.

Knows what a survey counted, and where pictures may lie instead. Does not know how a source is read
or how documents are encoded.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from rag_vqa.errors import UsageError
from rag_vqa.formats.picture_files import is_picture_there
from rag_vqa.formatting import one_line, quote_value
from rag_vqa.progress import Reporter

if TYPE_CHECKING:
    from rag_vqa.formats.source import Source
    from rag_vqa.formats.source_statistics import SourceStatistics
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

_MAX_FOLDERS: Final = 500  # that are searched for pictures
_MAX_NAMES: Final = 100_000
_MAX_DEPTH: Final = 3


def check_pictures(source: Source, found: SourceStatistics) -> None:
    """Refuse a table that names pictures of which not one is there: they lie in another folder.

    A source of one document may lack its picture, and keeps its text.

    Raises:
        UsageError: it names the folder near by in which the pictures are, if there is one.
    """
    if not 0 < found.pictures == found.images_missing or found.documents <= 1:
        return
    from rag_vqa.formats.detection import find_format

    if "images" not in find_format(source.kind).options:
        return
    names = [_relative_name(Path(path), source.base) for path in found.missing]
    nearby = _find_nearby(names, source)
    where = one_line(str(source.base))
    raise UsageError(
        f"{source.path} names pictures ({quote_value(names[0])}), but none of "
        f"{found.pictures:,} is in {where}. {nearby.advice() if nearby else _NO_ADVICE}"
    )


_NO_ADVICE: Final = "Give their folder: --images FOLDER. To build without pictures: --map images="


@dataclass(frozen=True, slots=True)
class _NearbyFolder:
    """A folder in which pictures were found.

    Attributes:
        name: of the picture as the source names it; `file` is what its file is called there.
    """

    folder: Path
    name: str
    file: str

    def advice(self) -> str:
        """What to do now."""
        if self.file == self.name:
            return f"They are in {self.folder}: add --images {shlex.quote(str(self.folder))}"
        return (
            f"{self.folder} contains {quote_value(self.file)}, but the source names it "
            f"{quote_value(self.name)}: correct the names, or lay the files there."
        )


def _relative_name(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _find_nearby(names: Sequence[str], source: Source) -> _NearbyFolder | None:
    """The folder in which the names are found; else one with files that are called almost so."""
    wanted = [name.replace("\\", "/") for name in names]
    almost: _NearbyFolder | None = None
    for folder, files in _folders_nearby(source):
        for name, plain in zip(names, wanted, strict=True):
            if is_picture_there(folder / plain, folder):
                return _NearbyFolder(_shorten(folder), name, name)
            almost = almost or _find_almost(folder, files, name, PurePosixPath(plain))
    return almost


def _find_almost(
    folder: Path, files: Sequence[str], name: str, path: PurePosixPath
) -> _NearbyFolder | None:
    """A file whose name is the last part of the one that is wanted, or has a suffix more."""
    last = path.name.casefold()
    for file in files:
        folded = file.casefold()
        if folded == last or os.path.splitext(folded)[0] == last:  # noqa: PTH122 - a name
            return _NearbyFolder(_shorten(folder), name, file)
    return None


def _folders_nearby(source: Source) -> Iterator[tuple[Path, list[str]]]:
    """Folders with the names of their files: below the source, then beside it."""
    home = source.path if source.path.is_dir() else source.path.parent
    home = home.resolve()
    seen: set[Path] = set()
    left = _MAX_NAMES
    for start in dict.fromkeys((source.base, home, home.parent)):
        waiting = [(start, 0)]
        for folder, depth in waiting:  # grows
            if folder in seen or len(seen) >= _MAX_FOLDERS or left <= 0:
                continue
            seen.add(folder)
            files, folders = _list_names(folder)
            left -= len(files)
            yield folder, files
            if depth < _MAX_DEPTH:
                waiting += [(folder / name, depth + 1) for name in folders]


def _list_names(folder: Path) -> tuple[list[str], list[str]]:
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    is_folder = entry.is_dir(follow_symlinks=False)
                    (folders if is_folder else files).append(entry.name)
    except OSError:
        return [], []
    return sorted(files), sorted(folders)


def _shorten(path: Path) -> Path:
    """The path from the working directory, if it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


def report_other_documents(
    kb: KnowledgeBase, source: Source, found: SourceStatistics, reporter: Reporter
) -> None:
    """Say how many documents of a knowledge base are not in the source that is built into it."""
    others = 0 if source.wanted is not None else kb.count_others(found.has_id)
    if others:
        sync = f"rag-vqa kb sync {shlex.quote(str(source.path))} --out {shlex.quote(str(kb.path))}"
        documents = "1 document that is" if others == 1 else f"{others:,} documents that are"
        reporter.note(
            f"{kb.path} contains {documents} not in this source and will stay. To delete what the "
            f"source lacks: {sync}"
        )
