"""What the reader is trained on is right: each stated answer stands in the document it cites."""

import re

import numpy as np
import pytest

from rag_vqa.demo.training.reader_contexts import UNKNOWN, Context, make_contexts


@pytest.fixture(scope="module")
def drawn() -> dict[int, list[Context]]:
    rng = np.random.default_rng(5)
    return {k: make_contexts(rng, 40, k) for k in (0, 1, 3)}


def test_answers_stand_in_the_cited_document(drawn: dict[int, list[Context]]) -> None:
    cited = 0
    for k in (1, 3):
        for context in drawn[k]:
            for _, answer in context.questions:
                found = re.fullmatch(r"(?:\[(\d)\] )?(.+)", answer)
                assert found is not None
                number, value = found[1], found[2]
                if value == UNKNOWN:
                    assert number is None
                elif context.template == "answer":
                    cited += 1
                    assert value in context.hits[int(number) - 1].document.text
                else:
                    assert number is None
    assert cited > 60


def test_without_documents_everything_is_unknown(drawn: dict[int, list[Context]]) -> None:
    for context in drawn[0]:
        assert not context.hits and context.template == "closed-book"
        assert {answer for _, answer in context.questions} == {UNKNOWN}


def test_the_right_document_is_first_most_of_the_time(drawn: dict[int, list[Context]]) -> None:
    numbers = [answer[1] for c in drawn[3] for _, answer in c.questions if answer.startswith("[")]
    share = numbers.count("1") / len(numbers)
    assert 0.6 < share < 0.97 and {"2", "3"} & set(numbers)


def test_pictures_follow_the_prompt(drawn: dict[int, list[Context]]) -> None:
    for k, made in drawn.items():
        for context in made:
            assert len(context.pictures) == 1 + k
            assert all(p.dtype == np.uint8 and p.ndim == 3 for p in context.pictures)


def test_the_same_seed_draws_the_same() -> None:
    a, b = (make_contexts(np.random.default_rng(9), 2, 2) for _ in range(2))
    assert [c.questions for c in a] == [c.questions for c in b]
    for first, second in zip(a, b, strict=True):
        for p, q in zip(first.pictures, second.pictures, strict=True):
            np.testing.assert_array_equal(p, q)
