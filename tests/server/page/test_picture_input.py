"""The picture of a question: choosing, refusing and removing it, and its command line."""

import shlex
import subprocess

import pytest
from page_server import picture
from page_steps import ask, choose

FILE = "text=Add the picture's folder"


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


@pytest.mark.parametrize(
    ("name", "kind", "data", "said"),
    [
        ("big.png", "image/png", b"x" * 4001, "Make it smaller"),
        ("notes.txt", "text/plain", b"notes", "not a picture"),
        ("none.png", "image/png", b"", "empty"),
    ],
)
def test_nothing_is_asked_without_a_picture_that_was_refused(
    open_page, canned, name, kind, data, said
) -> None:
    canned.info = {"max_upload_bytes": 4000}
    page = open_page()
    page.wait_for_selector(".offer canvas")
    choose(page, name, data, kind)
    for _ in range(2):
        assert said in page.inner_text("#problem")
        page.fill("#question", "Where?")
        page.press("#question", "Enter")
    assert page.is_hidden("#results")
    page.click("text=Remove")
    assert page.inner_text("#problem") == ""
    ask(page)
    assert len(canned.requests) == 1


def test_enter_pressed_again_asks_once(open_page, canned) -> None:
    page = open_page()
    page.wait_for_selector(".offer canvas")
    choose(page, "flag.png", picture())
    page.fill("#question", "Where?")
    page.evaluate("""() => {
      for (let i = 0; i < 3; i++) {
        const more = {key: "Enter", bubbles: true, cancelable: true};
        document.querySelector("#question").dispatchEvent(new KeyboardEvent("keydown", more));
      }
    }""")
    page.wait_for_selector(".answer[aria-busy=false]")
    page.wait_for_timeout(100)
    assert [kind for kind, _ in canned.requests] == ["chat"]


def test_a_picture_that_the_server_refuses_is_called_the_picture(open_page, canned) -> None:
    canned.error, canned.code = "image_url: this is no image.", "invalid_image"
    page = open_page()
    choose(page, "flag.png", picture())
    ask(page)
    assert page.inner_text(".answer .problem") == "The picture: this is no image."


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


def test_a_command_line_says_where_its_picture_is_not(open_page) -> None:
    page = open_page()
    choose(page, "jm.png", picture())  # the name of an example, and none
    assert page.get_attribute(".offer", "aria-pressed") == "false"
    ask(page)
    page.click("text=Copy as command line")
    assert page.is_visible(FILE)
    page.click(".offer")
    page.wait_for_selector(".offer[aria-pressed=true]")
    assert page.evaluate("getComputedStyle(document.querySelector('.offer')).outlineWidth") == "3px"
    ask(page)
    page.click("text=Copy as command line")
    assert page.is_visible("text=Give --image a picture of your own") and page.is_hidden(FILE)
