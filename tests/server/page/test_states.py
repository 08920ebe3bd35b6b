"""What the page shows in each of its states."""

import pytest
from page_server import hit
from page_steps import ask


def test_evidence_stands_there_before_the_answer(open_page, canned) -> None:
    canned.held = 0
    page = open_page()
    page.fill("#question", "Where?")
    page.click("#ask")
    page.wait_for_selector(".card h3")
    assert page.inner_text(".said") == ""
    titles = page.locator(".card h3").all_inner_texts()
    assert [title.split(" · ")[0].split("\n")[0].strip() for title in titles] == [
        "Title 1 People", "Title 2 People", "Title 3 People"
    ]  # fmt: skip


def test_a_full_queue_is_waited_for(open_page, canned) -> None:
    canned.busy = 1
    page = open_page()
    page.fill("#question", "Where?")
    page.click("#ask")
    page.wait_for_selector("text=The server is busy. Trying again in 1 second")
    page.wait_for_selector(".answer[aria-busy=false]")
    assert page.inner_text(".said") == "Kingston [1], not [9]."


def test_stop_ends_the_waiting_too(open_page, canned) -> None:
    canned.busy = 99
    page = open_page()
    page.fill("#question", "Where?")
    page.click("#ask")
    page.wait_for_selector("text=The server is busy")
    page.click("#stop")
    page.wait_for_selector(".answer[aria-busy=false]")
    assert page.inner_text(".answer") == "Stopped."
    assert page.is_hidden("#stop")


def test_an_error_is_shown_and_can_be_tried_again(open_page, canned) -> None:
    canned.error = "CUDA out of memory. Try --max-pixels 501760."
    page = open_page()
    ask(page)
    assert page.inner_text(".answer .problem") == canned.error
    assert page.is_hidden("#evidence-title")
    canned.error = ""
    page.click("text=Try again")
    page.wait_for_selector("text=Kingston")


def test_a_stream_that_breaks_off_is_no_answer(open_page, canned) -> None:
    canned.broken = True
    page = open_page()
    ask(page)
    expected = "The connection broke off. The text above is incomplete."
    assert page.inner_text(".answer .problem") == expected
    assert page.locator("text=Copy as command line").count() == 0


def test_a_stream_that_is_cut_within_an_event_is_said_in_plain_words(open_page, canned) -> None:
    canned.cut = True
    page = open_page()
    ask(page)
    expected = "The server's answer was cut off. The text above is incomplete."
    assert page.inner_text(".answer .problem") == expected


def test_an_error_in_the_middle_of_an_answer_is_said(open_page, canned) -> None:
    canned.late_error = "The reader could not answer this question."
    page = open_page()
    ask(page)
    expected = f"{canned.late_error} The text above is incomplete."
    assert page.inner_text(".answer .problem") == expected
    assert page.inner_text(".said") == "Kingston"


def test_a_server_that_is_gone_is_said_to_be_gone(open_page) -> None:
    page = open_page()
    page.wait_for_selector(".offer canvas")
    page.context.set_offline(True)
    ask(page)
    assert page.inner_text(".answer .problem").startswith("The server cannot be reached.")
    page.context.set_offline(False)
    page.click("text=Try again")
    page.wait_for_selector("text=Kingston")


@pytest.mark.parametrize(
    ("says", "rest", "note"),
    [
        ("unknown", {"citations": []}, "The reader found no answer in these documents."),
        ("In burrows", {"finish": "length"}, "Cut off: the answer reached its greatest length."),
    ],
)
def test_how_an_answer_ended_is_said(open_page, canned, says, rest, note) -> None:
    canned.says, canned.rest = says, rest
    page = open_page()
    ask(page)
    assert page.inner_text(".said") == says
    assert page.is_visible(f"text={note}")
    assert page.inner_text(".times").split() == ["retrieve", "38", "ms", "read", "1.9", "s"]


def test_thoughts_are_shown_when_somebody_opens_them(open_page, canned) -> None:
    canned.says, canned.thinks = "", "Cliffs,\n<b>so</b> it burrows."
    page = open_page()
    ask(page)
    assert page.is_visible("text=The reader thought, but wrote no answer.")
    assert not page.is_visible(".thoughts")
    page.click("summary >> text=Thoughts")
    assert page.inner_text(".thoughts") == canned.thinks


def test_who_keeps_and_who_reads_is_said_before_a_question(open_page, canned) -> None:
    canned.info = {
        "log_questions": {"days": 30},
        "reader": {"name": "Qwen", "servers": ["https://gpu.example.org"]},
    }
    page = open_page()
    page.wait_for_selector(".notice")
    kept, sent = page.locator(".notice").all_inner_texts()
    assert kept == "Questions and their pictures are stored on this server for 30 days."
    assert sent == "Your question and photo are sent to another server: https://gpu.example.org."
    assert "forgotten" not in page.inner_text("footer")
    canned.info["feedback"] = True
    page.reload()
    page.wait_for_selector(
        ".notice >> text=for a right answer, also its text and the documents it cites"
    )


def test_the_limits_of_the_models_stand_above_the_form(open_page, canned) -> None:
    page = open_page()
    page.wait_for_selector(".offer")
    assert page.locator(".notice").count() == 0
    canned.info = {"limits": "The built-in models only know <b>national flags</b>."}
    page.reload()
    banner = page.get_by_role("note", name="Limits of the models")
    banner.wait_for()
    assert banner.inner_text() == (
        "Not for these documents. The built-in models only know <b>national flags</b>."
    )


def test_the_readers_note_explains_its_answer(open_page, canned) -> None:
    canned.says, canned.rest = "unknown", {"notes": ["The built-in reader only understands flags."]}
    page = open_page()
    ask(page)
    assert page.is_visible("text=The built-in reader only understands flags.")
    assert not page.is_visible("text=The reader found no answer")
    page.wait_for_selector("#live >> text=unknown. The built-in reader", state="attached")


def test_the_answer_without_documents_stands_beside(open_page, canned) -> None:
    page = open_page()
    ask(page)
    page.click("text=Compare without documents")
    page.wait_for_selector(".answer:nth-child(2)[aria-busy=false]")
    assert page.locator(".said").all_inner_texts() == ["Kingston [1], not [9].", "Montego Bay."]
    asked = [body["rag_vqa"]["retrieval"] for kind, body in canned.requests if kind == "chat"]
    assert asked == [True, False]
    assert page.locator(".card h3").count() == 3


def test_the_prompt_is_shown_where_it_may_be(open_page, canned) -> None:
    page = open_page()
    ask(page)
    page.click("text=Exact prompt")
    assert page.inner_text("pre") == "<user>The question</user>"
    canned.info = {"public": True}
    page = open_page()
    ask(page)
    assert canned.requests[-1][1]["rag_vqa"]["prompt"] is False
    assert page.locator("text=Exact prompt").count() == 0


def test_an_opinion_is_sent_where_it_is_wanted(open_page, canned) -> None:
    page = open_page()
    ask(page)
    assert page.locator("text=Is it right?").count() == 0
    canned.info = {"feedback": True}
    page = open_page()
    ask(page)
    page.click(".opinion >> text=No")
    page.wait_for_selector("text=Thank you.")
    assert canned.requests[-1] == ("feedback", {"id": "a1", "good": False})


def test_a_server_that_is_not_ready_is_waited_for(open_page, canned) -> None:
    canned.loading = 1
    page = open_page()
    page.wait_for_selector("text=The server is not ready yet. Trying again in 1 second.")
    page.wait_for_selector(".offer canvas")
    assert page.locator(".notice").count() == 0


def test_below_a_path_every_address_is_relative(open_page) -> None:
    page = open_page(below="x/")
    page.wait_for_selector(".offer canvas")
    ask(page)
    page.wait_for_selector(".frame canvas")
    assert page.inner_text(".said") == "Kingston [1], not [9]."


def test_the_choice_of_colours_is_remembered(open_page) -> None:
    page = open_page("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 21, 27)"
    page.click("#theme")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(246, 248, 250)"
    assert page.evaluate("Object.entries(localStorage)") == [["theme", "light"]]


def test_a_phone_needs_no_scrolling_sideways(open_page, canned) -> None:
    canned.hits = [hit(1, title="W" * 200, text="x" * 500, metadata={"license": "y" * 200})]
    canned.says = "z" * 300
    page = open_page("phone")
    ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_count_of_documents_follows_the_server(open_page, canned) -> None:
    page = open_page()
    page.wait_for_selector("#about >> text=894")
    canned.info = {"documents": 1000}
    ask(page)
    page.wait_for_selector("#about >> text=1,000 documents")


def test_unknown_without_documents_is_not_said_of_documents(open_page, canned) -> None:
    canned.guess = "unknown"
    page = open_page()
    ask(page)
    page.click("text=Compare without documents")
    page.wait_for_selector("text=The reader found no answer without documents.")


def test_a_phone_shows_the_way_to_an_answer_out_of_sight(open_page, canned) -> None:
    canned.hits = [hit(rank, text="A long text. " * 30) for rank in range(1, 6)]
    page = open_page("phone")
    assert page.is_hidden("#to-answer")
    ask(page)
    page.click("#to-answer")
    page.wait_for_selector("#to-answer", state="hidden")
    top, bottom = page.evaluate(
        "(one => [one.top, one.bottom])(document.querySelector('.said').getBoundingClientRect())"
    )
    assert 0 <= top < bottom <= 740
    wide = open_page()
    ask(wide)
    wide.wait_for_timeout(50)
    assert wide.is_hidden("#to-answer")
