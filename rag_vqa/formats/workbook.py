"""Excel workbooks: their sheets, and cells as people see them, read by openpyxl row by row.

Knows formats of numbers and dates, and how to mend a workbook whose styles or properties openpyxl
refuses. Does not know headers or fields (xlsx.py), nor what lies beside the cells (sheet_parts.py).

A number is what Excel shows: whole without ".0", with 15 digits, with leading zeros if the format
has them. A date without a time is a date. A cell with an error (#N/A) is empty.
"""

from __future__ import annotations

import datetime
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, Self

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.documents.office_package import OfficePackage
from rag_vqa.formatting import quote_value

MAX_SHEET_BYTES: Final = 2 * 2**30  # unpacked: about ten million cells
MAX_STRINGS_BYTES: Final = 256 * 2**20  # of the table of texts, which lies in memory
_BLOCK: Final = 2**20
# Whatever a damaged file may make openpyxl raise.
_DAMAGE: Final = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_STRICT: Final = (  # the names of ISO's strict form, and those that openpyxl knows
    (b"http://purl.oclc.org/ooxml/spreadsheetml/main",
     b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"),
    (b"http://purl.oclc.org/ooxml/officeDocument/relationships",
     b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"),
)  # fmt: skip
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_ESCAPED: Final = re.compile(r"_x(00[01][0-9A-Fa-f])_")
_BRACKETS: Final = re.compile(r"\[[^\]]*\]")  # a colour, a language
_LITERAL: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
# Two zeros or more, with literals around them: 00000, "INV-"0000, 000-00-0000.
_ZEROS: Final = re.compile(r'(?:"[^"]*"|\\.|_.|[- ()]|0)*')
_PIECE: Final = re.compile(r'"([^"]*)"|\\(.)|_.|(0)|(.)')


class Workbook:
    """A workbook that is open for reading. `with` closes it.

    Attributes:
        package: its parts, for what openpyxl does not read.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            Missing: openpyxl is not installed.
            BadInput: no workbook, encrypted, damaged, or over a limit.
        """
        if find_spec("openpyxl") is None:
            raise Missing(
                "openpyxl is not installed: .xlsx cannot be read. "
                "Install it: pip install 'rag-vqa[documents]'"
            )
        with ExitStack() as files:
            self.package = files.enter_context(OfficePackage(path, "xl/", "an Excel workbook"))
            self._check_sizes()
            # openpyxl would refuse a workbook that is called .xls.
            self._book = self._open(files.enter_context(path.open("rb")))
            files.callback(self._book.close)
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its files."""
        self._files.close()

    def sheet_parts(self) -> dict[str, str]:
        """The part of each sheet of cells by the sheet's name, visible sheets first."""
        links = self.package.relationships(self.package.main_part)
        found: list[tuple[bool, str, str]] = []
        for sheet in self.package.xml(self.package.main_part).iter("{*}sheet"):
            identity = next((v for k, v in sheet.attrib.items() if k.endswith("}id")), "")
            link = links.get(identity)
            if link is not None and link.kind == "worksheet":
                is_hidden = sheet.get("state", "visible") != "visible"
                found.append((is_hidden, sheet.get("name", ""), link.target))
        return {name: part for _, name, part in sorted(found, key=lambda one: one[0])}

    def hidden_sheets(self) -> frozenset[str]:
        """Names of the sheets that Excel does not show."""
        root = self.package.xml(self.package.main_part)
        return frozenset(
            sheet.get("name", "")
            for sheet in root.iter("{*}sheet")
            if sheet.get("state", "visible") != "visible"
        )

    def rows(self, sheet: str) -> Iterator[list[Any]]:
        """The rows of a sheet from its first, each with its cells from the first column.

        Raises:
            BadInput: the sheet is damaged; rows before the damage were given out.
        """
        with _translate_damage(f"the sheet {quote_value(sheet)}"):
            cells = self._book[sheet]
            cells.reset_dimensions()  # those that are written are often wrong
            for row in cells.iter_rows():
                yield [cell_value(cell) for cell in row]

    def _check_sizes(self) -> None:
        """
        Raises:
            BadInput: a part is too large, or declares a DTD, which could repeat itself without end.
        """
        archive = self.package.archive
        for part in archive.names():
            if not part.lower().endswith((".xml", ".rels")):
                continue
            size = archive.size(part)
            is_sheet = part.lower().startswith("xl/worksheets/")
            limit = MAX_SHEET_BYTES if is_sheet else MAX_STRINGS_BYTES
            if size > limit:
                raise BadInput(f"its part {quote_value(part)} is over {limit // 2**20} MB.")
            with archive.open(part) as stream, suppress(*_DAMAGE):
                if b"<!DOCTYPE" in stream.read(1024):
                    raise _WithDtd(f"its part {quote_value(part)} declares a DTD: that is refused.")

    def _open(self, file: IO[bytes]) -> Any:
        import openpyxl

        with _translate_damage("the workbook"):
            parts = self.sheet_parts()
            try:
                return _load(openpyxl, file, parts)
            except _DAMAGE:
                return _load(openpyxl, _mend(self.package, parts), parts)


class _WithDtd(BadInput):
    """A part declares a DTD."""


def cell_value(cell: Any) -> Any:
    """What a cell shows: text, number, truth, date, time; None if it is empty or an error."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return None
    if isinstance(value, str):
        if value.startswith("#") and value in _errors():
            return None
        return _ESCAPED.sub(_unescape, value).replace("\r\n", "\n") if "_x" in value else value
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number_as_shown(value, _number_format(cell))
    if isinstance(value, datetime.datetime):
        return _date_as_shown(value, _number_format(cell))
    return value


def _number_format(cell: Any) -> str:
    try:
        return cell.number_format or "General"
    except IndexError:  # a style that the workbook does not have
        return "General"


def number_as_shown(value: int | float, number_format: str) -> int | float | str:
    """A number of a cell. It is a text if its format writes leading zeros.

    >>> number_as_shown(3.0, "General"), number_as_shown(2134, "00000")
    (3, '02134')
    >>> number_as_shown(0.1 + 0.2, "0.00"), number_as_shown(42, '"INV-"0000')
    (0.3, 'INV-0042')
    """
    if isinstance(value, float):
        rounded = float(f"{value:.15g}")  # as many digits as Excel keeps
        value = int(rounded) if rounded.is_integer() and abs(rounded) < 2**63 else rounded
    if isinstance(value, int) and value >= 0 and "00" in number_format:
        pattern = _BRACKETS.sub("", number_format.partition(";")[0])
        if _ZEROS.fullmatch(pattern):
            return _fill_zeros(pattern, value)
    return value


def _fill_zeros(pattern: str, value: int) -> str:
    """The number in a pattern of zeros and literals; further digits stand before the first."""
    pieces = _PIECE.findall(pattern)
    zeros = sum(bool(zero) for _, _, zero, _ in pieces)
    digits = str(value).zfill(zeros)
    at = len(digits) - zeros
    shown = []
    for number, (quoted, escaped, zero, other) in enumerate(pieces):
        if not zero:
            shown.append(quoted or escaped or other)
            continue
        is_first = not any(before[2] for before in pieces[:number])
        shown.append(digits[: at + 1] if is_first else digits[at])
        at += 1
    return "".join(shown).strip()


def _date_as_shown(value: datetime.datetime, number_format: str) -> datetime.date | datetime.time:
    """A date if the format shows no time, a time if it shows no date."""
    plain = _LITERAL.sub("", number_format.partition(";")[0]).lower()
    has_time = "h" in plain or "s" in plain
    if not has_time:
        return value.date()
    return value if "d" in plain or "y" in plain else value.time()


def _errors() -> Sequence[str]:
    return ("#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#SPILL!")


def _unescape(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


@contextmanager
def _translate_damage(what: str) -> Iterator[None]:
    """Turn whatever openpyxl raises about a damaged file into BadInput."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about what it does not support, and dates out of range
            yield
    except _DAMAGE as error:
        why = quote_value(f"{type(error).__name__}: {error}", 120)
        raise BadInput(f"{what} is damaged ({why}): open it in Excel and save it again.") from error


def _load(openpyxl: Any, file: IO[bytes], parts: Iterable[str]) -> Any:
    book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    if not set(parts) <= set(book.sheetnames):
        raise ValueError("its sheets are not found")
    return book


def _mend(package: OfficePackage, sheets: dict[str, str]) -> io.BytesIO:
    """The workbook with nothing but its cells, their texts and their formats of numbers."""
    files = [f"worksheets/sheet{number}.xml" for number in range(1, len(sheets) + 1)]
    parts = {
        "[Content_Types].xml": _content_types(sheets),
        "_rels/.rels": _relations([("officeDocument", "xl/workbook.xml")]),
        "xl/workbook.xml": _workbook_xml(package, list(sheets)),
        "xl/_rels/workbook.xml.rels": _relations([
            *(("worksheet", file) for file in files),
            ("styles", "styles.xml"), ("sharedStrings", "sharedStrings.xml"),
        ]),
        "xl/styles.xml": _styles_xml(package),
    }  # fmt: skip
    texts = package.related_part(package.main_part, "sharedStrings")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
        for file, part in zip(files, sheets.values(), strict=True):
            _copy_part(package, part, archive, f"xl/{file}")
        if texts is None:
            archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{_MAIN}"/>')
        else:
            _copy_part(package, texts, archive, "xl/sharedStrings.xml")
    buffer.seek(0)
    return buffer


def _copy_part(package: OfficePackage, part: str, archive: zipfile.ZipFile, name: str) -> None:
    with package.archive.open(part) as stream, archive.open(name, "w") as copy:
        block = stream.read(_BLOCK)
        for strict, usual in _STRICT:  # the names are declared at the beginning
            block = block.replace(strict, usual)
        while block:
            copy.write(block)
            block = stream.read(_BLOCK)


def _content_types(sheets: Sequence[str] | dict[str, str]) -> str:
    base = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    named = [("workbook", "sheet.main"), ("styles", "styles"), ("sharedStrings", "sharedStrings")]
    named += [(f"worksheets/sheet{number}", "worksheet") for number in range(1, len(sheets) + 1)]
    overrides = "".join(
        f'<Override PartName="/xl/{name}.xml" ContentType="{base}.{kind}+xml"/>'
        for name, kind in named
    )
    return (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    base = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{base}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{links}</Relationships>'


def _workbook_xml(package: OfficePackage, names: Sequence[str]) -> str:
    from xml.sax.saxutils import quoteattr

    properties = next(package.xml(package.main_part).iter("{*}workbookPr"), None)
    counts_from_1904 = properties is not None and properties.get("date1904") in ("1", "true")
    space = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    sheets = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{number}" r:id="rId{number}"/>'
        for number, name in enumerate(names, 1)
    )
    return (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{space}">'
        f'<workbookPr date1904="{int(counts_from_1904)}"/><sheets>{sheets}</sheets></workbook>'
    )


def _styles_xml(package: OfficePackage) -> str:
    """The formats of numbers alone."""
    from xml.sax.saxutils import quoteattr

    part = package.related_part(package.main_part, "styles")
    root = None if part is None else package.xml_or_none(part)
    formats = cells = ""
    if root is not None:
        formats = "".join(
            f'<numFmt numFmtId="{each.get("numFmtId")}" '
            f"formatCode={quoteattr(each.get('formatCode'))}/>"
            for each in root.iter("{*}numFmt")
            if (each.get("numFmtId") or "").isdecimal() and each.get("formatCode")
        )
        for group in root.iter("{*}cellXfs"):
            numbers = ((each.get("numFmtId") or "0") for each in group.iter("{*}xf"))
            cells = "".join(
                f'<xf numFmtId="{number if number.isdecimal() else 0}"/>' for number in numbers
            )
    cells = cells or '<xf numFmtId="0"/>'
    return (
        f'<styleSheet xmlns="{_MAIN}"><numFmts>{formats}</numFmts><fonts><font/></fonts>'
        "<fills><fill><patternFill/></fill></fills><borders><border/></borders>"
        f"<cellStyleXfs><xf/></cellStyleXfs><cellXfs>{cells}</cellXfs></styleSheet>"
    )
