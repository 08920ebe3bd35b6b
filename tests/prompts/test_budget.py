"""The budget, against counts that can be done by hand: words are tokens, a picture is 100."""

from dataclasses import replace

import pytest

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.prompts import build_prompt
from rag_vqa.types import Document, Hit, ImagePart, Passage, Prompt, PromptLimits, Query, TextPart

QUERY = Query("What is it?", image="photo.jpg")
# The template `short` adds 9 words, the question has 3, its picture is 100.
ALONE = 100 + 3 + 9


def count(prompt: Prompt) -> int:
    texts = (part.text for part in prompt.parts if isinstance(part, TextPart))
    images = sum(isinstance(part, ImagePart) for part in prompt.parts)
    return len("".join(texts).split()) + 100 * images


def hits(*documents: Document) -> list[Hit]:
    return [Hit(d, Passage(d.id, 0, d.text), n, 1 / n) for n, d in enumerate(documents, 1)]


def words(name: str, n: int, images: int = 0) -> Document:
    return Document(
        name, " ".join([name] * n), images=tuple(f"{name}{i}.png" for i in range(images))
    )


def built(found: list[Hit], images: int, context: int) -> Prompt:
    return build_prompt(QUERY, found, PromptLimits(images, context), count, "short")


def kept(prompt: Prompt) -> list[str]:
    return [hit.document.id for hit in prompt.kept]


def sources(prompt: Prompt) -> list[str]:
    return [part.source for part in prompt.parts if isinstance(part, ImagePart)]


THREE = hits(words("a", 10), words("b", 20), words("c", 30))


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (ALONE + 60, ["a", "b", "c"]),
        (ALONE + 59, ["a", "b"]),
        (ALONE + 30, ["a", "b"]),
        (ALONE + 29, ["a"]),
        (ALONE + 10, ["a"]),
        (ALONE + 9, []),
        (ALONE, []),
    ],
)
def test_whole_documents_go_from_the_end(context: int, expected: list[str]) -> None:
    prompt = built(THREE, images=1, context=context)
    assert kept(prompt) == expected
    assert set(prompt.dropped) == {"a", "b", "c"} - set(expected)
    assert count(prompt) == ALONE + sum({"a": 10, "b": 20, "c": 30}[name] for name in expected)
    assert count(prompt) <= context
    for reason in prompt.dropped.values():
        assert f"{context} tokens" in reason
    for name in expected:  # whole, as it is
        assert " ".join([name] * {"a": 10, "b": 20, "c": 30}[name]) in prompt.text


def test_a_big_document_hides_none_below_it() -> None:
    found = hits(words("a", 60), words("big", 500), words("b", 41), words("c", 40), words("d", 1))
    prompt = built(found, images=1, context=ALONE + 100)
    assert kept(prompt) == ["a", "c"]
    assert set(prompt.dropped) == {"big", "b", "d"}
    for name in prompt.dropped:  # each is refused for what is true of it
        [with_it] = [hit for hit in found if hit.document.id == name]
        above = [hit for hit in prompt.kept if hit.rank < with_it.rank]
        assert count(built([*above, with_it], images=1, context=10**6)) > ALONE + 100


def test_a_document_too_long_is_shown_by_its_passage() -> None:
    big, small = hits(words("big", 500, images=1), words("small", 10))
    big = replace(big, passage=Passage("big", 7, "found here"))
    prompt = built([big, small], images=2, context=ALONE + 112)
    assert prompt.kept == (big, small)
    assert "found here" in prompt.text and "big big" not in prompt.text
    assert sources(prompt) == ["question", "big"]
    assert list(prompt.dropped) == ["big"] and "the passage found" in prompt.dropped["big"]
    without = built([big, small], images=2, context=ALONE + 11)  # one token too few for both
    assert kept(without) == ["big"] and set(without.dropped) == {"big", "big#1", "small"}


def test_a_passage_of_a_text_for_the_search_is_not_shown() -> None:
    [hit] = hits(replace(words("big", 500), retrieval_text="codes " * 9))
    hit = replace(hit, passage=Passage("big", 0, "codes"))
    assert kept(built([hit], images=1, context=ALONE + 100)) == []


def test_the_question_alone_must_fit() -> None:
    assert kept(built(THREE, images=1, context=ALONE)) == []
    with pytest.raises(UsageError, match=f"{ALONE} tokens.*takes {ALONE - 1}"):
        built(THREE, images=1, context=ALONE - 1)
    with pytest.raises(UsageError, match=f"{ALONE} tokens"):
        built([], images=1, context=ALONE - 1)


def test_a_reader_of_text_alone_gets_no_picture_and_this_is_stated() -> None:
    prompt = built(THREE, images=0, context=10**6)
    assert sources(prompt) == []
    assert prompt.dropped["question"].startswith("the reader reads text alone")


def test_images_over_the_number_go_by_rank_and_texts_stay() -> None:
    found = hits(words("a", 10, images=2), words("b", 20, images=2))
    prompt = built(found, images=4, context=10**6)
    assert sources(prompt) == ["question", "a", "a", "b"]
    assert kept(prompt) == ["a", "b"]
    assert prompt.dropped == {"b#2": "the reader takes 4 image(s) a prompt"}


def test_images_go_before_documents_when_only_they_are_too_much() -> None:
    found = hits(words("a", 10, images=1), words("b", 20, images=2))
    prompt = built(found, images=9, context=ALONE + 30 + 250)
    assert kept(prompt) == ["a", "b"]
    assert sources(prompt) == ["question", "a", "b"]
    assert set(prompt.dropped) == {"b#2"}
    assert "tokens" in prompt.dropped["b#2"]


def test_texts_go_before_images_are_given_room() -> None:
    found = hits(words("a", 10, images=1), words("b", 200))
    prompt = built(found, images=9, context=ALONE + 150)
    assert kept(prompt) == ["a"]
    assert sources(prompt) == ["question", "a"]
    assert set(prompt.dropped) == {"b"}


def test_a_document_that_is_only_a_picture_goes_with_it() -> None:
    found = hits(words("a", 10), Document("map", title="Map", images=("m.png",)), words("c", 5))
    prompt = built(found, images=1, context=10**6)
    assert kept(prompt) == ["a", "c"]
    assert "no text" in prompt.dropped["map"]
    assert "Map" not in prompt.text


def test_an_empty_document_is_not_shown() -> None:
    prompt = built(hits(Document("empty", " \n", title="T"), words("b", 2)), 1, 10**6)
    assert kept(prompt) == ["b"]
    assert prompt.dropped == {"empty": "it has neither text nor image"}


def test_evidence_is_numbered_as_kept() -> None:
    found = hits(Document("empty"), words("b", 2), words("c", 2))
    prompt = build_prompt(QUERY, found, PromptLimits(1, 10**6), count, "answer")
    assert kept(prompt) == ["b", "c"]
    first = prompt.text.index("[1]")
    assert first < prompt.text.index("b b") < prompt.text.index("[2]") < prompt.text.index("c c")
    assert "[3]" not in prompt.text


def test_an_ordinary_prompt_is_counted_once() -> None:
    calls = []

    def counting(prompt: Prompt) -> int:
        calls.append(prompt)
        return count(prompt)

    build_prompt(QUERY, THREE, PromptLimits(1, 10**6), counting, "short")
    assert len(calls) == 1


def test_an_image_that_cannot_be_read_makes_room_for_the_next() -> None:
    opened = []

    def refusing(prompt: Prompt) -> int:
        alone = [part.image for part in prompt.parts if isinstance(part, ImagePart)]
        opened.extend(alone)
        if "a0.png" in alone or "m.png" in alone:
            raise ReaderError("too thin")
        return count(prompt)

    pictured = Document("map", images=("m.png",))
    found = hits(words("a", 10, images=3), pictured, words("b", 20, images=2))
    prompt = build_prompt(QUERY, found, PromptLimits(4, 10**6), refusing, "short")
    assert kept(prompt) == ["a", "b"]
    assert sources(prompt) == ["question", "a", "a", "b"]
    assert prompt.dropped["a#1"] == prompt.dropped["map#1"] == "too thin"
    assert prompt.dropped["map"] == "no text, and its images cannot be read"
    assert set(prompt.dropped) == {"a#1", "map#1", "map", "b#2"}
    assert "b1.png" not in opened  # there is no room for it


def test_the_questions_own_image_is_not_dropped() -> None:
    def refusing(prompt: Prompt) -> int:
        raise ReaderError("too thin")

    with pytest.raises(ReaderError, match="too thin"):
        build_prompt(QUERY, THREE, PromptLimits(1, 10**6), refusing, "short")
