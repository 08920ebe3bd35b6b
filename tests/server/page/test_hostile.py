"""Text from outside stays text: 33 payloads in every place on the page, and none runs.

The server sends no policy here, so that nothing but the page itself keeps them from running.
"""

import io

import pytest
from page_payloads import PAYLOADS
from page_server import explanation, hit, traced
from page_steps import ask, choose
from PIL import Image

RAN = "new Promise(done => setTimeout(() => done(window.ran ?? 0), 200))"


@pytest.fixture
def bare(canned):
    canned.policy = "frame-ancestors 'none'"
    return canned


def poisoned(rank: int, payload: str):
    metadata = {"license": payload, "credit": payload, "source": payload, payload: payload}
    metadata |= {"page": 1, "file": payload}
    found = hit(
        rank, id=payload, title=payload, section=payload, text=payload, url=payload,
        parent=payload, metadata=metadata, images=[payload],
    )  # fmt: skip
    found["scores"] = {payload: 1.0, "ret": 2.0}
    found["shown"] = [{"name": payload, "value": payload}]
    found["passage"] = {"text": payload, "position": 0, "image": payload if rank % 2 else None}
    return found


def test_most_payloads_run_where_text_is_taken_for_markup(browser) -> None:
    page = browser.new_page()
    ran = 0
    for payload in PAYLOADS:
        page.set_content(f"<title>x</title><div>{payload}</div>")
        page.wait_for_timeout(20)
        ran += page.evaluate("window.ran ?? 0")
    page.close()
    assert ran >= 20


def test_none_runs_in_evidence_answer_and_prompt(open_page, bare) -> None:
    bare.hits = [poisoned(rank, payload) for rank, payload in enumerate(PAYLOADS, 1)]
    everything = "\n".join(PAYLOADS)
    bare.says = f"[1] {everything}"
    reasons = {payload: payload for payload in PAYLOADS}
    seconds = dict.fromkeys(PAYLOADS, 1.0)
    bare.rest = {"prompt": everything, "dropped": reasons, "seconds": seconds}
    page = open_page()
    ask(page, everything)
    page.click("text=Exact prompt")
    page.click("text=Copy as command line")
    assert page.evaluate(RAN) == 0
    titles = page.locator(".card h3 bdi:first-child")
    assert titles.all_text_contents() == list(PAYLOADS)
    assert page.text_content(".said bdi").startswith(f"[1] {everything}")
    assert page.text_content("pre >> nth=-1") == everything
    links = page.evaluate("[...document.links].map(link => link.protocol)")
    assert set(links) == {"http:"}  # the brand and citations: all of this page's own
    assert page.locator(".frame canvas").count() == 0  # no picture from elsewhere


def test_none_runs_in_why_it_matched(open_page, bare) -> None:
    text, words = "", []
    for payload in PAYLOADS:
        start, text = len(text), f"{text}{payload}\n"
        words.append({"text": payload, "start": start, "end": len(text) - 1, "weight": 1.0})
    bare.hits = [poisoned(1, PAYLOADS[1])]
    bare.hits[0]["document"]["images"] = bare.hits[0]["passage"]["image"] = None
    bare.explanation = explanation(traced(words, [], words, []), [], text, text)
    page = open_page()
    ask(page, PAYLOADS[1])
    page.click("text=Why it matched")
    page.wait_for_selector("mark")
    assert page.locator("mark").all_text_contents() == [*PAYLOADS, *PAYLOADS]
    assert page.evaluate(RAN) == 0


def test_none_runs_as_a_file_name_or_in_exif(open_page, bare) -> None:
    page = open_page()
    page.wait_for_selector(".offer canvas")
    for payload in PAYLOADS:
        exif = Image.Exif()
        exif[0x010E] = exif[0x013B] = payload  # ImageDescription, Artist
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
        choose(page, payload.replace("/", "\u2215"), buffer.getvalue(), "image/jpeg")
    page.wait_for_selector("#preview canvas")
    ask(page)
    page.click("text=Copy as command line")
    assert page.evaluate(RAN) == 0
    name = PAYLOADS[-1].replace("/", "\u2215")
    assert page.text_content("#preview .name") == name


@pytest.mark.parametrize("payload", PAYLOADS[:3])
def test_none_runs_in_what_the_server_says_of_itself_or_as_an_error(
    open_page, bare, payload
) -> None:
    bare.info = {
        "name": payload, "version": payload, "retriever": payload, "command": payload,
        "reader": {"name": payload, "servers": [payload]},
        "gallery": [{"id": payload, "question": payload, "image": payload}],
    }  # fmt: skip
    bare.error = payload
    page = open_page()
    page.wait_for_selector(".offer")
    ask(page)
    assert page.text_content(".answer .problem") == payload
    assert page.text_content("#about").startswith(payload)
    assert page.evaluate(RAN) == 0
