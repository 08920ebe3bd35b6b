"""iNaturalist 2021: ids of pictures → names of files, out of train.json and val.json.

It knows the array `images` of objects with id and file_name (visipedia/inat_comp, 2021). It does
not know questions. Files of a gigabyte are read as a stream, and only names asked for are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput

_BLOCK = 2**20
_LONGEST = 2**16  # characters of one object: a fixed dozen of short fields
_BEGIN = re.compile(r'"images"\s*:\s*\[')


def file_names(path: Path, wanted: set[str]) -> dict[str, str]:
    """Names such as "val/00000_…/….jpg" of the ids that are wanted and there.

    Raises:
        BadInput: the file is not the one that it should be.
    """
    found: dict[str, str] = {}
    for image in _images(path):
        try:
            identity, name = str(image["id"]), image["file_name"]
        except (KeyError, TypeError) as error:
            raise BadInput(f"{path}: an image lacks its id or its file_name.") from error
        if identity in wanted:
            found[identity] = str(name)
    return found


def _images(path: Path) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        window, begin = "", None
        while begin is None:
            block = file.read(_BLOCK)
            if not block:
                raise BadInput(f"{path} holds no array images: it is no file of iNaturalist 2021.")
            window = window[-64:] + block
            begin = _BEGIN.search(window)
        at = begin.end()
        while True:
            if len(window) - at < _LONGEST and (block := file.read(_BLOCK)):
                window, at = window[at:] + block, 0
            while window[at : at + 1] and window[at] in " \t\r\n,":
                at += 1
            if window[at : at + 1] == "]":
                return
            try:
                value, at = decoder.raw_decode(window, at)
            except json.JSONDecodeError as error:
                raise BadInput(f"{path} is damaged or cut ({error.msg}): get it anew.") from error
            yield value
