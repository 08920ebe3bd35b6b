"""Books of EPUB 2 and 3, written here as their programs write them."""

import io
import zipfile
from pathlib import Path

import pytest
from picture_files import file, noise

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.sections import ParsedDocument, Section

KILN = file(noise(64, 48), "PNG")
CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
)
OPF = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>On Kilns</dc:title>
<dc:creator>Ada Potter</dc:creator><dc:creator>Bo Clay</dc:creator><dc:language>en</dc:language>
<dc:publisher>Clay Press</dc:publisher><dc:date>1998</dc:date></metadata>
<manifest><item id="c" href="cover.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="two" href="text/ch%202.xhtml" media-type="application/xhtml+xml"/>
<item id="rest" href="text/rest.xhtml" media-type="application/xhtml+xml"/>
{contents}<item id="p" href="img/kiln.png" media-type="image/png"/></manifest>
<spine toc="ncx"><itemref idref="c"/><itemref idref="two"/><itemref idref="one"/>
<itemref idref="rest"/><itemref idref="nav"/></spine></package>"""
NAV = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>
<nav epub:type="toc"><ol><li><a href="text/ch%202.xhtml">Firing</a></li><li><span>Part II</span><ol>
<li><a href="text/one.xhtml">Glazes</a></li></ol></li></ol></nav></body></html>"""
NCX = """<?xml version="1.0"?><!DOCTYPE ncx PUBLIC "-//NISO//DTD ncx 2005-1//EN"
"http://www.daisy.org/z3986/2005/ncx-2005-1.dtd"><ncx xmlns="http://www.daisy.org/z3986/2005/ncx/">
<navMap><navPoint id="a"><navLabel><text>Firing</text></navLabel><content src="text/ch%202.xhtml"/>
</navPoint><navPoint id="b"><navLabel><text>Part II</text></navLabel><content src="x.xhtml"/>
<navPoint id="d"><navLabel><text>Glazes</text></navLabel>
<content src="text/one.xhtml#g"/></navPoint>
</navPoint></navMap></ncx>"""


def page(body: str) -> str:
    head = "<head><title/></head>"
    start = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">'
    return f"{start}{head}<body>{body}</body></html>"


def members(**changes: str | bytes | None) -> dict[str, str | bytes]:
    contents = (
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    )
    found: dict[str, str | bytes | None] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OPS/book.opf": OPF.format(contents=contents),
        "OPS/nav.xhtml": NAV,
        "OPS/cover.xhtml": page(
            '<svg xmlns:xlink="http://www.w3.org/1999/xlink">'
            '<image xlink:href="img/kiln.png"/></svg>'
        ),
        "OPS/text/ch 2.xhtml": page(
            '<h1>Firing</h1><p>Heat <a id="x"/>slowly.</p><img src="../img/kiln.png" alt="A kiln"/>'
            "<h2>Cones</h2><p>They bend.</p>"
        ),
        "OPS/text/one.xhtml": page("<p>Glass on clay.</p>"),
        "OPS/text/rest.xhtml": page("<p>It goes on.</p>"),
        "OPS/img/kiln.png": KILN,
        **changes,
    }
    return {name: data for name, data in found.items() if data is not None}


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
    files = members()
    if version == 2:
        ncx = '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
        files = members(
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
    _, sections = read(tmp_path, members(**{"OPS/nav.xhtml": nav, "OPS/text/one.xhtml": both}))
    found = {one.headings: one.text for one in sections}
    assert found[("Firing",)] in ("Heat.", "Heat slowly.\n\nA kiln")
    assert found[("Glazes",)] == "Glass."


def test_a_chapter_that_is_missing_costs_itself(tmp_path: Path) -> None:
    _, sections = read(tmp_path, members(**{"OPS/text/one.xhtml": None}))
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
        read(tmp_path, members(**changes))


def test_fonts_may_be_obfuscated(tmp_path: Path) -> None:
    fonts = ENCRYPTION.format("http://www.idpf.org/2008/embedding")
    assert read(tmp_path, members(**{"META-INF/encryption.xml": fonts}))[1]
