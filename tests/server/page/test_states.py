"""What the page shows in each state it can be in."""

import shlex
import subprocess

import pytest
from page_server import explanation, hit, picture, traced
from page_steps import ask, choose


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


def test_a_card_shows_score_licence_credit_and_link(open_page, canned) -> None:
    metadata = {"license": "CC BY 4.0", "author": "A. Painter", "lang": "en"}
    found = hit(1, url="https://example.org/page", metadata=metadata)
    found["scores"] = {"ret": 29.0, "critic": 0.91}
    canned.hits = [found]
    page = open_page()
    ask(page)
    card = page.locator(".card")
    assert card.locator(".score").inner_text().split()[-1] == "29.00"
    assert card.locator(".credit").all_inner_texts()[1] == "ret 29.00 · critic 0.91"
    credit = card.locator(".credit").first.inner_text()
    assert credit.startswith("CC BY 4.0 · A. Painter · example.org") and "en" not in credit.split()
    link = card.locator("a")
    assert link.get_attribute("href") == "https://example.org/page"
    assert "noopener" in link.get_attribute("rel")


def test_a_long_text_is_folded_at_the_passage_found(open_page, canned) -> None:
    text = "A beginning. " * 30 + "The capital is Kingston. " + "An end. " * 60
    canned.hits = [hit(1, text=text)]
    canned.hits[0]["passage"]["text"] = "Title 1 · People\nThe capital is Kingston."
    page = open_page()
    ask(page)
    assert page.inner_text(".text").startswith("… The capital is Kingston.")
    page.click("text=Whole text")
    assert page.inner_text(".text") == text.strip()
    assert page.inner_text(".found") == "The capital is Kingston."


def test_citations_follow_the_numbers_of_the_prompt(open_page, canned) -> None:
    canned.says = "First [1], second [2], none [3]."
    canned.rest = {"citations": [1, 2], "invalid_citations": [3], "kept": [1, 3]}
    canned.rest["dropped"] = {"d/2": "too long"}
    page = open_page()
    ask(page)
    links = page.locator(".said a")
    assert links.all_inner_texts() == ["[1]", "[2]"]
    assert links.nth(1).get_attribute("href") == "#evidence-3"
    assert page.inner_text("#evidence-2 .dropped") == "Not read: too long"
    assert page.is_visible("text=It cites [3], which no document has.")


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
    expected = "The connection broke off. What stands above is not whole."
    assert page.inner_text(".answer .problem") == expected
    assert page.locator("text=Copy as command line").count() == 0


def test_an_error_in_the_middle_of_an_answer_is_said(open_page, canned) -> None:
    canned.late_error = "The reader could not answer this question."
    page = open_page()
    ask(page)
    expected = f"{canned.late_error} What stands above is not whole."
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
        ("unknown", {"citations": []}, "The reader cannot tell from these documents."),
        ("In burrows", {"finish": "length"}, "Cut: the reader wrote as much as it may."),
    ],
)
def test_how_an_answer_ended_is_said(open_page, canned, says, rest, note) -> None:
    canned.says, canned.rest = says, rest
    page = open_page()
    ask(page)
    assert page.inner_text(".said") == says
    assert page.is_visible(f"text={note}")
    assert page.inner_text(".times").split() == ["retrieve", "38", "ms", "read", "1.9", "s"]


def test_no_document_found_is_said(open_page, canned) -> None:
    canned.hits, canned.says, canned.rest = [], "unknown", {"citations": []}
    page = open_page()
    ask(page)
    assert page.inner_text("#evidence-state") == "No document was found."


def test_who_keeps_and_who_reads_is_said_before_a_question(open_page, canned) -> None:
    canned.info = {
        "log_questions": {"days": 30},
        "reader": {"name": "Qwen", "servers": ["https://gpu.example.org"]},
    }
    page = open_page()
    page.wait_for_selector(".notice")
    kept, sent = page.locator(".notice").all_inner_texts()
    assert "kept on this server for 30 days" in kept
    assert sent == "Your question and photo are sent on, to be read by https://gpu.example.org."
    assert "forgotten" not in page.inner_text("footer")


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


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Where?", "flag.png"),
        ('What\'s `id` $(id) "it" \\ !x; rm -rf ~ & *', "it's; $(touch x) `y`.png"),
        ("-rf", "-o.png"),
        ("two\nlines", "a\x1b[201~b.png"),
    ],
)
def test_the_command_line_reaches_a_shell_as_it_was_meant(
    open_page, canned, question, name
) -> None:
    canned.info = {"command": "printf %s\\\\n"}
    page = open_page()
    choose(page, name, picture())
    ask(page, question)
    page.click("text=Copy as command line")
    line = page.inner_text("pre")
    file = name.replace("\x1b", " ")
    words = ["--image", f"./{file}" if file.startswith("-") else file]
    words += ["--", question] if question.startswith("-") else [question.replace("\n", " ")]
    assert shlex.split(line)[2:] == words
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == words


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


def test_a_picture_is_pasted_dropped_and_removed(open_page, canned) -> None:
    page = open_page()
    page.wait_for_selector(".offer canvas")
    give = """([type, bytes]) => {
      const file = new File([new Uint8Array(bytes)], `${type}.png`, {type: "image/png"});
      const data = new DataTransfer();
      data.items.add(file);
      const event = type === "paste"
        ? new ClipboardEvent(type, {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true});
      document.querySelector("#question").dispatchEvent(event);
    }"""
    for way in ("paste", "drop"):
        page.evaluate(give, [way, list(picture())])
        page.wait_for_selector(f"#preview canvas[aria-label='The chosen picture: {way}.png']")
        page.click("text=Remove")
        assert page.is_hidden("#preview")
    ask(page)
    assert [part["type"] for part in canned.requests[-1][1]["messages"][0]["content"]] == ["text"]


def test_a_picture_too_large_for_the_server_is_not_sent(open_page, canned) -> None:
    canned.info = {"max_upload_bytes": 4000}
    page = open_page()
    page.wait_for_selector(".offer canvas")
    file = {"name": "big.png", "mimeType": "image/png", "buffer": b"x" * 4001}
    page.set_input_files("#file", file)
    page.wait_for_selector("#problem:not(:empty)")
    assert "Make it smaller" in page.inner_text("#problem")
    assert page.is_hidden("#preview")


def test_why_it_matched_names_words_and_patches(open_page, canned) -> None:
    capital = {"text": "capital", "start": 12, "end": 19, "weight": 0.9}
    kingston = {"text": "Kingston", "start": 17, "end": 25, "weight": 0.3}
    left = {"box": [0, 0, 0.5, 1], "weight": 0.7}
    canned.explanation = explanation(
        traced([capital], [], [kingston], [left]),
        [traced([], [], [], []) | {"score": 0.5}, traced([], [], [kingston], []) | {"score": 0.9}],
        query_text="What is the capital?",
        document_text="\N{GRINNING FACE} The capital is Kingston.",
    )
    page = open_page()
    ask(page)
    page.click("text=Why it matched >> nth=0")
    page.wait_for_selector(".traced canvas")
    assert page.locator(".pairs label").all_inner_texts() == ["all: 29.00", "1: 0.90", "2: 0.50"]
    assert page.locator("mark").all_inner_texts() == ["capital", "Kingston"]
    assert page.locator(".shares").all_inner_texts() == [" text 30%, picture 70%"]
    assert "Approximate" in page.inner_text(".note")
    bright, dark = page.evaluate(
        "(() => { const pen = document.querySelector('.traced canvas').getContext('2d');"
        " const {width, height} = pen.canvas;"
        " const row = pen.getImageData(0, height / 2, width, 1).data;"
        " return [row[width + 1], row[3 * width + 1]]; })()"  # green, at 1/4 and 3/4 of the width
    )
    assert (bright, dark) == (128, pytest.approx(128 * 0.28 + 16 * 0.72, abs=2))  # teal, its veil
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("text=Traced to nothing on this side.").count() == 2
    (sent,) = [body for kind, body in canned.requests if kind == "explain"]
    assert sent == {"text": "What is the capital?", "document": "d/1", "position": 0}


def test_a_public_page_offers_no_explanation_without_the_token(open_page, canned) -> None:
    canned.info = {"public": True}
    page = open_page()
    ask(page)
    assert page.locator("text=Why it matched").count() == 0


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
