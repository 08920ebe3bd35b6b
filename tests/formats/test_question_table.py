"""Own question sets as people have them: CSV, Excel, Parquet, JSON; ids and answers of any type."""

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from openpyxl import Workbook
from pyarrow import parquet

from rag_vqa.errors import BadInput
from rag_vqa.formats.question_set import check_questions, open_questions
from rag_vqa.types import Example

ROWS: list[dict[str, Any]] = [
    {"ID": 1, " Question ": "Who made it?", "Answer": "Bow"},
    {"ID": 2, " Question ": "How high is it?", "Answer": 12},
    {"ID": 3, " Question ": "How wide is it?", "Answer": 12.5},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = [*rows[0]]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        lines = [";".join(str(row[name]) for name in names) for row in rows]
        path.write_text("\n".join([";".join(names), *lines]), encoding="cp1252")
    elif path.suffix == ".xlsx":
        book = Workbook()
        for row in [names, *([row[name] for name in names] for row in rows)]:
            book.active.append(row)  # type: ignore[union-attr]
        book.save(path)
    else:
        texts = {
            name: [str(row[name]) if name == "Answer" else row[name] for row in rows]
            for name in names
        }
        parquet.write_table(pa.table(texts), path)
    return path


def read(path: Path) -> list[Example]:
    return list(open_questions("own", path).examples())


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "xlsx", "parquet"])
def test_one_set_in_every_format(tmp_path: Path, suffix: str) -> None:
    found = read(write(tmp_path / f"mine.{suffix}", ROWS))
    assert [(one.id, one.query.text, one.answers) for one in found] == [
        ("1", "Who made it?", ("Bow",)),
        ("2", "How high is it?", ("12",)),
        ("3", "How wide is it?", ("12.5",)),
    ]


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        (["a", 2], ("a", "2")),
        (3.0, ("3",)),
        (True, ("true", "yes")),
        (False, ("false", "no")),
        ("a|b", ("a|b",)),
    ],
)
def test_answers_of_json(tmp_path: Path, value: Any, answers: tuple[str, ...]) -> None:
    path = write(tmp_path / "mine.jsonl", [{"id": 1.0, "question": "?", "answers": value}])
    (found,) = read(path)
    assert (found.id, found.answers) == ("1", answers)


def test_cells_of_tables(tmp_path: Path) -> None:
    date = datetime.datetime(1998, 5, 1)
    rows = [
        {"question_id": "q1", "question": "When?", "label": date, "unanswerable": None},
        {"question_id": "q2", "question": "Who?", "label": "Ann | Bob", "unanswerable": None},
        {"question_id": "q3", "question": "Why?", "label": None, "unanswerable": True},
    ]
    rows = [{**row, "note": "x"} for row in rows]
    path = write(tmp_path / "mine.xlsx", rows)
    found = read(path)
    assert found[0].answers == ("1998-05-01",) and found[1].answers == ("Ann", "Bob")
    assert (found[2].answers, found[2].unanswerable) == ((), True)
    checked = check_questions("own", path)
    assert list(checked.remarks.values()) and "note" in next(iter(checked.remarks))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.csv", "id,question,answers\nq1,Who?,Ann\nq2,What?,\n"),
        ("mine.csv", "id,question,answers\nq1,Who?,Ann\nq2,What?,a||b\n"),
        ("mine.jsonl", '{"id": "q1", "question": "Who?", "answers": "Ann"}\n'
                       '{"id": "q2", "question": "What?", "answers": ""}\n'),
        ("mine.jsonl", '{"id": "q1", "question": "Who?", "answers": "Ann"}\n'
                       '{"id": "q2", "question": "What?", "answers": ["a", " "]}\n'),
    ],
)  # fmt: skip
def test_an_empty_answer_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    line = 3 if name.endswith("csv") else 2
    with pytest.raises(BadInput, match=f"line {line}: question 'q2': .*empty"):
        read(tmp_path / name)
    (reason,) = check_questions("own", tmp_path / name).refused
    assert "empty" in reason


def test_a_misspelt_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,question,anwsers\nq1,Who?,Ann\n")
    with pytest.raises(BadInput, match=r"unknown field 'anwsers'\. Did you mean 'answers'"):
        read(tmp_path / "mine.csv")


def test_a_folder_holds_a_split_of_any_kind(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", ROWS)
    assert len(read(tmp_path)) == 3
