"""PDF files written by hand: pages of text at places, pictures, rules, bookmarks and tags."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

A4 = (595, 842)
WIDTH = 0.5  # of a letter of Helvetica, roughly, times its size


@dataclass
class Page:
    """A page that is drawn step by step; y grows upwards."""

    size: tuple[float, float] = A4
    rotate: int = 0
    parts: list[bytes] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 11,
        turn: str = "1 0 0 1",
        font: str = "F1",
    ) -> Page:
        """One line of text: F1 is Helvetica, F2 Courier."""
        encoded = text.encode("cp1252").hex()
        self.parts.append(f"BT /{font} {size} Tf {turn} {x} {y} Tm <{encoded}> Tj ET\n".encode())
        return self

    def lines(
        self, x: float, y: float, lines: Sequence[str], size: float = 11, lead: float = 13
    ) -> Page:
        """Lines below one another."""
        for number, line in enumerate(lines):
            self.text(x, y - number * lead, line, size)
        return self

    def image(
        self, x: float, y: float, width: float, height: float, picture: Image.Image, extra: str = ""
    ) -> Page:
        """A picture; `extra` are entries of its dictionary."""
        data = zlib.compress(picture.convert("RGB").tobytes())
        head = (
            f"<</Type/XObject/Subtype/Image/Width {picture.width}/Height {picture.height}"
            f"/ColorSpace/DeviceRGB/BitsPerComponent 8/Filter/FlateDecode/Length {len(data)}"
            f"{extra}>>"
        )
        self.images.append(head.encode() + b"\nstream\n" + data + b"\nendstream")
        self.parts.append(
            f"q {width} 0 0 {height} {x} {y} cm /Im{len(self.images)} Do Q\n".encode()
        )
        return self

    def rule(self, x: float, y: float, x2: float, y2: float) -> Page:
        """A thin line."""
        self.parts.append(f"0.5 w {x} {y} m {x2} {y2} l S\n".encode())
        return self

    def grid(self, xs: Sequence[float], ys: Sequence[float]) -> Page:
        """The rules of a table."""
        for x in xs:
            self.rule(x, min(ys), x, max(ys))
        for y in ys:
            self.rule(min(xs), y, max(xs), y)
        return self

    def draw(self, operators: str) -> Page:
        """Any content."""
        self.parts.append(operators.encode() + b"\n")
        return self


@dataclass(frozen=True)
class Mark:
    """A bookmark: to a page from 0, at a height, with marks below it."""

    title: str
    page: int
    y: float | None = None
    below: tuple[Mark, ...] = ()


class PdfFile:
    """Objects by number, written with a table of their places."""

    def __init__(self) -> None:
        self.objects: list[bytes] = [b"", b""]  # catalog and pages come last

    def add(self, content: bytes | str) -> int:
        self.objects.append(content.encode() if isinstance(content, str) else content)
        return len(self.objects)

    def write(self, trailer: str = "", header: bytes = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n") -> bytes:
        data, places = bytearray(header), []
        for number, content in enumerate(self.objects, 1):
            places.append(len(data))
            data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
        start = len(data)
        data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
        data += b"".join(b"%010d 00000 n \n" % place for place in places)
        data += f"trailer\n<</Size {len(places) + 1}/Root 1 0 R{trailer}>>\n".encode()
        return bytes(data + b"startxref\n%d\n%%%%EOF\n" % start)


def make_pdf(
    pages: Sequence[Page], marks: Sequence[Mark] = (), info: dict[str, str] | None = None,
    catalog: str = "", compress: bool = False,
) -> bytes:  # fmt: skip
    """A PDF file of pages.

    Args:
        info: its properties, such as Title and Author.
        catalog: more entries of the catalog.
    """
    file = PdfFile()
    font = file.add("<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    courier = file.add("<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>")
    numbers = []
    for page in pages:
        images = [file.add(image) for image in page.images]
        content = b"".join(page.parts)
        coded = zlib.compress(content) if compress else content
        how = "/Filter/FlateDecode" if compress else ""
        stream = file.add(
            f"<</Length {len(coded)}{how}>>\nstream\n".encode() + coded + b"\nendstream"
        )
        names = "".join(f"/Im{n} {image} 0 R" for n, image in enumerate(images, 1))
        notes = "".join(f"{file.add(note)} 0 R " for note in page.annotations)
        numbers.append(
            file.add(
                f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {page.size[0]} {page.size[1]}]"
                f"/Rotate {page.rotate}/Contents {stream} 0 R/Annots[{notes}]"
                f"/Resources<</Font<</F1 {font} 0 R/F2 {courier} 0 R>>/XObject<<{names}>>>>>>"
            )
        )
    kids = " ".join(f"{number} 0 R" for number in numbers)
    file.objects[1] = f"<</Type/Pages/Kids[{kids}]/Count {len(numbers)}>>".encode()
    outline = f"/Outlines {_add_outline(file, marks, numbers)} 0 R" if marks else ""
    file.objects[0] = f"<</Type/Catalog/Pages 2 0 R{outline}{catalog}>>".encode()
    entries = "".join(f"/{name}{_string(value)}" for name, value in (info or {}).items())
    return file.write(f"/Info {file.add(f'<<{entries}>>')} 0 R" if entries else "")


def _string(text: str) -> str:
    return f"<feff{text.encode('utf-16-be').hex()}>"


def _add_outline(file: PdfFile, marks: Sequence[Mark], pages: Sequence[int]) -> int:
    root = file.add("")

    def add(marks: Sequence[Mark], parent: int) -> tuple[int, int]:
        numbers = [file.add("") for _ in marks]
        for at, (mark, number) in enumerate(zip(marks, numbers, strict=True)):
            place = "/Fit" if mark.y is None else f"/XYZ 0 {mark.y} 0"
            entry = f"/Title{_string(mark.title)}/Parent {parent} 0 R"
            entry += f"/Dest[{pages[mark.page]} 0 R{place}]"
            entry += f"/Prev {numbers[at - 1]} 0 R" if at else ""
            entry += f"/Next {numbers[at + 1]} 0 R" if at + 1 < len(numbers) else ""
            if mark.below:
                first, last = add(mark.below, number)
                entry += f"/First {first} 0 R/Last {last} 0 R/Count {len(mark.below)}"
            file.objects[number - 1] = f"<<{entry}>>".encode()
        return numbers[0], numbers[-1]

    first, last = add(marks, root)
    file.objects[root - 1] = f"<</Type/Outlines/First {first} 0 R/Last {last} 0 R>>".encode()
    return root


def tagged_pdf(blocks: Sequence[tuple[str, Sequence[tuple[float, float, str]]]]) -> bytes:
    """A page with tags: (type of the element, its pieces of text at places)."""
    file = PdfFile()
    font = file.add("<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    parts, elements, tree = [], [], file.add("")
    page = file.add("")
    top = file.add("")
    for number, (kind, pieces) in enumerate(blocks):
        head = "/Artifact BMC" if kind == "Artifact" else f"/{kind} <</MCID {number}>> BDC"
        parts.append(head)
        for x, y, text in pieces:
            parts.append(f"BT /F1 11 Tf {x} {y} Td ({text}) Tj ET")
        parts.append("EMC")
        if kind != "Artifact":
            elements.append(
                file.add(f"<</Type/StructElem/S/{kind}/P {top} 0 R/Pg {page} 0 R/K {number}>>")
            )
    content = "\n".join(parts).encode()
    stream = file.add(f"<</Length {len(content)}>>\nstream\n".encode() + content + b"\nendstream")
    kids = " ".join(f"{element} 0 R" for element in elements)
    file.objects[top - 1] = f"<</Type/StructElem/S/Document/P {tree} 0 R/K[{kids}]>>".encode()
    index = iter(elements)
    entries = " ".join("null" if kind == "Artifact" else f"{next(index)} 0 R" for kind, _ in blocks)
    parents = file.add(f"<</Nums[0 [{entries}]]>>")
    file.objects[tree - 1] = (
        f"<</Type/StructTreeRoot/K {top} 0 R/ParentTree {parents} 0 R/ParentTreeNextKey 1>>"
    ).encode()
    file.objects[page - 1] = (
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {stream} 0 R/StructParents 0"
        f"/Resources<</Font<</F1 {font} 0 R>>>>>>"
    ).encode()
    file.objects[1] = f"<</Type/Pages/Kids[{page} 0 R]/Count 1>>".encode()
    file.objects[0] = (
        f"<</Type/Catalog/Pages 2 0 R/MarkInfo<</Marked true>>/StructTreeRoot {tree} 0 R/Lang(en)>>"
    ).encode()
    return file.write()
