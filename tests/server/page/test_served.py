"""The page before the server that it is for, with fakes for the models."""

from collections.abc import Iterator

import pytest
from page_steps import ask, choose
from playwright.sync_api import Browser, Page
from served import QUESTION, TOKEN, guarded, picture, running


@pytest.fixture
def wrong() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, wrong: list[str]) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield page
    context.close()


def test_a_question_about_a_picture_is_answered(make, page, wrong) -> None:
    with running(make()) as address:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("#about:not(:empty)")
        choose(page, "puffin.png", picture())
        ask(page, QUESTION)
        assert page.inner_text(".said") == "In burrows [1]."
        assert page.locator(".said a").count() == 1
        assert page.locator(".card h3").count() == 2
        page.click("text=Exact prompt")
        assert QUESTION in page.inner_text("pre")
        page.click("text=Copy as command line")
        assert page.inner_text("[aria-label='The command']").endswith(f"'{QUESTION}'")
        page.click("text=Compare without documents")
        page.wait_for_selector(".answer:nth-child(2)[aria-busy=false]")
        assert page.locator(".answer .problem").count() == 0
    assert [url for url in asked if not url.startswith(address)] == []
    assert wrong == []


def test_with_the_token_of_a_guarded_server(make, page) -> None:
    with running(make(access=guarded())) as address:
        page.goto(address)
        page.fill("#token-text", TOKEN)
        page.press("#token-text", "Enter")
        page.wait_for_selector("#about:not(:empty)")
        ask(page, QUESTION)
        assert page.inner_text(".said") == "In burrows [1]."


def test_a_public_server_answers_whoever_comes(make, page, wrong) -> None:
    with running(make(access=guarded(public=True))) as address:
        page.goto(address)
        page.wait_for_selector("#about:not(:empty)")
        ask(page, QUESTION)
        assert page.inner_text(".said") == "In burrows [1]."
        assert page.locator("text=Why it matched").count() == 0
    assert wrong == []
