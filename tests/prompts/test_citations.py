"""Citations: which exist, which do not, and forms that models write."""

import pytest

from rag_vqa.prompts.builder import parse_citations


@pytest.mark.parametrize(
    ("text", "there", "invalid"),
    [
        ("[3], [1] and [3]; not [0], [4] or [x]", (3, 1), (0, 4)),
        ("In burrows [1, 3; 9], on cliffs [ 2 ].", (1, 3, 2), (9,)),
        ("none", (), ()),
        ("", (), ()),
        ("[] [a1] [1.5] [-1] (1) 1]", (), ()),
        (f"[{'1' * 5000}]", (), ()),  # int() takes no more than 4,300 digits
        ("[٣]", (), ()),
        ("[1-2]", (1, 2), ()),
        ("[1–3]", (1, 2, 3), ()),
        ("【2】 and ［1，3］", (2, 1, 3), ()),
        ("[3, 1 - 2]", (3, 1, 2), ()),
        ("[2-999999]", (2, 3), (999999,)),  # never a million numbers
        ("[0-2]", (1, 2), (0,)),
        ("[3-1]", (3, 1), ()),
        ("[1-] [-2] [1-2-3]", (), ()),
    ],
)
def test_cited(text: str, there: tuple[int, ...], invalid: tuple[int, ...]) -> None:
    assert parse_citations(text, 3) == (there, invalid)


def test_without_documents_every_citation_is_invalid() -> None:
    assert parse_citations("[1]", 0) == ((), (1,))
