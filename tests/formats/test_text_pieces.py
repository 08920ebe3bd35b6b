"""Pieces: what of a text is not cut, if it fits."""

import pytest

from rag_vqa.formats.text_pieces import split_pieces


def pieces(text: str) -> list[str]:
    return [piece.text for piece in split_pieces(text)]


def test_paragraphs_are_sentences() -> None:
    assert pieces("One two. Three.\n\nFour  five.\nSix") == [
        "One two.",
        "Three.",
        "Four five.",
        "Six",
    ]


def test_a_margin_breaks_no_sentence() -> None:
    text = (
        "The museum of the city was built by an architect from Vienna,\n"
        "Otto Wagner, who had never seen it. It was opened in 1903 and\n"
        "Closed in 1938. Nobody came back.\nThe end\nis\nhere"
    )
    assert pieces(text)[:4] == [
        "The museum of the city was built by an architect from Vienna, Otto Wagner, who had never "
        "seen it.",
        "It was opened in 1903 and Closed in 1938.",
        "Nobody came back.",
        "The end is here",
    ]
    assert pieces("Otto Wagner\nArchitect\nVienna") == ["Otto Wagner", "Architect", "Vienna"]
    wide = [
        "这座博物馆是由一位来自维也纳的建筑师建造的，他从来没有见过这座博物馆，也没有来过这座城"
    ] * 2
    assert pieces("\n".join([*wide, "市。"])) == ["".join([*wide, "市。"])]


@pytest.mark.parametrize(
    "rows",
    [
        ["Year | Maker", "1780 | Bow. Of London", "1790 |"],
        ["| Year | Maker |", "| 1780 | Bow. Of London |", "| | Spode |"],
        ["Year\tMaker", "1780\tBow. Of London", "1790\tSpode"],
    ],
)
def test_rows_are_whole_and_know_their_header(rows: list[str]) -> None:
    found = split_pieces("Before. It.\n" + "\n".join(rows) + "\n\nAfter. It.")
    assert [one.text for one in found] == [
        "Before.", "It.", "\n".join(rows[:2]), rows[2], "After.", "It.",
    ]  # fmt: skip
    assert (found[2].header, found[3].header) == ("", rows[0])


def test_the_rule_below_a_header_belongs_to_it() -> None:
    found = split_pieces("| a   | b |\n|-----|:-:|\n| 1 | 2 |\n| 3 | 4 |")
    assert [one.text for one in found] == ["| a | b |\n|-----|:-:|\n| 1 | 2 |", "| 3 | 4 |"]
    assert found[1].header == "| a | b |\n|-----|:-:|"
    (_, last) = split_pieces("+---+---+\n| a | b |\n+===+---+\n| 1 | 2 |\n+---+---+\n| 3 | 4 |")
    assert (last.text, last.header) == ("| 3 | 4 |", "+---+---+\n| a | b |\n+===+---+")
    assert pieces("|--|--|\n|--|--|") == ["|--|--|\n|--|--|"]


def test_one_line_with_bars_is_no_table() -> None:
    assert pieces("Home | About us. Here\nWelcome.") == ["Home | About us.", "Here", "Welcome."]


def test_code_keeps_its_lines_and_indentation() -> None:
    code = "```python\ndef f(x):\n    # A. B. \n    return x\n```"
    found = split_pieces(f"Use it.\n{code}\nThen. Go.")
    assert [one.text for one in found] == [
        "Use it.",
        "```python\ndef f(x):",
        "    # A. B.",
        "    return x\n```",
        "Then.",
        "Go.",
    ]
    assert pieces("    if x:\n        y = (1)") == ["    if x:", "        y = (1)"]
    assert pieces("```\nOne. Two.") == ["```", "One.", "Two."]  # never closed: text


def test_items_are_whole() -> None:
    text = "Rules:\n- One. Two\n  three.\n  * Nested. It.\n2. Four. Five.\n\nSix. Seven."
    assert pieces(text) == [
        "Rules:\n- One. Two three.",
        "  * Nested. It.",
        "2. Four. Five.",
        "Six.",
        "Seven.",
    ]
    assert [part.text for part in split_pieces(text)[2].parts] == ["2. Four.", "Five."]


def test_a_heading_stays_with_its_text() -> None:
    assert pieces("# Vases\n\nThey are blue. And white.\n## Old\n## New\nNone.") == [
        "# Vases\nThey are blue.",
        "And white.",
        "## Old",
        "## New\nNone.",
    ]
