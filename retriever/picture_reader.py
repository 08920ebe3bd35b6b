"""Reads and stores the pictures of documents, and recognises files that did not change.

Knows stamps, and where a picture is stored. Does not know what a picture source is
(ingest_batch.py) nor documents as a whole (ingest.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rag_vqa import images
from rag_vqa.errors import BadImage, BadInput, Missing
from rag_vqa.formats.picture_files import find_picture
from rag_vqa.retriever.ingest_batch import (
    PictureFile,
    UnreadablePicture,
    describe_picture,
    read_picture_source,
)
from rag_vqa.retriever.store.document_content import Pictures
from rag_vqa.retriever.store.picture_stamps import PictureStamps, is_settled, read_stamp
from rag_vqa.types import Document, ImageSource


class ReadPictures(NamedTuple):
    """The pictures of one document.

    Attributes:
        document: with the paths its pictures will get.
        files: its pictures by these paths.
        problems: pictures that could not be read.
    """

    document: Document
    files: dict[Path, PictureFile]
    problems: list[UnreadablePicture]


class PictureReader:
    """Reads pictures for one run of an ingest; a dry run stores none and notes no stamps."""

    def __init__(self, pictures: Pictures, dry_run: bool) -> None:
        self._pictures = pictures
        self._stamps = PictureStamps(pictures.folder.parent, pictures.folder, writes=not dry_run)

    def find_unchanged(
        self, sources: Sequence[ImageSource], root: Path | None
    ) -> tuple[Path, ...] | None:
        """Paths of the stored pictures, if all of these are files that did not change."""
        found: dict[Path, None] = {}
        for source in sources:
            if not isinstance(source, Path):
                return None
            name = self._stamps.find(str(source), str(root))
            if name is None and (other := find_picture(source, root)) != source:
                name = self._stamps.find(str(other), str(root))
            if name is None:
                return None
            found[self._pictures.folder / name] = None
        return tuple(found)

    def read_all(self, document: Document, root: Path | None) -> ReadPictures:
        """The pictures of a document; of equal ones it keeps one.

        Raises:
            BadInput: something is no picture source at all.
        """
        found, problems = dict[Path, PictureFile](), list[UnreadablePicture]()
        for source in document.images:
            try:
                read = self._read(source, root)
            except (Missing, BadImage) as error:
                problems.append(UnreadablePicture(describe_picture(source, root), error))
                continue
            found.setdefault(self._pictures.path_of(read.data), read)
        return ReadPictures(replace(document, images=tuple(found)), found, problems)

    def _read(self, source: ImageSource, root: Path | None) -> PictureFile:
        """A picture as it is stored. Raises as `read_picture_source`."""
        if not isinstance(source, Path):
            return read_picture_source(source, root)
        path = str(find_picture(source, root))
        before = read_stamp(path)
        read = read_picture_source(source, root)
        if before is None or before != read_stamp(path) or not is_settled(path):
            return read
        return read._replace(stamp=(path, before, str(root)))

    def store(self, picture: PictureFile) -> None:
        """Store a picture completely or not at all, and repair a damaged one; note its stamp."""
        stored = self._pictures.keep(picture.data)
        if picture.stamp is not None:
            self._stamps.note(*picture.stamp, stored.name)

    def close(self, complete: bool = False) -> None:
        """Write the stamps; `complete` after all documents of a source were read."""
        self._stamps.close(complete)


def check_picture(file: PictureFile) -> None:
    """Raises BadImage if a picture cannot be opened; for encoders that open it later."""
    images.load(file.data, name=file.name)


def unreadable_pictures(files: Mapping[Path, PictureFile]) -> dict[Path, UnreadablePicture]:
    """Those of the pictures that cannot be opened."""
    bad: dict[Path, UnreadablePicture] = {}
    for path, file in files.items():
        try:
            check_picture(file)
        except BadInput as error:
            bad[path] = UnreadablePicture(file.name, error)
    return bad
