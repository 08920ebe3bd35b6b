"""Front matter, title and text of Markdown; the texts are written by hand."""

from typing import Any

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.markdown import parse_markdown

FRONT = """---
title: "A vase: blue"
url: https://example.org/vase
year: 1750
inv: 007
tags:
  - china
  - 'blue'
alias: [a, b]
# a comment
empty:
---

# A heading that stays

Text.
"""


def test_front_matter() -> None:
    assert parse_markdown(FRONT) == {
        "title": "A vase: blue",
        "url": "https://example.org/vase",
        "text": "# A heading that stays\n\nText.",
        "metadata": {"year": 1750, "inv": "007", "tags": "china, blue", "alias": "[a, b]"},
    }
    assert parse_markdown(FRONT.replace("\n", "\r\n"))["metadata"]["tags"] == "china, blue"


@pytest.mark.parametrize(
    ("source", "title", "text"),
    [
        ("# Vase\n\nBlue.\n", "Vase", "Blue."),
        ("Intro.\n\n# Vase #\nBlue.", "Vase", "Intro.\n\nBlue."),
        ("```\n# no title\n```\n# Vase\nBlue.", "Vase", "```\n# no title\n```\nBlue."),
        ("## Second level\n#no space\nText.", "", "## Second level\n#no space\nText."),
        ("# One\n# Two\nText.", "One", "# Two\nText."),
        ("---\nnot closed\n# Vase", "Vase", "---\nnot closed"),  # a rule, not front matter
        ("---\n---\nText.", "", "Text."),
        ("", "", ""),
        ("# Only a title", "Only a title", ""),
    ],
)
def test_title_and_text(source: str, title: str, text: str) -> None:
    assert parse_markdown(source) == {"title": title, "text": text, "metadata": {}}


def test_keys_that_files_themselves_decide_are_only_metadata() -> None:
    fields = parse_markdown("---\nid: x\nimage: /etc/passwd\ntext: t\nmetadata: m\n---\nText.")
    expected: dict[str, Any] = {"id": "x", "image": "/etc/passwd", "text": "t", "metadata": "m"}
    assert fields == {"title": "", "text": "Text.", "metadata": expected}


@pytest.mark.parametrize(
    ("front", "reason"),
    [
        ("year: 1\nyear: 2", "line 3: 'year' is repeated"),
        ("no pair", "line 2 of the front matter, 'no pair', is not `key: value`"),
        ("  - item of nothing", "line 2 of the front matter"),
        ("a:b", "line 2 of the front matter"),
    ],
)
def test_front_matter_that_is_none(front: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        parse_markdown(f"---\n{front}\n---\nText.")


def test_hostile_lengths_cost_no_time() -> None:
    # Nothing is expected of these but to come back: a pattern that looks back would take hours.
    for source in ("---\n" * 20_000, "---\n" + "a: " * 50_000, "# " + " #" * 50_000, "#" * 100_000):
        try:
            parse_markdown(source)
        except BadInput:
            continue
