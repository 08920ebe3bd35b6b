"""A book, an archived page and a note with front matter, as programs write them."""

from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from picture_files import file, noise

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
OTHER = file(noise(32, 48), "PNG")
ARCHIVED_PAGE = (
    "<html><head><title>Vase – Museum</title></head><body><h1>Vase</h1><p>Bläue.</p>"
    "<h2>Foot</h2><img src='img/a%20b.png'><img src='cid:two@x'><img src='gone.png'></body></html>"
)
FRONT = """---
title: "A vase: blue"
url: https://example.org/vase
year: 1750
inv: 007
code: "12"
tags:
  - china
  - 'blue'
alias: [a, "b, c"]
note: |
  Two
  lines.
long: >
  Folded
  lines.
maker: O'Neill # the younger
# a comment
empty:
---

# A heading that stays

Text.
"""


def page(body: str) -> str:
    head = "<head><title/></head>"
    start = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">'
    return f"{start}{head}<body>{body}</body></html>"


def book_members(**changes: str | bytes | None) -> dict[str, str | bytes]:
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


def web_archive(encoding: str) -> bytes:
    message = MIMEMultipart("related")
    message["Snapshot-Content-Location"] = "https://museum.example/vase?id=1"
    page = MIMEText(ARCHIVED_PAGE, "html", encoding)
    page["Content-Location"] = "https://museum.example/vase?id=1"
    message.attach(page)
    first = MIMEImage(KILN)
    first["Content-Location"] = "https://museum.example/img/a%20b.png"
    second = MIMEImage(OTHER)
    second["Content-ID"] = "<two@x>"
    message.attach(first)
    message.attach(second)
    return message.as_bytes()
