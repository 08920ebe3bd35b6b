"""Table folders: several files of one format are read one after another, as one source.

Knows which files may be parts of one table, where their pictures lie, and folders that are a column
(`year=2020/`). Does not know formats, nor which files of a folder are meant (possible_sources.py).

A picture is named from the folder of its file, or from that of the whole source. A file that is
damaged as a whole is refused, and the others are read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import Contents, Item, is_address
from rag_vqa.formats.document_format import DocumentFormat, SourceOptions
from rag_vqa.formats.mapping import parse_scalar
from rag_vqa.formats.picture_files import is_picture_there
from rag_vqa.formats.plain_values import picture_list
from rag_vqa.formatting import quote_value

_NO_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
_NAMES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class _Part:
    """One file.

    Attributes:
        place: its path within the source.
        opened: what it contains, or why it cannot be read.
    """

    place: str
    opened: Contents | BadInput

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.place)

    @property
    def columns(self) -> frozenset[str]:
        return frozenset() if isinstance(self.opened, BadInput) else frozenset(self.opened.columns)


def open_tables(
    known: DocumentFormat,
    files: Sequence[Path],
    root: Path,
    options: SourceOptions,
    same_columns: bool = False,
) -> Contents:
    """What several files contain in all.

    Args:
        root: folder of the source, which contains the files.
        same_columns: refuse files of which one has a column that another has not.

    Raises:
        BadInput: none of them can be read.
        UsageError: their columns differ so much that they are not parts of one table.
    """
    parts = [_open_part(known, file, root, options, len(files) > 1) for file in files]
    good = [part for part in parts if isinstance(part.opened, Contents)]
    if not good:
        assert isinstance(parts[0].opened, BadInput)
        raise parts[0].opened
    _check_columns(root, good, same_columns)
    found = [part.opened for part in good if isinstance(part.opened, Contents)]
    return Contents(
        _joined(one.columns for one in found),
        _joined((*(one.metadata for one in found), *(tuple(_partition(p)) for p in parts))),
        _joined(one.unknown for one in found),
        lambda: _items(parts, root, named_elsewhere=options.images is not None),
        _joined((_files_remark(parts), *(one.remarks for one in found))),
        lambda: _joined(one.findings() for one in found),
    )
