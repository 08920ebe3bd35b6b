"""Books of EPUB 2 and 3, written here as their programs write them."""

import io
import zipfile
from pathlib import Path

import pytest
from web_documents import KILN, NAV, NCX, OPF, book_members, page

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.sections import ParsedDocument, Section


def read(tmp_path: Path, files: dict[str, str | bytes]) -> tuple[ParsedDocument, list[Section]]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    path = tmp_path / "book.epub"
    path.write_bytes(buffer.getvalue())
    reader = find_reader(".epub")
    assert reader is not None
    document = reader.read(path)
    return document, [one for one in document.sections if isinstance(one, Section)]


@pytest.mark.parametrize("version", [2, 3])
def test_a_book(tmp_path: Path, version: int) -> None:
    files = book_members()
    if version == 2:
        ncx = '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
        files = book_members(
            **{"OPS/book.opf": OPF.format(contents=ncx), "OPS/nav.xhtml": None, "OPS/toc.ncx": NCX}
        )
    document, sections = read(tmp_path, files)
    assert document.title == "On Kilns"
    assert document.metadata == {
        "author": ("Ada Potter", "Bo Clay"), "language": "en", "publisher": "Clay Press",
        "date": "1998",
    }  # fmt: skip
    kiln = KILN
    assert [(one.headings, one.text, one.images) for one in sections] == [
        ((), "", (kiln,)),
        (("Firing",), "Heat slowly.\n\nA kiln", (kiln,)),
        (("Firing", "Cones"), "They bend.", ()),
        (("Part II", "Glazes"), "Glass on clay.", ()),
        (("Part II", "Glazes"), "It goes on.", ()),
    ]


def test_one_file_with_several_chapters(tmp_path: Path) -> None:
    nav = NAV.replace('ch%202.xhtml"', 'one.xhtml#f"')
    both = page("<h1 id='f'>Firing</h1><p>Heat.</p><h1>Glazes</h1><p>Glass.</p>")
    _, sections = read(tmp_path, book_members(**{"OPS/nav.xhtml": nav, "OPS/text/one.xhtml": both}))
    found = {one.headings: one.text for one in sections}
    assert found[("Firing",)] in ("Heat.", "Heat slowly.\n\nA kiln")
    assert found[("Glazes",)] == "Glass."


def test_a_chapter_that_is_missing_costs_itself(tmp_path: Path) -> None:
    _, sections = read(tmp_path, book_members(**{"OPS/text/one.xhtml": None}))
    assert len(sections) == 4
    refused = [one for one in find_reader(".epub").read(tmp_path / "book.epub").sections  # type: ignore[union-attr]
               if isinstance(one, BadInput)]  # fmt: skip
    assert "'OPS/text/one.xhtml' is missing" in str(refused[0])


ENCRYPTION = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
    'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
    '<enc:EncryptionMethod Algorithm="{}"/></enc:EncryptedData></encryption>'
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"META-INF/rights.xml": "<r/>"}, "DRM of Adobe"),
        ({"META-INF/encryption.xml": ENCRYPTION.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")},
         "protected"),
        ({"META-INF/container.xml": None, "OPS/book.opf": None}, "no EPUB"),
        ({"OPS/book.opf": "<package/>"}, "no chapter"),
        ({"OPS/book.opf": '<!DOCTYPE p [<!ENTITY a "b">]><package/>'}, "DTD"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, changes: dict[str, str | bytes | None], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        read(tmp_path, book_members(**changes))


def test_fonts_may_be_obfuscated(tmp_path: Path) -> None:
    fonts = ENCRYPTION.format("http://www.idpf.org/2008/embedding")
    assert read(tmp_path, book_members(**{"META-INF/encryption.xml": fonts}))[1]
