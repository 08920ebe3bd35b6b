"""axe-core finds nothing serious or critical, in any state, in light, in dark and on a phone."""

from functools import cache
from pathlib import Path

import axe_playwright_python
import pytest
from page_server import explanation, hit, traced
from page_steps import ask
from playwright.sync_api import Page

# In the dark only colours are others, and on a phone only they are not: axe looks at what differs.
RULES = {
    "light": {},
    "dark": {"runOnly": ["color-contrast"]},
    "phone": {"rules": {"color-contrast": {"enabled": False}}},
}
LOOKS = list(RULES)


@cache
def axe() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


def violations(page: Page, look: str = "light") -> list[str]:
    """The serious violations. All animations are off, so that colours are final."""
    found = page.evaluate("asked => axe.run({resultTypes: ['violations'], ...asked})", RULES[look])[
        "violations"
    ]
    return [
        f"{one['id']}: {one['nodes'][0]['html']}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def watched(page: Page) -> Page:
    page.evaluate(axe())
    return page


@pytest.mark.parametrize("look", LOOKS)
def test_the_form(open_page, canned, look) -> None:
    canned.info = {
        "limits": "The built-in models only know national flags.",
        "log_questions": {"days": 1},
        "reader": {"name": "Qwen", "servers": ["https://gpu.example.org"]},
    }
    page = watched(open_page(look))
    page.wait_for_selector(".offer canvas")
    assert violations(page, look) == []
    page.click("#ask")
    page.click(".offer")
    page.wait_for_selector("#preview canvas")
    assert violations(page, look) == []


@pytest.mark.parametrize("look", LOOKS)
def test_the_answer_with_everything_open(open_page, canned, look) -> None:
    canned.info = {"feedback": True}
    canned.rest = {"dropped": {"d/2": "too long"}, "invalid_citations": [9]}
    canned.hits = [hit(1, text="Kingston. " * 90, url="https://example.org"), hit(2)]
    canned.hits[1]["document"]["metadata"] = {"page": 12, "file": "manual.pdf"}
    canned.hits[1]["shown"] = [
        {"name": "artist", "value": "Li"}, {"name": "licence", "value": "https://example.org"},
    ]  # fmt: skip
    word = {"text": "Kingston", "start": 0, "end": 8, "weight": 1.0}
    patch = {"box": [0, 0, 0.5, 1], "weight": 1.0}
    some = traced([word], [patch], [word], [patch])
    canned.explanation = explanation(some, [some | {"score": 0.9}], "Kingston?", "Kingston.")
    page = watched(open_page(look))
    ask(page)
    page.click("#evidence-1 >> text=Whole text")
    page.click("#evidence-1 >> text=Why it matched")
    page.wait_for_selector(".traced canvas")
    page.click("text=Exact prompt")
    page.click("text=Copy as command line")
    page.click("text=Compare without documents")
    page.wait_for_selector(".answer:nth-child(2)[aria-busy=false]")
    page.click(".opinion >> text=Yes")
    page.wait_for_selector("text=Thank you.")
    assert violations(page, look) == []


@pytest.mark.parametrize("look", LOOKS)
def test_while_it_reads_and_when_it_fails(open_page, canned, look) -> None:
    canned.busy, canned.error = 1, "CUDA out of memory."
    page = watched(open_page(look))
    page.fill("#question", "Where?")
    page.click("#ask")
    page.wait_for_selector("text=The server is busy")
    assert violations(page, look) == []
    page.wait_for_selector(".answer .problem")
    assert violations(page, look) == []


@pytest.mark.parametrize("look", LOOKS)
def test_the_token(open_page, canned, look) -> None:
    canned.token = "s3cret"
    page = watched(open_page(look))
    page.fill("#token-text", "wrong")
    page.press("#token-text", "Enter")
    page.wait_for_selector("text=This token is wrong.")
    assert violations(page, look) == []
    page.keyboard.press("Escape")
    page.wait_for_selector(".notice.bad")
    assert violations(page, look) == []


def test_axe_would_find_something(open_page) -> None:
    page = watched(open_page())
    page.evaluate("document.querySelector('label[for=question]').remove()")
    page.evaluate("document.querySelector('#question').removeAttribute('placeholder')")
    assert any(one.startswith("label:") for one in violations(page))
