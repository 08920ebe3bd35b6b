"""The page's files: small, all its own, and none turns text into markup."""

import re

import pytest
from page_server import PAGE

FILES = sorted(PAGE.iterdir())
TEXTS = {file.name: file.read_text("utf-8") for file in FILES}
SCRIPTS = [name for name in TEXTS if name.endswith(".js")]


def test_the_whole_page_is_under_150_kb() -> None:
    assert 10_000 < sum(file.stat().st_size for file in FILES) < 150_000


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_names_another_place(name) -> None:
    # The names of XML's and SVG's own language are no addresses that anything is fetched from.
    text = TEXTS[name].replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"""https?://|["'(]//""", text) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_turns_text_into_markup_or_code(name) -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser"
    assert re.findall(sinks + r"|setHTML|createContextualFragment|srcdoc", TEXTS[name]) == []


@pytest.mark.parametrize("name", [*SCRIPTS, "page.css", "results.css"])
def test_every_file_says_first_what_it_knows(name) -> None:
    assert re.match(r"// \w|/\* \w", TEXTS[name])
    assert len(TEXTS[name].splitlines()) <= 300


def test_a_question_gets_into_no_address_where_the_script_does_not_run() -> None:
    assert re.findall(r"<form[^>]*>", TEXTS["index.html"]) == re.findall(
        r'<form[^>]*method="dialog"[^>]*>', TEXTS["index.html"]
    )


def test_the_markup_has_no_script_or_style_of_its_own() -> None:
    html = TEXTS["index.html"]
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", html) == []
    linked = re.findall(r'(?:src|href)="([^"]+)"', html)
    places = [link for link in linked if not link.startswith("#")]  # of the page itself
    assert all(link == "./" or link.removeprefix("static/") in TEXTS for link in places)
