"""Documents → what is kept of them to train on, and where their pictures may lie.

It knows documents, passages and paths. It opens no picture.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput, RagVqaError
from rag_vqa.formats.document import Record
from rag_vqa.retriever.passages import whole
from rag_vqa.retriever.training.sources.shelf import Record as Kept
from rag_vqa.types import Document, ImageSource


def within(document: Document, root: Path) -> Record:
    """A passage that stands in a row, its pictures in the folder of pictures."""
    fields = {name: getattr(document, name) for name in Document.__dataclass_fields__}
    fields["images"] = tuple(root / str(image) for image in document.images)
    return Record(**fields, line=None, folder=root)


def check_picture(path: Path, root: Path) -> None:
    """Raises BadInput: it is not there, or not in its folder."""
    if not path.is_file():
        raise BadInput(f"its picture {path} is not there.")
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise BadInput(f"its picture {path} lies outside {root}; copy it there.")


def passage(document: Document) -> dict[str, Any]:
    """What is kept of a document: it as one passage, with the bytes or the path of its picture."""
    one = whole(document)
    return {"id": document.id, "text": one.text, **_image(one.image)}


def _image(image: ImageSource | None) -> dict[str, str]:
    if image is None:
        return {}
    if isinstance(image, bytes):
        return {"bytes": b64encode(image).decode()}
    if isinstance(image, str | Path):
        return {"image": str(image)}
    raise RagVqaError("a decoded picture cannot be packed")


def picture(record: Kept) -> ImageSource | None:
    """The path or the bytes of a record's picture; None if it has none."""
    return b64decode(record["bytes"]) if "bytes" in record else record.get("image")
