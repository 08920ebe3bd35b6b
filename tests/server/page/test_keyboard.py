"""The main journey through the page, by keyboard alone."""

import pytest
from page_steps import ask, focused


def tab_to(page, name: str, presses: int = 30) -> None:
    for _ in range(presses):
        page.keyboard.press("Tab")
        if focused(page).startswith(name):
            return
    raise AssertionError(f"Tab never reached {name!r}")


def test_from_a_picture_to_the_cited_document(open_page, canned) -> None:
    page = open_page()
    page.wait_for_selector(".offer canvas")
    tab_to(page, "Example: What is the capital")
    page.keyboard.press("Enter")
    page.wait_for_selector("#question:focus")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer[aria-busy=false]")
    assert page.inner_text("#live") == "The answer: Kingston [1], not [9]."
    tab_to(page, "Document 1")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "evidence-1"
    (sent,) = [body for kind, body in canned.requests if kind == "chat"]
    text, image = sent["messages"][0]["content"]
    assert text["text"] == "What is the capital of this country?"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


def test_the_focus_goes_through_the_page_from_top_to_bottom(open_page) -> None:
    page = open_page()
    page.wait_for_selector(".offer canvas")
    ask(page)
    expected = [
        "rag-vqa", "Dark colours", "file", "question", "Ask",
        "Example: What is the capital of this country?",
        "Why it matched", "Why it matched", "Why it matched", "Document 1",
        "Copy as command line", "Exact prompt", "Compare without documents",
    ]  # fmt: skip
    page.focus(".brand")
    names = [focused(page)]
    for _ in expected[1:]:
        page.keyboard.press("Tab")
        names.append(focused(page))
    assert names == expected


def test_escape_stops_and_the_server_hears_of_it(open_page, canned) -> None:
    canned.held = 1
    page = open_page()
    page.fill("#question", "Where?")
    page.press("#question", "Enter")
    page.wait_for_selector(".said:not(:empty)")
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Stopped: the answer is incomplete.")
    assert page.evaluate("document.activeElement.id") == "question"
    deadline = 20
    while not canned.gone and deadline:
        page.wait_for_timeout(100)
        deadline -= 1
    assert canned.gone == 1


def test_shift_enter_is_a_new_line_and_asks_nothing(open_page, canned) -> None:
    page = open_page()
    page.type("#question", "one")
    page.press("#question", "Shift+Enter")
    page.type("#question", "two")
    assert page.input_value("#question") == "one\ntwo"
    assert canned.requests == []


def test_nothing_is_asked_without_a_question(open_page, canned) -> None:
    page = open_page()
    page.focus("#ask")
    page.keyboard.press("Enter")
    assert page.inner_text("#problem") == "Write a question first."
    assert page.evaluate("document.activeElement.id") == "question"
    assert canned.requests == []


@pytest.mark.parametrize("first", ["wrong", ""])
def test_the_token_is_asked_for_until_it_is_right(open_page, canned, first) -> None:
    canned.token = "s3cret"
    page = open_page()
    page.wait_for_selector("dialog[open]")
    if first:
        page.keyboard.type(first)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=This token is wrong.")
    page.keyboard.type("s3cret")
    page.keyboard.press("Enter")
    page.wait_for_selector(".offer canvas")  # pictures are fetched with the token too
    ask(page)
    assert page.inner_text(".said") == "Kingston [1], not [9]."
    page.reload()
    page.wait_for_selector(".offer canvas")  # the tab remembers it
    assert page.evaluate("localStorage.length") == 0


def test_who_leaves_the_token_dialog_is_told_what_is_missing(open_page, canned) -> None:
    canned.token = "s3cret"
    page = open_page()
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("text=This needs the server's token.")
    page.click("text=Try again")
    page.wait_for_selector("dialog[open]")
