"""Stop texts cut across pieces: against cutting the whole text at once."""

import random

import pytest

from rag_vqa.answer_stream import StopSequenceFilter


def told(pieces: list[str], stop: tuple[str, ...]) -> tuple[str, bool, list[str]]:
    said: list[str] = []
    telling = StopSequenceFilter(said.append, stop)
    for piece in pieces:
        if not telling.feed(piece):
            break
    telling.flush()
    assert "".join(said) == telling.text
    return telling.text, telling.stopped, said


def whole(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    places = [text.find(one) for one in stop if one in text]
    return (text[: min(places)] if places else text).lstrip(), bool(places)


def test_any_cut_into_pieces_ends_where_the_whole_text_would() -> None:
    draw = random.Random(0)
    for _ in range(3000):
        text = "".join(draw.choices("ab \n", k=draw.randrange(12)))
        stop = tuple("".join(draw.choices("ab\n", k=draw.randint(1, 3))) for _ in range(2))
        cuts = sorted(draw.choices(range(len(text) + 1), k=draw.randrange(5)))
        pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        text_told, stopped, _ = told(pieces, stop)
        # Of two stop texts the one that is whole first ends it, wherever the other would begin.
        assert stopped == whole(text, stop)[1]
        assert text.lstrip().startswith(text_told)
        assert not any(one in text_told for one in stop)
        if len(stop) == 1 or not stopped:
            assert text_told == whole(text, stop)[0]


@pytest.mark.parametrize("stop", [("\n",), ("\n", "\n")])
def test_text_is_told_as_soon_as_it_is_certain(stop: tuple[str, ...]) -> None:
    assert told([" ", "Os", "lo", " [1]", "\nIt"], stop) == ("Oslo [1]", True, ["Os", "lo", " [1]"])


def test_what_was_held_back_is_told_at_the_end() -> None:
    assert told(["a<", "e"], ("<end>",)) == ("a<e", False, ["a", "<e"])
    assert told(["a<e"], ("<end>",)) == ("a<e", False, ["a", "<e"])
    assert told(["a"], ("",)) == ("a", False, ["a"])
