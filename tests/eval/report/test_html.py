"""The page of a run whose questions, answers and documents want to be more than text."""

import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.errors import Missing
from rag_vqa.eval.report import html, plots
from rag_vqa.eval.report.html import write_report
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.spec import Cell
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Example, Query

Make = Callable[..., Path]
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>"
    "{{ 7*7 }}{% raw %}\u202e$\\frac{1}{0}$ http://evil.example/a.js"
)


class Page(HTMLParser):
    """Elements with their attributes, and all text outside of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data

    def of(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


@pytest.fixture
def hostile(birds: Path, encoder: Any, finished: Make, tmp_path: Path) -> Path:
    """A run in which everything that comes from others is HOSTILE."""
    with KnowledgeBase.open(birds, encoder) as kb:
        kb.add([{"id": f"evil {HOSTILE}", "title": HOSTILE, "text": f"hostile words {HOSTILE}"}])
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010E] = "secret place"  # ImageDescription
    Image.new("RGB", (900, 600), "teal").save(photo, exif=exif)
    rows = [
        Example(
            f"q {HOSTILE}",
            Query(f"hostile words {HOSTILE}", str(photo)),
            (HOSTILE,),
            (f"evil {HOSTILE}",),
            kind=HOSTILE,
            split=HOSTILE,
        )
    ]
    cells = [Cell("none", 0, "closed-book"), Cell("retrieved", 2, "short")]
    return finished(rows=rows, cells=cells, script={"hostile": f"answer {HOSTILE}"}, name=HOSTILE)


def test_nothing_of_others_becomes_an_element(hostile: Path) -> None:
    page = Page(write_report(hostile))
    assert len(page.of("script")) == 1
    assert not [name for _, a in page.elements for name in a if name.startswith("on")]
    assert not page.of("img", src="x")
    assert page.text.count("<script>alert(1)</script>") >= 6  # there it is, as text
    assert "{{ 7*7 }}" in page.text and "49{% raw" not in page.text
    allowed = {"http-equiv", "content"}
    assert set(page.of("meta", **{"http-equiv": "Content-Security-Policy"})[0]) == allowed


def test_the_page_needs_no_other(hostile: Path) -> None:
    page = Page(write_report(hostile))
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/")), (tag, name, value)
    source = (hostile / "report.html").read_text("utf-8")
    style = re.search(r"<style>(.*?)</style>", source, re.S)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]


def test_pictures_are_small_and_without_metadata(hostile: Path, tmp_path: Path) -> None:
    data, why = html.thumbnail(tmp_path / "photo.jpg")
    assert why == ""
    import base64
    import io

    with Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as small:
        assert small.size == (320, 213)
        assert not small.getexif()
    assert "secret place" not in str(base64.b64decode(data.partition(",")[2]))
    assert html.thumbnail(tmp_path / "none.jpg")[1].endswith("folder of the images.")
    assert html.thumbnail(None, "lost.jpg") == ("", "lost.jpg is missing")


def test_the_browser_shows_cause_evidence_and_prompt(finished: Make) -> None:
    cells = [Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short")]
    page = Page(write_report(finished(right=[0], cells=cells)))
    shown = page.of("details", **{"class": "failure card"})
    assert len(shown) == 10  # six questions in two cells; q0 is right in both
    assert len([a for a in shown if a["data-cause"] == "misread"]) == 5
    assert "puffins nest in burrows on sea cliffs" in page.text
    assert "✓ right" in page.text and "10 of 10 wrong answers" in page.text
    assert len(page.of("a", **{"data-cause": "misread", "data-cell": "retrieved k=1 short"})) == 1


def test_failures_are_chosen_from_all_causes_and_always_the_same(finished: Make) -> None:
    cells = [Cell("none", 0, "closed-book"), Cell("retrieved", 1, "short")]
    run = finished(cells=cells)
    with Ledger(run) as ledger:
        chosen = html.choose_failures(ledger, "text exact match", cells, 5)
        assert chosen == html.choose_failures(ledger, "text exact match", cells, 5)
        assert sorted(cell.condition for _, cell in chosen) == ["none"] * 2 + ["retrieved"] * 3
        whole = html.choose_failures(ledger, "text exact match", cells, 100)
    assert len(whole) == 12 and set(chosen) < set(whole)


def test_commands_can_be_copied_into_a_shell(finished: Make) -> None:
    text = "puffins cliffs " + "long " * 2000
    row = Example("q; rm 'x'", Query(text), ("burrows",), ("puffin",))
    page = Page(write_report(finished(rows=[row])))
    line = page.text.partition("characters more: ")[2].partition("\n")[0]
    assert shlex.split(line)[-3:] == ["q; rm 'x'", "--cell", "retrieved k=1 short"]


def test_written_again_the_page_is_the_same(finished: Make) -> None:
    run = finished(right=[0])
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_without_matplotlib_the_page_says_what_to_install(
    finished: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    page = Page(write_report(finished(right=[0])))
    assert "pip install 'rag-vqa[report]'" in page.text
    assert not page.of("figure")


def test_plots_take_the_colour_of_the_page(finished: Make) -> None:
    page = Page(write_report(finished(right=[0])))
    assert len(page.of("figure")) == 3  # recall, ranks, seconds; the questions have no types
    assert "currentColor" in str(page.elements) and "#010203" not in str(page.elements)


def test_labels_are_short_and_hold_what_fonts_have() -> None:
    assert plots.label("a\nb \u4e2d") == "a b □"
    assert plots.label("x" * 50) == "x" * 33 + "…"


def test_a_run_of_retrieval_alone_has_a_page(finished: Make) -> None:
    page = Page(write_report(finished(cells=())))
    assert "recall@1" in page.text and "Answers" not in page.text


def test_a_run_that_is_not_finished_says_what_to_do(finished: Make) -> None:
    run = finished()
    (run / "results.json").unlink()
    with pytest.raises(Missing, match="rag-vqa eval report"):
        html.write_report(run)
