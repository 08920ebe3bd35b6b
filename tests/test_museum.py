"""The museum of benchmarks/: its questions have answers in its texts, and its pictures differ."""

import csv
import runpy
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.images import load

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "museum.py"


@pytest.fixture(scope="module")
def museum() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_every_answer_stands_in_its_document(museum: dict[str, Any]) -> None:
    texts = {each["id"]: each["text"].casefold() for each in museum["read_documents"]()}
    questions = museum["read_questions"]()
    answered = [each for each in questions if "answers" in each]
    assert len(texts) == 200
    assert len(answered) == 100
    for each in answered:
        (document,) = each["document_ids"]
        assert any(answer.casefold() in texts[document] for answer in each["answers"]), each


def test_both_halves_have_questions_of_both_kinds(museum: dict[str, Any]) -> None:
    questions = museum["read_questions"]()
    assert len({each["id"] for each in questions}) == len(questions)
    for half in ("dev", "test"):
        own = [each for each in questions if each["id"].startswith(half)]
        assert sum("answers" in each for each in own) == 50
        assert sum(each.get("unanswerable", False) for each in own) >= 20


def test_pictures_of_two_objects_differ_and_come_out_the_same_again(
    museum: dict[str, Any], tmp_path: Path
) -> None:
    draw = museum["draw_object"]
    museum["write_museum"](tmp_path)
    first, second = (load(tmp_path / name) for name in ("cer-01.png", "cer-02.png"))
    assert first.tobytes() == draw("cer-01").tobytes() != second.tobytes()
    assert len(list(tmp_path.glob("*.png"))) == 200


def test_the_table_holds_the_same_objects_under_headings_of_a_museum(
    museum: dict[str, Any], tmp_path: Path
) -> None:
    museum["write_museum"](tmp_path)
    with (tmp_path / "catalogue.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    objects = museum["read_documents"]()
    assert [row["Description"] for row in rows] == [each["text"] for each in objects]
    assert len({row["Inventory no."] for row in rows}) == 200
    assert rows[0]["Photo"] == "cer-01.png"
    assert rows[0]["Place"] == "Harne"
