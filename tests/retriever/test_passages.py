"""Splitting, with a counter of words plus two marks, and one of characters."""

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.retriever.passages import split_document
from rag_vqa.types import Document


def words(text: str) -> int:
    return len(text.split()) + 2


def characters(text: str) -> int:
    return len(text) + 2


def texts(document: Document, window: int = 8) -> list[str]:
    return [passage.text for passage in split_document(document, words, window)]


def test_a_short_document_is_one_passage_with_its_line_breaks() -> None:
    document = Document("a", "One two.\nThree.", title="Puffin", section="Breeding")
    assert texts(document, 77) == ["Puffin · Breeding\nOne two.\nThree."]
    assert texts(Document("a", "One.", section="Breeding"), 77) == ["Breeding\nOne."]
    assert texts(Document("a", " One. ", title=" "), 77) == ["One."]


def test_windows_end_at_sentences_and_repeat_the_title() -> None:
    document = Document("a", "A b c. D e! F g h i? J.\nK l", title="T")
    # 8 tokens less two marks less the title: 5 words a window.
    assert texts(document) == ["T\nA b c. D e!", "T\nF g h i? J.", "T\nK l"]


def test_sentences_of_other_scripts_and_after_quotes() -> None:
    assert texts(Document("a", 'Say "a b." Then c d e.'), 6) == ['Say "a b."', "Then c d e."]
    found = split_document(Document("a", "一二三。四五六。"), characters, 6)
    assert [passage.text for passage in found] == ["一二三。", "四五六。"]


def test_a_sentence_longer_than_the_window_is_cut_between_words() -> None:
    document = Document("a", "a b c d e f g h i. J k.", title="T")
    assert texts(document) == ["T\na b c d e", "T\nf g h i.", "T\nJ k."]


def test_a_word_longer_than_the_window_is_cut_between_characters() -> None:
    found = split_document(Document("a", "x" * 25 + " end"), characters, 12)
    assert [passage.text for passage in found] == ["x" * 10, "x" * 10, "xxxxx end"]


@pytest.mark.parametrize("window", [8, 20, 77])
def test_every_window_fits_and_no_word_is_lost(window: int) -> None:
    text = " ".join(f"w{n}{'.' if n % 13 == 0 else ''}" for n in range(1000))
    document = Document("a", text, title="A title", section="of four")
    found = split_document(document, words, window)
    assert all(words(passage.text) <= window for passage in found)
    bodies = [passage.text.split("\n", 1)[1] for passage in found]
    assert " ".join(bodies) == text
    assert [passage.position for passage in found] == list(range(len(found)))


def test_a_title_that_would_fill_the_window_is_cut() -> None:
    document = Document("a", "One two three.", title="t " * 50)
    assert texts(document, 10) == ["t t t\nOne two three."]


def test_images_go_with_windows_then_stand_alone() -> None:
    two_windows = "A b c d. E f g h."
    for given, expected in [
        ((), [None, None]),
        (("p",), ["p", "p"]),
        (("p", "q"), ["p", "q"]),
        (("p", "q", "r"), ["p", "q", "r"]),
    ]:
        found = split_document(Document("a", two_windows, title="T", images=given), words, 8)
        assert [passage.image for passage in found] == expected
        assert [p.text for p in found] == ["T\nA b c d.", "T\nE f g h.", "T"][: len(expected)]


def test_an_image_alone_is_a_passage() -> None:
    (found,) = split_document(Document("a", images=("p",)), words, 77)
    assert (found.text, found.image) == ("", "p")


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_neither_text_nor_image_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="neither text nor image"):
        split_document(Document("a", text, title="T"), words, 77)


@pytest.mark.parametrize("text", ["x" * 2**20, "x " * 2**19, "x" + " " * 2**20 + "y", "あ" * 2**18])
def test_a_megabyte_costs_few_counted_characters(text: str) -> None:
    counted = 0

    def count(piece: str) -> int:
        nonlocal counted
        counted += len(piece)
        return characters(piece)

    found = split_document(Document("a", text), count, 77)
    assert "".join("".join(p.text for p in found).split()) == "".join(text.split())
    assert counted < 100 * len(text)
