"""Templates: every field present gives the text as typed; absent fields take their words along."""

import datetime
import itertools
import random
import re
from decimal import Decimal

import pytest

from rag_vqa.errors import UsageError
from rag_vqa.formats.text_template import TextTemplate

ROW = {
    "Title": "Night Watch",
    "Description": "Men with pikes",
    "Artist": "Rembrandt",
    "Year": 1642,
    "City": "Leiden",
    "Height": 30,
    "Width": 50,
    "Number": "SK-C-5",
}
ISSUE = r"{Title}. {Description}\nMade by {Artist} in {Year}."


def fill(template: str, names: str) -> str:
    """The text when only these columns (with blanks between them) have a value."""
    return TextTemplate.parse(template, list(ROW)).fill({name: ROW[name] for name in names.split()})


def test_columns_of_a_template_are_found_by_capitals_and_blanks_of_any_kind() -> None:
    template = TextTemplate.parse("{ title } by {ARTIST}, {title}", [" Title", "Artist", "Year"])
    assert template.columns == (" Title", "Artist")
    assert template.fill({" Title": "Vase", "Artist": "Rembrandt"}) == "Vase by Rembrandt, Vase"
    exact = TextTemplate.parse("{year} {Year}", ["Year", "year"])
    assert exact.columns == ("year", "Year")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{Titel}", "Did you mean 'Title'"),
        ("{Nothing like it}", "Columns: Title, Description"),
        ("{}", "no such column"),
        ("{Title", "single {"),
        ("Title}", "single }"),
        ("words", "names no column"),
        ("", "names no column"),
        ("{{Title}}", "names no column"),
    ],
)
def test_a_template_that_cannot_be_meant_names_the_mistake(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=re.escape(named)):
        TextTemplate.parse(text, list(ROW))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            "Title Description Artist Year",
            "Night Watch. Men with pikes\nMade by Rembrandt in 1642.",
        ),
        ("Title Description Artist", "Night Watch. Men with pikes\nMade by Rembrandt."),
        ("Title Description Year", "Night Watch. Men with pikes\nMade in 1642."),
        ("Title Description", "Night Watch. Men with pikes"),
        ("Title Artist Year", "Night Watch.\nMade by Rembrandt in 1642."),
        ("Description", "Men with pikes"),
        ("Artist", "Made by Rembrandt."),
        ("Year", "Made in 1642."),
        ("", ""),
    ],
)
def test_the_template_of_the_issue(names: str, text: str) -> None:
    assert fill(ISSUE, names) == text
    assert fill(ISSUE.replace(r"\n", "\n"), names) == text  # a real line break, as from Python


@pytest.mark.parametrize(
    ("template", "names", "text"),
    [
        # brackets and quotes
        ("{Title} ({Artist}, {Year})", "Title Year", "Night Watch (1642)"),
        ("{Title} ({Artist}, {Year})", "Title", "Night Watch"),
        ("{Title} (c. {Year}).", "Title", "Night Watch."),
        ("{Title} [{Number}]", "Title", "Night Watch"),
        ('The "{Title}" by {Artist}.', "Artist", "By Rembrandt."),
        ("'{Title}' by '{Artist}'", "Title", "'Night Watch'"),
        ("**{Title}** by {Artist}", "Title", "**Night Watch**"),
        ("Size (of {Title}): {Height}", "Height", "Size: 30"),
        ("{{{Title}}} {Year}", "Title Year", "{Night Watch} 1642"),
        ("{{{Title}}} {Year}", "Year", "1642"),
        # labels and lists
        ("Artist: {Artist}, Year: {Year}", "Year", "Year: 1642"),
        ("Artist: {Artist}, Year: {Year}", "Artist", "Artist: Rembrandt"),
        ("Artist: {Artist} Year: {Year}", "Year", "Year: 1642"),
        ("Name of artist {Artist} year {Year}", "Year", "Year 1642"),
        ("{Title} | {Artist} | {Year}", "Title Year", "Night Watch | 1642"),
        ("{Title} - {Artist} - {Year}", "Artist Year", "Rembrandt - 1642"),
        ("{Title}, {Artist}, {Year}", "Artist", "Rembrandt"),
        ("{Title}; {Artist},", "Artist", "Rembrandt,"),
        ("{Title}: {Description}", "Description", "Men with pikes"),
        ("{Title}: {Description}", "Title", "Night Watch"),
        # fields that share their words
        ("Size: {Height} × {Width} cm", "Width", "Size: 50 cm"),
        ("Size: {Height} × {Width} cm", "Height", "Size: 30 cm"),
        ("{Height} cm x {Width} cm", "Height", "30 cm"),
        ("{Height} cm x {Width} cm", "Width", "50 cm"),
        ("Made by {Artist} and {Title} in {Year}", "Title Year", "Made by Night Watch in 1642"),
        ("{Height}–{Width}", "Width", "50"),
        # prepositions, in other languages too
        ("Gemalt von {Artist} im Jahr {Year}.", "Year", "Gemalt im Jahr 1642."),
        ("Peint par {Artist} en {Year}.", "Artist", "Peint par Rembrandt."),
        ("Made (by {Artist}) in {Year}", "Year", "Made in 1642"),
        ("{Title} is kept in {City}.", "City", "Is kept in Leiden."),
        ("{Title}, by {Artist}.", "Artist", "By Rembrandt."),
        # sentences and abbreviations
        ("{Title}. Inv. no. {Number}. {City}", "Title City", "Night Watch. Leiden"),
        ("{Height} cm. {Title}", "Height", "30 cm."),
        ("{Title}? {Artist}!", "Artist", "Rembrandt!"),
        ("{Title}，{Artist}。{City}", "Title City", "Night Watch。Leiden"),
        # lines
        (r"Provenance:\n- {City}\n- {Artist}\n\n{Title}", "Title", "Night Watch"),
        (r"Provenance:\n- {City}\n- {Artist}\n\n{Title}", "City", "Provenance:\n- Leiden"),
        (r"# {Title}\n\n{City}\n\n\n{Artist}", "Title Artist", "# Night Watch\n\nRembrandt"),
        (r"Our museum\n{Title}\n{Artist}", "Artist", "Our museum\nRembrandt"),
        (r"Our museum\n{Title}\n{Artist}", "", ""),
    ],
)
def test_words_of_an_absent_field_vanish_with_it(template: str, names: str, text: str) -> None:
    assert fill(template, names) == text


TEMPLATES = [
    ISSUE,
    "{Title} ({Artist}, {Year}), {City}. {Description}.",
    'The "{Title}" was made by {Artist} in {City} in {Year} ({Height} × {Width} cm).',
    r"Title: {Title}\nArtist: {Artist}\nSize: {Height} x {Width} cm\nInv. No. {Number}",
    "{Title} by {Artist}, made in {City}; {Year} [{Number}]. Size: {Height} cm x {Width} cm.",
    "{Title}, {Artist} ({City}); {Year} - {Number} | {Description}",
    "{Artist} of {City}: {Title}, from {Year} with {Description}",
]
DEBRIS = re.compile(
    r"  | [.,;:!?]|\( *\)|\[ *\]|\"\"|[,;:(\[|-] *$|^ *[.,;:|)\]-]|, *[,.;)]|\( |[^.]\.\.|: *[,.;]"
    r"|\b(by|in|from|with|of|and|x|×|Made|cm)[.,;:)\]]? *$"
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_choice_of_absent_fields_leaves_debris(template: str) -> None:
    parsed = TextTemplate.parse(template, list(ROW))
    whole = parsed.fill(ROW)
    expected = re.sub(r"\{(\w+)\}", lambda found: str(ROW[found[1]]), template)
    assert whole == expected.replace(r"\n", "\n")
    for size in range(len(parsed.columns)):
        for names in itertools.combinations(parsed.columns, size):
            text = parsed.fill({name: ROW[name] for name in names})
            for name in parsed.columns:  # no value is lost, none appears
                assert (str(ROW[name]) in text) == (name in names), (names, text)
            for line in text.split("\n") if text else ():
                unit = re.sub(r"(?<=[0-9]) cm", "", line)
                assert not DEBRIS.search(unit), (names, text)


def test_what_stands_in_a_value_is_left_as_it_is() -> None:
    template = TextTemplate.parse("{Title}. {Description}", ["Title", "Description"])
    row = {"Title": "Who is it?", "Description": "A  vase {of} ().\n\n\n- by  in ."}
    assert template.fill(row) == "Who is it? A  vase {of} ().\n\n\n- by  in ."
    assert template.fill({"Title": "Inc.", "Description": "\U000f0000"}) == "Inc. \U000f0000"


def test_values_of_other_libraries_are_written_as_in_a_csv() -> None:
    import numpy as np
    import pandas as pd

    template = TextTemplate.parse("{a}; {b}; {c}; {d}", ["a", "b", "c", "d"])
    day = datetime.datetime(1998, 5, 1, 6, 45)
    row = {"a": np.float64(1650.0), "b": pd.Timestamp(day), "c": Decimal("12.50"), "d": np.bool_(1)}
    assert template.fill(row) == "1650; 1998-05-01 06:45:00; 12.50; true"
    row = {"a": pd.NA, "b": pd.NaT, "c": float("nan"), "d": np.array(["oil", "canvas"])}
    assert template.fill(row) == "oil, canvas"
    assert template.fill({"a": "['oil', 'canvas']", "b": {"x": 1}, "c": b"x"}) == "oil, canvas"


def test_rows_of_json_may_spell_names_in_other_capitals() -> None:
    template = TextTemplate.parse("{Title} by {Artist}", ["Title", "Artist"])
    assert template.fill({"title": "Vase", "ARTIST ": "Li"}) == "Vase by Li"


def test_a_cell_of_a_csv_gives_the_text_that_the_value_gives() -> None:
    template = TextTemplate.parse("{a}; {b}; {c}; {d}", ["a", "b", "c", "d"])
    typed = {"a": 1650.0, "b": True, "c": datetime.datetime(1998, 5, 1), "d": []}
    cells = {"a": "1650.0", "b": "True", "c": "1998-05-01 00:00:00", "d": "[]"}
    assert template.fill(typed) == template.fill(cells, written=True) == "1650; true; 1998-05-01"
    assert template.fill({"a": "12.10", "b": "007", "c": "1.0.0"}, True) == "12.10; 007; 1.0.0"
    assert template.fill({"a": "1650.0"}) == "1650.0"  # a text of JSON stays as it is


PIECES = [
    "{a}", "{b}", "{c}", "{d}", " ", ". ", ", ", "; ", " by ", " in ", "(", ")", "[", "]", '"', "'",
    "“", "”", ": ", "\n", "- ", "# ", " × ", " x ", " and ", "/", "Made", "The", "no. ", "!", "?",
    "…", "*", "**", "cm", " - ", "·", "|", "«", "»", "$", "€", "。", "、", "：", "  ", "\t", ".",
]  # fmt: skip


def test_any_template_keeps_every_value_and_invents_none() -> None:
    chance = random.Random(5)
    row = {"a": "Alpha", "b": "Beta", "c": "Gamma", "d": "Delta"}
    tried = 0
    while tried < 2_000:
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 14)))
        try:
            template = TextTemplate.parse(text, list(row))
        except UsageError:
            continue
        tried += 1
        literal = re.sub(r"\{(\w)\}", lambda found: row[found[1]], text)
        assert template.fill(row).split() == literal.split(), text
        for size in range(len(template.columns)):
            for names in itertools.combinations(template.columns, size):
                filled = template.fill({name: row[name] for name in names})
                kept = {name for name in template.columns if row[name] in filled}
                assert kept == set(names), (text, names, filled)


def test_a_row_of_a_markdown_table_keeps_its_first_bar() -> None:
    assert fill("| {Title} | {Year} |", "Title Year") == "| Night Watch | 1642 |"
    assert fill("| {Title} | {Year} |", "Title") == "| Night Watch |"
