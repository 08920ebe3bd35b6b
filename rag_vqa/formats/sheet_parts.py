"""What a sheet of Excel has beside its cells: merged cells, links, pictures over and in cells.

Knows the parts of a package that hold them. Does not know cells (workbook.py) or fields (xlsx.py).
Rows and columns are numbered from 1. openpyxl would decode the pictures: here they stay bytes, as
only images.py opens pictures.

A picture belongs to the row in which most of it lies.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.documents.office_package import (
    OfficePackage,
    attribute,
    child_of,
    descendants,
    tag_of,
)

_BLOCK: Final = 2**20
_TAIL: Final = 32 * 2**20  # bytes behind the cells; a million links take more
_REFERENCE: Final = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7})")
_MERGED: Final = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=[\"']([A-Z0-9:$]+)")
_LINK: Final = re.compile(rb"<(?:\w+:)?hyperlink\s([^>]*)>")
_ATTRIBUTE: Final = re.compile(r"([\w:]+)=[\"']([^\"']*)")
_DRAWING: Final = re.compile(rb"<(?:\w+:)?drawing\s[^>]*?id=[\"']([^\"']+)")
_ROW: Final = re.compile(rb"<(?:\w+:)?row\s([^>]*)>")
_PICTURE_CELL: Final = re.compile(
    rb"<(?:\w+:)?c\s(?=[^>]*?\br=[\"']([A-Z]+[0-9]+))[^>]*?\bvm=[\"']([0-9]+)"
)
_LONELY_FORMULA: Final = re.compile(rb"</(?:\w+:)?f>\s*(?:<v\s*/>|<v></v>)?\s*</(?:\w+:)?c>")
_END_OF_CELLS: Final = re.compile(rb"</(?:\w+:)?sheetData>|<(?:\w+:)?sheetData\s*/>")
_USUAL_HEIGHT: Final = 15.0  # points of a row
_EMU: Final = 12_700  # units of a drawing in a point
_WPS_PICTURE: Final = re.compile(r"DISPIMG\(\"(ID_[0-9A-Fa-f]+)\"")


@dataclass(frozen=True, slots=True)
class SheetParts:
    """What lies beside the cells of one sheet.

    Attributes:
        merged: (row, column) of a cell that is merged with one above → row of the one that is
            filled.
        links: (row, column) → address.
        pictures: row → bytes of its pictures, from left to right; a name if they cannot be had.
        named_pictures: WPS's name of a picture in a cell → bytes.
        lacks_results: there are formulas without saved results.
    """

    merged: Mapping[tuple[int, int], int] = field(default_factory=dict)
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)
    pictures: Mapping[int, list[bytes | str]] = field(default_factory=dict)
    named_pictures: Mapping[str, bytes | str] = field(default_factory=dict)
    lacks_results: bool = False

    def pictures_of_row(self, row: int, cells: list[Any]) -> list[bytes | str]:
        """The pictures that belong to a row. Cells that only name one in WPS's way are emptied."""
        found = list(self.pictures.get(row, ()))
        if self.named_pictures:
            for at, cell in enumerate(cells):
                name = _WPS_PICTURE.search(cell) if isinstance(cell, str) else None
                if name is not None:
                    cells[at] = None
                    found += [self.named_pictures.get(name[1], name[1])]
        return found


def read_sheet_parts(package: OfficePackage, part: str) -> SheetParts:
    """What lies beside the cells of the sheet in this part; what is damaged is left out."""
    tail, heights, picture_cells, lacks_results = _scan(package, part)
    links = package.relationships(part)
    pictures: dict[int, list[tuple[int, bytes | str]]] = defaultdict(list)
    for identity in _DRAWING.findall(tail):
        link = links.get(identity.decode("ascii", "replace"))
        if link is not None and link.kind == "drawing":
            for row, column, picture in _drawing_pictures(package, link.target, heights):
                pictures[row].append((column, picture))
    if picture_cells:
        for row, column, picture in _cell_pictures(package, picture_cells):
            pictures[row].append((column, picture))
    return SheetParts(
        merged=_merged_cells(tail),
        links=_addresses(tail, {key: link.target for key, link in links.items() if link.external}),
        pictures={
            row: [picture for _, picture in sorted(found, key=lambda one: one[0])]
            for row, found in pictures.items()
        },
        named_pictures=_named_pictures(package),
        lacks_results=lacks_results,
    )


def column_number(letters: str) -> int:
    """The number of a column from its letters.

    >>> column_number("A"), column_number("AB")
    (1, 28)
    """
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def column_letters(number: int) -> str:
    """The letters of a column.

    >>> column_letters(1), column_letters(28)
    ('A', 'AB')
    """
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _scan(
    package: OfficePackage, part: str
) -> tuple[bytes, dict[int, float], dict[tuple[int, int], int], bool]:
    """What follows the cells; heights of rows; cells with a picture in them; formulas alone."""
    wants_cells = "xl/richData/richValueRel.xml" in package.archive
    wants_heights = package.related_part(part, "drawing") is not None
    heights: dict[int, float] = {}
    picture_cells: dict[tuple[int, int], int] = {}
    tail, rest, is_behind, lacks_results = bytearray(), b"", False, False
    try:
        with package.archive.open(part) as stream:
            while block := stream.read(_BLOCK):
                window = rest + block
                if not is_behind:
                    end = _END_OF_CELLS.search(window)
                    cells = window[: end.start()] if end else window
                    lacks_results = lacks_results or _LONELY_FORMULA.search(cells) is not None
                    if wants_heights:
                        heights.update(_heights(cells))
                    if wants_cells:
                        for place, number in _PICTURE_CELL.findall(cells):
                            picture_cells[_position(place.decode())] = int(number)
                    is_behind = end is not None
                    # An element may lie across two blocks.
                    cut = window.rfind(b"<", max(0, len(window) - 4096))
                    rest = b"" if is_behind else window[cut:] if cut >= 0 else b""
                    tail += window[end.end() :] if end else b""
                elif len(tail) < _TAIL:
                    tail += block
    except (BadInput, OSError, ValueError, EOFError, RuntimeError):
        pass  # reading the cells says so
    return bytes(tail), heights, picture_cells, lacks_results


def _heights(cells: bytes) -> Iterator[tuple[int, float]]:
    for found in _ROW.findall(cells):
        given = dict(_ATTRIBUTE.findall(found.decode("utf-8", "replace")))
        if given.get("r", "").isdecimal() and "ht" in given:
            try:
                yield int(given["r"]), float(given["ht"])
            except ValueError:
                continue


def _position(reference: str) -> tuple[int, int]:
    """Row and column of a reference such as B12; (0, 0) of none."""
    found = _REFERENCE.fullmatch(reference)
    return (int(found[2]), column_number(found[1])) if found else (0, 0)


def _merged_cells(tail: bytes) -> dict[tuple[int, int], int]:
    """Cells of the first column of each range that are merged with the one at its top."""
    found: dict[tuple[int, int], int] = {}
    for reference in _MERGED.findall(tail):
        first, _, last = reference.decode().partition(":")
        (top, left), (bottom, _) = _position(first), _position(last)
        if top and bottom - top < 10_000 and len(found) < 1_000_000:
            found.update(((row, left), top) for row in range(top + 1, bottom + 1))
    return found


def _addresses(tail: bytes, targets: Mapping[str, str]) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    for element in _LINK.findall(tail):
        given = dict(_ATTRIBUTE.findall(element.decode("utf-8", "replace")))
        identity = next((value for name, value in given.items() if name.endswith(":id")), "")
        target = targets.get(identity, "")
        if target.lower().startswith(("http:", "https:")):
            found[_position(given.get("ref", "").partition(":")[0])] = target
    return found


def _drawing_pictures(
    package: OfficePackage, part: str, heights: Mapping[int, float]
) -> Iterator[tuple[int, int, bytes | str]]:
    """Row, column and bytes of each picture of a drawing."""
    root = package.xml_or_none(part)
    links = package.relationships(part)
    for anchor in () if root is None else root:
        begin = child_of(anchor, "from")
        if begin is None:
            continue
        row = _row_of_anchor(anchor, begin, heights)
        for blip in descendants(anchor, "blip"):
            link = links.get(attribute(blip, "embed") or attribute(blip, "link") or "")
            if link is not None:
                yield row, _number(begin, "col") + 1, package.picture(link)


def _row_of_anchor(anchor: Any, begin: Any, heights: Mapping[int, float]) -> int:
    """The row in which most of a picture lies; the first of several that are equal."""
    first, offset = _number(begin, "row") + 1, _number(begin, "rowOff") / _EMU
    end, extent = child_of(anchor, "to"), child_of(anchor, "ext")
    if end is not None:
        last, reach = _number(end, "row") + 1, _number(end, "rowOff") / _EMU
    else:
        size = int(attribute(extent, "cy") or 0) / _EMU if extent is not None else 0.0
        last, reach = first, offset + size
        while reach > heights.get(last, _USUAL_HEIGHT) and last - first < 1_000:
            reach -= heights.get(last, _USUAL_HEIGHT)
            last += 1
    best, most = first, -1.0
    for row in range(first, min(last, first + 1_000) + 1):
        height = heights.get(row, _USUAL_HEIGHT)
        top = min(offset, height) if row == first else 0.0
        bottom = min(reach, height) if row == last else height
        if bottom - top > most + 0.01:
            best, most = row, bottom - top
    return best


def _number(element: Any, name: str) -> int:
    found = child_of(element, name)
    text = "" if found is None else (found.text or "").strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


def _cell_pictures(
    package: OfficePackage, cells: Mapping[tuple[int, int], int]
) -> Iterator[tuple[int, int, bytes | str]]:
    """Pictures that Excel placed in cells: cell → metadata → rich value → relationship."""
    metadata = package.xml_or_none("xl/metadata.xml")
    values = package.xml_or_none("xl/richData/rdrichvalue.xml")
    relations_part = "xl/richData/richValueRel.xml"
    relations = package.xml_or_none(relations_part)
    if metadata is None or values is None or relations is None:
        return
    rich = [int(attribute(each, "i") or 0) for each in descendants(metadata, "rvb")]
    used = [
        int(attribute(record, "v") or 0)
        for group in descendants(metadata, "valueMetadata")
        for record in descendants(group, "rc")
    ]
    pictures = [
        next((each.text or "" for each in value if tag_of(each) == "v"), "")
        for value in descendants(values, "rv")
    ]
    identities = [attribute(each, "id") or "" for each in descendants(relations, "rel")]
    links = package.relationships(relations_part)
    for (row, column), number in cells.items():
        try:
            picture = int(pictures[rich[used[number - 1]]])
            link = links[identities[picture]]
        except (LookupError, ValueError):
            continue
        yield row, column, package.picture(link)


def _named_pictures(package: OfficePackage) -> dict[str, bytes | str]:
    """Pictures that WPS placed in cells, by the names in its formula DISPIMG."""
    part = "xl/cellimages.xml"
    root = package.xml_or_none(part) if part in package.archive else None
    if root is None:
        return {}
    links = package.relationships(part)
    found: dict[str, bytes | str] = {}
    for picture in descendants(root, "pic"):
        name = next((attribute(each, "name") for each in descendants(picture, "cNvPr")), None)
        blip = next(descendants(picture, "blip"), None)
        link = None if blip is None else links.get(attribute(blip, "embed") or "")
        if name and link is not None:
            found[name] = package.picture(link)
    return found
