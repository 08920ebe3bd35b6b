"""What a caller gives to be added: its id, where it can be told, and the bytes of its pictures.

It knows Documents, mappings and the sources of a picture. It does not know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image

from rag_vqa import images
from rag_vqa.errors import BadInput
from rag_vqa.formats.document import shown
from rag_vqa.types import ImageSource


class Given(NamedTuple):
    """A picture's file, and what errors call it."""

    data: bytes
    name: str


def picture(source: ImageSource, root: Path | None) -> Given:
    """A picture as it is stored: the bytes of its file, PNG of one that was decoded.

    Raises:
        Missing: there is no such file.
        BadInput: it is no source of a picture, or may not be read.
    """
    if isinstance(source, Image):
        return Given(images.encode(images.load(source)), "<image>")
    if not isinstance(source, str | Path | bytes):
        raise BadInput(f"an image is {shown(source)}: give a path, bytes or a PIL image.")
    name = "" if isinstance(source, bytes) else str(source)
    return Given(images.read_bytes(source, root), name)


def identity(item: object) -> str | None:
    """The id of a document or record; None if it has none."""
    found = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    return found if isinstance(found, str) else None
