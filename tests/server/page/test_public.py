"""A public server: what everybody gets, and what else the token opens."""

from page_steps import ask
from served import QUESTION, TOKEN, guarded, running

from rag_vqa.server.question_log import QuestionLog


def test_a_public_page_offers_no_explanation_without_the_token(open_page, canned) -> None:
    canned.info = {"public": True}
    page = open_page()
    ask(page)
    assert page.locator("text=Why it matched").count() == 0


def test_the_holder_of_the_token_gets_prompts_reasons_and_opinions(
    make, page, wrong, tmp_path
) -> None:
    log = QuestionLog(tmp_path, 1)
    with running(make(access=guarded(public=True), log=log)) as address:
        page.goto(address)
        page.click("text=I have the token")
        page.fill("#token-text", "wrong")
        page.press("#token-text", "Enter")
        page.wait_for_selector("text=This token is wrong.")
        page.fill("#token-text", TOKEN)
        page.press("#token-text", "Enter")
        page.wait_for_selector("text=I have the token", state="hidden")
        ask(page, QUESTION)
        assert page.locator("text=Exact prompt").count() == 1
        page.click(".opinion >> text=Yes")
        page.wait_for_selector("text=Thank you.")
        assert page.locator("text=Why it matched").count() > 0
        assert len(list(tmp_path.glob("*/good.jsonl"))) == 1
    assert wrong == []


def test_a_wrong_token_is_not_kept_by_who_gives_up(make, page, wrong) -> None:
    with running(make(access=guarded(public=True))) as address:
        page.goto(address)
        page.click("text=I have the token")
        page.fill("#token-text", "wrong")
        page.press("#token-text", "Enter")
        page.wait_for_selector("text=This token is wrong.")
        page.keyboard.press("Escape")
        # The page's own policy forbids `wait_for_function`, which evaluates a text in the page.
        while page.evaluate("sessionStorage.getItem('token')") != "":
            page.wait_for_timeout(10)
        ask(page, QUESTION)
        assert page.inner_text(".said") == "In burrows [1]."
        assert page.locator("text=Why it matched").count() == 0
        assert page.locator("text=Exact prompt").count() == 0
    assert wrong == []


def test_a_public_server_answers_whoever_comes(make, page, wrong) -> None:
    with running(make(access=guarded(public=True))) as address:
        page.goto(address)
        page.wait_for_selector("#about:not(:empty)")
        ask(page, QUESTION)
        assert page.inner_text(".said") == "In burrows [1]."
        assert page.locator("text=Why it matched").count() == 0
    assert wrong == []
