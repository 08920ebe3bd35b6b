"""Document view: lines that show how a document would be cut, or was cut, and what it carries.

Knows passages and pictures as people see them. Does not know verbs, nor how documents are cut.
"""

from __future__ import annotations

from pathlib import Path

from rag_vqa.errors import BadImage, Missing
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.types import ImageSource


def describe_picture(image: ImageSource) -> str:
    """A picture in a few words: the beginning of its hash, its pixels and its bytes."""
    from rag_vqa import images

    if not isinstance(image, str | Path | bytes):
        return "a picture"
    name = "picture"
    try:
        data = images.read_bytes(image)
        name += f" {images.content_hash(data)[:8]}"
        width, height = images.load(data).size
    except (BadImage, Missing) as error:
        return f"{name}, which cannot be read: {one_line(str(error))}"
    return f"{name}, {width} × {height}, {format_bytes(len(data))}"
