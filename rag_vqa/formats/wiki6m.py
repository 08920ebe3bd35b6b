"""Wiki6M, the Wikipedia of OVEN and InfoSeek → Items: a page a line of Wiki6M_ver_1_0.jsonl(.gz).

It knows the fields wikidata_id, wikipedia_title, wikipedia_summary and wikipedia_content, as
published users of the file read them (TIGER-AI-Lab/UniIR; open-vision-language/oven names the
file). wikipedia_image_url could not be verified. It knows no questions.

The text is the content, or the summary where there is none. Of OVEN's images of entities, in a
folder that the user gives, page Q806563 has `Q806/Q806563.jpg`; a page is given its picture only
where that file is there, because most pages have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput
from rag_vqa.formats.items import Contents, Item
from rag_vqa.formats.renamed import Names

JSONL = ("wikidata_id", "wikipedia_title")

_NAMES = Names(
    {
        "id": ("wikidata_id",),
        "title": ("wikipedia_title",),
        "text": ("wikipedia_content", "wikipedia_summary"),
    },
    left_out=("wikipedia_summary", "wikipedia_image_url"),
)


def contents(path: Path, images: Path | None) -> Contents:
    """What the file holds.

    Args:
        images: the folder of OVEN's images of entities, if there is one.
    """
    found = _NAMES.contents(path)
    return found if images is None else replace(found, items=lambda: _pictured(found, images))


def _pictured(found: Contents, images: Path) -> Iterator[Item]:
    for item in found.items():
        fields: Any = item.fields
        name = None if isinstance(fields, BadInput) else _picture(fields["id"])
        if name is not None and (images / name).is_file():
            item = replace(item, fields={**fields, "image": name})
        yield item


def _picture(identity: object) -> str | None:
    """
    >>> _picture("Q42"), _picture("../x")
    ('Q42/Q42.jpg', None)
    """
    if not isinstance(identity, str) or not identity.isalnum():
        return None
    return f"{identity[:4]}/{identity}.jpg"
