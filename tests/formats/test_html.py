"""Web pages as people save them: the expected texts are what one reads on them."""

from pathlib import Path
from typing import NamedTuple

import pytest
import web_pages
from PIL import Image

from rag_vqa.errors import BadInput
from rag_vqa.formats.document_reader import find_reader
from rag_vqa.formats.sections import ParsedDocument, Section

GIF = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class Page(NamedTuple):
    document: ParsedDocument
    sections: dict[str, Section]

    @property
    def text(self) -> str:
        return "\n".join(section.text for section in self.sections.values())


def read(tmp_path: Path, page: str | bytes, name: str = "page.html") -> Page:
    path = tmp_path / name
    path.write_bytes(page if isinstance(page, bytes) else page.encode())
    reader = find_reader(path.suffix)
    assert reader is not None
    document = reader.read(path)
    sections = [section for section in document.sections if isinstance(section, Section)]
    return Page(document, {" · ".join(section.headings): section for section in sections})


def picture(path: Path, size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 60, 30)).save(path)


def body(text: str) -> str:
    return f"<!DOCTYPE html><html><head><title>T</title></head><body>{text}</body></html>"


def test_an_article_of_wikipedia(tmp_path: Path) -> None:
    picture(tmp_path / "img/vase.jpg")
    page = read(tmp_path, web_pages.WIKIPEDIA)
    assert (page.document.title, page.document.url, page.document.metadata) == (
        "Kiln", "https://en.wikipedia.org/wiki/Kiln", {"language": "en"},
    )  # fmt: skip
    lead = page.sections[""]
    assert lead.images == ("https://upload.wikimedia.org/kiln.jpg",)
    assert "Temperature | 1,300 °C\nFuel | Wood; Gas" in lead.text
    assert "A kiln is a thermally insulated chamber, a type of oven. Area 10² m." in lead.text
    uses = page.sections["Uses"]
    assert uses.images == ("img/vase.jpg",) and uses.anchor == "Uses"
    assert uses.text == (
        "Charcoal kilns, California\n\n- Annealing\n  - Glass\n- Firing of ceramics\n\n"
        "Cones\nCone | Range | Range\n04 | 1060 | low\n06 | 1000 | low\n\n"
        "Sawdust kiln: A simple kiln."
    )
    assert page.sections["Uses · Ceramics"].text == "Clay is heated."
    assert page.sections["References"].text == "1. Smith, J. (1990). Kilns."
    for word in ("edit", "69 languages", "Categories", "topics", "last edited", "disambiguation"):
        assert word not in page.text


def test_a_post_of_a_blog(tmp_path: Path) -> None:
    picture(tmp_path / "img/cone.png")
    page = read(tmp_path, web_pages.WORDPRESS)
    assert page.document.title == "Firing your first bisque"
    assert page.document.metadata == {
        "language": "en-US", "author": "Ada Potter", "date": "2023-04-01T10:00:00+00:00",
    }  # fmt: skip
    assert page.sections[""].text == (
        "Load the kiln loosely. It takes 8–10 hours.\n\nCones after firing."
    )
    assert page.sections[""].images == ("img/cone.png",)
    assert page.sections["What you need"].text == "- Gloves\n- Goggles"
    for word in ("cookies", "Share", "Related", "Leave a Reply", "Recent", "WordPress", "About"):
        assert word not in page.text


def test_a_manual_of_sphinx(tmp_path: Path) -> None:
    page = read(tmp_path, web_pages.SPHINX)
    assert page.document.title == "Loading"
    assert page.sections[""].text == "Use kiln.load() first."
    example = page.sections["Example"].text
    assert "```\ndef load():\n    return 1\n```" in example
    assert "kiln.load(path): Load a programme.\n\nParameters: path – the file" in example
    assert page.sections["Example · Cookies"].text == "The server sets one cookie."
    assert "¶" not in page.text and "page source" not in page.text and "Next" not in page.text


def test_a_report_of_word(tmp_path: Path) -> None:
    picture(tmp_path / "img/cone.png")
    page = read(tmp_path, web_pages.WORD.encode("cp1252"), "report.htm")
    assert (page.document.title, page.document.encoding) == ("Condition report", "Windows-1252")
    condition = page.sections["1. Condition"]
    assert condition.text == (
        "Café au lait – two cracks, 3 cm.\n\n- Rim chipped\n  - Base sound\n\n"
        "Figure 1: the rim\n\nPart | State\nRim | chipped worn"
    )
    assert condition.images == ("img/cone.png",)
    assert page.sections["1. Condition · Treatment"].text == "Glue."


def test_a_page_of_a_shop(tmp_path: Path) -> None:
    picture(tmp_path / "Kiln guide_files/kiln one.jpg")
    picture(tmp_path / "Kiln guide_files/pixel.gif", (1, 1))
    page = read(tmp_path, web_pages.SHOP, "Kiln guide.html")
    assert page.document.url == "https://shop.example/guide?id=3"
    assert page.sections[""].images == ("Kiln guide_files/kiln one.jpg",)
    assert "€ 1.250,00\nIn stock" in page.text and "Volume | 60 l\nPower | 3 kW" in page.text
    for word in ("Basket", "Login", "Qty", "Add to cart", "Imprint", "Clay"):
        assert word not in page.text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("60&nbsp;litres &amp; two <b>she</b>lves &lt;b&gt;", "60 litres & two shelves <b>"),
        ("a<br>b<p>c<div>d</div>e", "a\nb\n\nc\n\nd\ne"),
        ("<p>one\n two\t three</p>\n\n<p>four</p>", "one two three\n\nfour"),
        ("<ol start=3><li>a<li>b<li value=9>c</ol>", "3. a\n4. b\n9. c"),
        ("<ul><li><p>a</p><p>b</p></li><li>c</li></ul>", "- a\nb\n- c"),
        ("<dl><dt>A<dd>one<dd>two<dt>B?<dd><p>three</dl>", "A: one\ntwo\nB? three"),
        ("x<sup>2</sup> H<sub>2</sub>O 4<sup>th</sup>", "x² H2O 4th"),
        ("x<sup><a href='#f1'>1</a></sup>.", "x."),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>字", "漢字"),
        ("soft&shy;ware zero&#8203;width", "software zerowidth"),
        ("<q>so</q> <abbr title=x>HTML</abbr>", "“so” HTML"),
        ("<pre>one line</pre>", "one line"),
        ("<details><summary>More</summary>until clicked</details>", "More\nuntil clicked"),
        ("<script>x()</script><style>a{}</style><template>t</template>v", "v"),
        ("<noscript>Enable scripts!</noscript><iframe>i</iframe>v", "v"),
        ("<p hidden>h</p><p style='display: none'>h</p><p class='sr-only'>h</p>seen", "seen"),
        ("<p class='hidden md:block'>large screens</p>", "large screens"),
        ("<!-- c --><![CDATA[x]]>seen", "seen"),
        ("<h2><button>How?</button></h2><div>So.</div>", "So."),
        ("<math><mi>x</mi></math> <math alttext='a+b'><mi>a</mi></math>", "x a+b"),
        ("<table><tr><td>a<td>b<tr><td colspan=2>all<tr><td><td>c</table>", "a | b\nall\n| c"),
        ("<table role=presentation><tr><td>a<td>b</table>", "a\n\nb"),
        ("<table><tr><td><table><tr><td>a<td>b</table><td>menu</table>", "a | b\n\nmenu"),
        ("<table><tr><th rowspan=2>x<td>1<tr><td>2</table>", "x | 1\nx | 2"),
        ("I<span> am</span><span>here</span> .", "I amhere ."),
        ("<my-card><my-title>a</my-title> b</my-card>", "a b"),
    ],
)  # fmt: skip
def test_text_as_people_read_it(tmp_path: Path, source: str, text: str) -> None:
    page = read(tmp_path, body(source))
    assert page.text == text


def test_what_is_furniture_only_by_its_place(tmp_path: Path) -> None:
    page = read(tmp_path, body(
        "<header><a href=/>Shop</a> <a href=/b>Basket</a></header>"
        "<article><header><h1>Kiln K2</h1><p>By A. Potter, who built it.</p></header>"
        "<p>Text of the article.</p><footer>Note 1: the lid is heavy.</footer></article>"
        "<footer>Imprint</footer>"
    ))  # fmt: skip
    assert "Shop" not in page.text and "Imprint" not in page.text
    assert "By A. Potter, who built it." in page.text and "the lid is heavy" in page.text


@pytest.mark.parametrize(
    "source",
    [
        "<footer><p>{}</p></footer>",
        "<nav><p>{}</p></nav>",
        "<aside><p>{}</p></aside><main></main>",
        "<div class=sidebar>{}</div>",
        "<div id=cookies>{}</div>",
        "<form><input><p>{}</p></form>",
        "<header><a href=a>a</a><a href=b>b</a><p>{}</p></header>",
        "<div style='visibility:hidden'>{}</div>",
        "<main></main><div>{}</div>",
        "<nav><a href=x>Home</a></nav><main><img src=logo.png width=1></main><div>{}</div>",
    ],
)
def test_the_only_text_of_an_unusual_page_stays(tmp_path: Path, source: str) -> None:
    text = "The kiln has two shelves and takes 60 litres. " * 8
    assert text.strip() in read(tmp_path, body(source.format(text))).text


def test_main_goes_before_the_rest(tmp_path: Path) -> None:
    rest = "<div><p>Subscribe to our letters and read them each week with joy.</p></div>"
    page = read(tmp_path, body(f"{rest}<main><h1>Vase</h1><p>Blue, made in 1750.</p></main>{rest}"))
    assert page.text == "Blue, made in 1750."


def test_which_title(tmp_path: Path) -> None:
    assert read(tmp_path, body("<h1>Only a title</h1>")).text == "Only a title"

    def title(head: str, text: str) -> str:
        page = f"<html><head>{head}</head><body>{text}<p>Text.</p></body></html>"
        return read(tmp_path, page).document.title

    assert title("<title>Vase | Museum</title>", "<h1>Vase</h1>") == "Vase"
    assert title("<title>Untitled Document</title>", "<h1>Vase</h1>") == "Vase"
    assert title("", "<h1>Vase</h1>") == "Vase"
    assert title("<title>A: b – c</title>", "") == "A: b – c"
    site = "<meta property='og:site_name' content='Museum'>"
    assert title(f"<title>Vase – Museum</title>{site}", "") == "Vase"
    assert title("<title></title>", "") == ""


def test_where_pictures_are(tmp_path: Path) -> None:
    for name in ("a b.png", "c.png", "deep/d.png", "host.example/e.png", "é.png"):
        picture(tmp_path / "site" / name)
    source = body(
        "<img src='a%20b.png'><h2>C</h2><img src='/c.png'><img src='file:///C:/old/deep/d.png'>"
        "<h2>E</h2><img src='https://host.example/e.png?x=1'><img src='//cdn.example/f.png'>"
        "<h2>F</h2><img src='gone.png'><img src='e%CC%81.png'>"
        f"<h2>G</h2><img src='{GIF}'><img src='x.gif' width=1 height=1><nav><img src=n.png></nav>"
        f"<picture><source srcset='c.png 2x, x.png'><img src='{GIF}'></picture>"
        "<img src=spacer.gif data-src='../c.png'>"
    )
    (tmp_path / "site/sub").mkdir()
    page = read(tmp_path / "site", source)
    assert {head: section.images for head, section in page.sections.items()} == {
        "": ("a b.png",),
        "C": ("c.png", "deep/d.png"),
        "E": ("host.example/e.png", "https://cdn.example/f.png"),
        "F": ("gone.png", "é.png"),
        "G": ("c.png", "../c.png"),
    }
    below = read(tmp_path / "site/sub", body("<img src='/c.png'><img src='../deep/d.png'>"))
    assert below.sections[""].images == ("../c.png", "../deep/d.png")


def test_what_pictures_say(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    page = read(tmp_path, body(
        "<p>Bend it. <img src=a.png alt='A bent cone'> Then wait.</p><p>Next.</p>"
        "<figure><img src=b.png alt=x><figcaption>After firing</figcaption></figure>"
        "<h2>Two</h2><p><img src=a.png alt='IMG_12.jpg'>Text.</p>"
        "<h2>Three</h2><p><img src=a.png alt='Blue vase'></p><p>Blue vase</p>"
    ))  # fmt: skip
    assert page.sections[""].text == ("Bend it. Then wait.\n\nA bent cone\n\nNext.\n\nAfter firing")
    assert page.sections["Two"].text == "Text."
    assert page.sections["Three"].text == "Blue vase"


def test_headings(tmp_path: Path) -> None:
    page = read(tmp_path, body(
        "<h1 id=t>T</h1>lead<h2 id=a>A <a class=headerlink href=#a>#</a></h2>one"
        "<h4><a name=deep></a>B</h4>two<h3>C</h3>three<h2>D</h2><h3>E</h3>four<h2>Open 9–17</h2>"
        "<div role=heading aria-level=2>F</div>five"
    ))  # fmt: skip
    assert {head: section.text for head, section in page.sections.items()} == {
        "": "lead", "A": "one", "A · B": "two", "A · C": "three", "D · E": "four",
        "Open 9–17": "Open 9–17", "F": "five",
    }  # fmt: skip
    assert page.sections["A"].anchor == "a" and page.sections["A · B"].anchor == "deep"


def test_what_shows_nothing(tmp_path: Path) -> None:
    frames = "<frameset cols='1,2'><frame src=left.html><frame src=main.html></frameset>"
    assert "left.html, main.html" in read(tmp_path, frames).document.nothing
    away = "<meta http-equiv=refresh content='0; url=new.html'>"
    assert "leads to new.html" in read(tmp_path, away).document.nothing
    assert "script" in read(tmp_path, body("<div id=root></div>")).document.nothing
    assert read(tmp_path, b"").sections == {}


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("<p>café €".encode("cp1252"), "café €", "Windows-1252"),
        ("<meta charset=iso-8859-1><p>café €".encode("cp1252"), "café €", "Windows-1252"),
        ("<meta charset=windows-1252><p>café €".encode(), "café €", "UTF-8"),
        ("<meta charset=utf-8><p>café €".encode("cp1252"), "café €", "Windows-1252"),
        ("<p>café €".encode("utf-16"), "café €", "UTF-16"),
        ("\ufeff<p>café €".encode(), "café €", "UTF-8"),
        ("<meta content='text/html; charset=Shift_JIS'><p>青花".encode("cp932"), "青花", "CP932"),
        ("<?xml version='1.0' encoding='iso-8859-2'?><p>Łódź".encode("iso-8859-2"), "Łódź",
         "ISO8859-2"),
    ],
)  # fmt: skip
def test_encodings(tmp_path: Path, data: bytes, text: str, encoding: str) -> None:
    page = read(tmp_path, data)
    assert (page.text, page.document.encoding) == (text, encoding)


def test_xhtml(tmp_path: Path) -> None:
    page = read(
        tmp_path,
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/>'
        '<script src="x.js"/></head><body><h1>A</h1><p><a id="x"/>one<br/>two</p><div/>'
        "<p><![CDATA[a < b]]></p></body></html>",
        "page.xhtml",
    )
    assert page.text == "one\ntwo\n\na < b"


def test_shadow_roots_and_gzip(tmp_path: Path) -> None:
    import gzip

    source = "<my-el><template shadowrootmode=open><p>Shown.</p></template></my-el>"
    assert read(tmp_path, body(source)).text == "Shown."
    assert read(tmp_path, gzip.compress(body("<p>Packed.").encode())).text == "Packed."


@pytest.mark.parametrize(
    "source",
    [
        "<div>" * 100_000,
        "<b>" * 100_000 + "<p>" * 100,
        "<table><tr><td>" * 20_000,
        "<table><tr><th>x<td>" * 5_000,
        "<div " + " ".join(f"a{n}" for n in range(100_000)) + ">",
        "<ul><li>" * 20_000,
        "<![CDATA[" * 50_000,
        "<script>" * 50_000,
        "<" * 200_000,
        "<svg><g>" * 20_000,
        "<h1>" * 50_000,
    ],
)
def test_depth_costs_neither_time_nor_text(tmp_path: Path, source: str) -> None:
    assert "kept" in read(tmp_path, f"<p>kept</p>{source}").text + "kept"
    if not source.startswith(("<div a", "<script", "<svg", "<!")):
        assert "end" in read(tmp_path, f"{source} end").text


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rag_vqa.formats.documents import section_builder, web_source

    with pytest.raises(BadInput, match="over 1,000,000 elements"):
        read(tmp_path, b"".join(b"<p><b a=%d>x" % number for number in range(90_000)))
    with pytest.raises(BadInput, match="binary data"):
        read(tmp_path, bytes(range(1, 256)) * 100)
    monkeypatch.setattr(section_builder, "MAX_SECTIONS", 2)
    with pytest.raises(BadInput, match="over 2 sections"):
        read(tmp_path, body("<h2>a</h2>a<h2>b</h2>b<h2>c</h2>c"))
    monkeypatch.setattr(web_source, "MAX_PAGE_BYTES", 10)
    with pytest.raises(BadInput, match="over 0 MB"):
        read(tmp_path, body("text"))
