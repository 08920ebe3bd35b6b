"""Packing, with a counter of words and one of characters."""

import re

import pytest

from rag_vqa.formats.text_pieces import split_pieces
from rag_vqa.retriever.window_packing import pack_pieces, split_clusters


def pack(text: str, window: int, by_character: bool = False) -> list[str]:
    def fits(part: str) -> bool:
        return len(part if by_character else part.split()) <= window

    return pack_pieces(split_pieces(text), fits, window)


def test_each_window_of_a_table_begins_with_its_header() -> None:
    rows = [f"{year} | Bow porcelain" for year in range(1750, 1755)]
    windows = pack("Some words.\nYear | Maker\n" + "\n".join(rows), 13)
    assert windows == [
        "\n".join(["Some words.", "Year | Maker", *rows[:2]]),
        "\n".join(["Year | Maker", *rows[2:4]]),
        "\n".join(["Year | Maker", rows[4]]),
    ]


def test_a_header_that_fills_half_of_a_window_is_not_repeated() -> None:
    rows = ["a b c d | e f g h", "1 | 2", "3 | 4", "5 | 6", "7 | 8", "9 | 10"]
    windows = pack("\n".join(rows), 12)
    assert "\n".join(windows) == "\n".join(rows)


def test_a_row_that_does_not_fit_is_cut_between_cells() -> None:
    windows = pack("A | B\none two three | four five six seven\nx | y", 6)
    assert windows == ["A | B", "one two three |", "four five six seven", "A | B\nx | y"]


def test_items_and_lines_of_code_are_not_cut() -> None:
    assert pack("- a b c. d\n- e f\n- g h i j", 6) == ["- a b c. d", "- e f", "- g h i j"]
    code = "```\nif a:\n    b = c\nelse:\n    d\n```"
    assert pack(code, 6) == ["```\nif a:\n    b = c", "else:\n    d\n```"]


def test_a_long_sentence_is_cut_behind_a_clause_or_between_words() -> None:
    assert pack("a b c d, e f g h", 5) == ["a b c d,", "e f g h"]
    assert pack("a, b c d e f g h", 5) == ["a, b c d e", "f g h"]


def test_scripts_without_blanks_are_cut_between_clusters() -> None:
    thai = "ภาษาไทยไม่มีช่องว่างระหว่างคำที่นี่"
    windows = pack(thai, 6, by_character=True)
    assert "".join(windows) == thai
    marks = re.compile("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0e33]")  # vowels and tones above, below
    assert not any(marks.match(window) for window in windows)
    chinese = "北京是一个古老的城市、有三千多年的历史"
    assert pack(chinese, 12, by_character=True) == ["北京是一个古老的城市、", "有三千多年的历史"]
    assert pack("一二三四五六」七八", 6, by_character=True) == ["一二三四五", "六」七八"]


def test_clusters_are_whole_unless_they_are_no_letters() -> None:
    family, flag = "👨‍👩‍👧", "🇩🇪"
    assert split_clusters(f"{family}{flag}e\u0301क्षि") == [family, flag, "e\u0301", "क्षि"]
    assert pack(family * 4, len(family) + 1, by_character=True) == [family] * 4
    assert len(max(split_clusters("x" + "\u0301" * 1000), key=len)) <= 16


def test_what_cannot_be_cut_is_a_window_all_the_same() -> None:
    assert pack_pieces(split_pieces("a b"), lambda text: False, 5) == ["a", "b"]


@pytest.mark.parametrize("window", [3, 7, 20])
def test_nothing_is_lost(window: int) -> None:
    text = (
        "# Title\nOne, two. Three four five six seven eight nine ten eleven twelve.\n"
        "- item one. More\n- item two\n\na | b\n1 | 2\n3 | 4\n\n```\nx = 1\n  y = 2\nz\n```\nEnd."
    )
    windows = pack(text, window)
    assert all(len(one.split()) <= window for one in windows)
    left = iter("".join(" ".join(windows).split()))
    assert all(letter in left for letter in "".join(text.split()))
