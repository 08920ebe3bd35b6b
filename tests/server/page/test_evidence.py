"""Evidence cards: what they show, what the prompt left out, and why they matched."""

import pytest
from page_server import explanation, hit, traced
from page_steps import ask


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


def test_a_card_names_shown_metadata_once(open_page, canned) -> None:
    metadata = {"Licence": "CC0", "Artist": "Li", "Credit": "Museum", "lang": "en"}
    shown = [{"name": "Artist", "value": "Li"}, {"name": "Licence", "value": "CC0"}]
    shown.append({"name": "Source", "value": "https://museum.example/vase/7"})
    canned.hits = [hit(1, metadata=metadata) | {"shown": shown}]
    page = open_page()
    ask(page)
    assert page.locator(".facts dt").all_inner_texts() == ["Artist", "Licence", "Source"]
    assert page.locator(".facts dd").all_inner_texts()[:2] == ["Li", "CC0"]
    link = page.locator(".facts a")
    assert link.get_attribute("href") == "https://museum.example/vase/7"
    assert page.locator(".credit").all_inner_texts() == ["Museum"]


@pytest.mark.parametrize(
    ("url", "says", "target"),
    [
        ("manuals/pump.pdf#page=12", "page 12 of manuals/pump.pdf", None),
        ("javascript:alert(1)", "page 12 of manuals/pump.pdf", None),
        ("https://a.example/pump.pdf#page=12", "page 12", "https://a.example/pump.pdf#page=12"),
    ],
)
def test_a_page_is_cited_and_linked_only_on_the_web(open_page, canned, url, says, target) -> None:
    canned.hits = [hit(1, url=url, metadata={"page": 12, "file": "manuals/pump.pdf"})]
    page = open_page()
    ask(page)
    cited = page.locator(".credit").first
    assert cited.inner_text().startswith(says)
    assert cited.inner_text().endswith("of manuals/pump.pdf")
    links = page.locator(".card a")
    assert links.count() == (target is not None)
    assert target is None or links.get_attribute("href") == target


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
    assert page.is_visible("text=It cites [3], but there is no such document.")


def test_no_document_found_is_said(open_page, canned) -> None:
    canned.hits, canned.says, canned.rest = [], "unknown", {"citations": []}
    page = open_page()
    ask(page)
    assert page.inner_text("#evidence-state") == "No document was found."


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
    assert page.locator(".pairs label").all_inner_texts() == [
        "ReT score: 29.00",
        "1: 0.90",
        "2: 0.50",
    ]
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
    assert page.locator("text=Nothing on this side stands out.").count() == 2
    (sent,) = [body for kind, body in canned.requests if kind == "explain"]
    assert sent == {"text": "What is the capital?", "document": "d/1", "position": 0}


def test_a_drop_reason_stands_on_its_own_card_where_ids_end_like_pictures(
    open_page, canned
) -> None:
    canned.hits = [hit(1, id="page#2"), hit(2, id="page")]
    canned.rest = {"dropped": {"page#2": "too long", "page#1": "too large"}}
    page = open_page()
    ask(page)
    assert page.inner_text("#evidence-1 .dropped") == "Not read: too long"
    assert page.inner_text("#evidence-2 .dropped") == "A picture was not read: too large"


def test_fused_scores_can_be_told_apart_and_why_says_what_it_explains(open_page, canned) -> None:
    for found, score in zip(canned.hits, (2 / 61, 2 / 62, 2 / 63), strict=True):
        found["scores"]["fused"] = found["score"] = score
    canned.explanation = explanation(traced([], [], [], []), [], "a", "b")
    page = open_page()
    ask(page)
    shown = [text.split()[-1] for text in page.locator(".score").all_inner_texts()]
    assert shown == ["0.0328", "0.0323", "0.0317"]
    assert page.locator(".credit >> text=fused").first.inner_text() == "ret 29.00 · fused 0.0328"
    page.click("text=Why it matched >> nth=0")
    page.wait_for_selector("text=This explains the ReT score, not the rank")
