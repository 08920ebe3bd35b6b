"""The page with the real server, and fake models."""

import httpx
from page_steps import ask, choose
from served import QUESTION, TOKEN, guarded, picture, running


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


def test_the_page_shows_the_operator_s_title(make, page, wrong) -> None:
    title = 'Museum "Am See" <b>& friends'
    with running(make(title=title)) as address:
        markup = httpx.get(address).text
        assert "<title>Museum &quot;Am See&quot; &lt;b&gt;&amp; friends</title>" in markup
        page.goto(address)
        page.wait_for_selector("#about:not(:empty)")
        assert page.title() == title
        assert page.inner_text(".brand") == title
        assert page.locator("header b").count() == 0
        assert page.inner_text("#about").endswith("documents")
    assert wrong == []
