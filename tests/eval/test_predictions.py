"""Files of predictions: what does not fit is counted."""

import json
from pathlib import Path

import pytest

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.infoseek import score_file
from rag_vqa.eval.predictions import check_fit, read_rows


def test_every_fault_is_counted() -> None:
    rows = [
        {"id": "a", "prediction": "x"}, {"id": "a", "prediction": "y"},  # twice
        {"id": "b", "prediction": None}, {"id": "c", "prediction": ["x"]},
        {"id": "d", "prediction": float("nan")}, {"id": "e"},  # no texts
        {"id": "z", "prediction": "x"}, {"id": "y", "prediction": "x"},  # unknown
        {"prediction": "x"}, {"id": 7, "prediction": "x"},
    ]  # fmt: skip
    message = (
        r"the 6 questions: 1 without a prediction, 1 with more than one, 2 that the references do "
        r"not contain, 4 whose prediction is not a text, 2 without a usable id\. .* Do this\.$"
    )
    with pytest.raises(BadInput, match=message):
        check_fit(
            rows,
            set("abcdef"),
            lambda row: row.get("id") if row.get("id") != 7 else None,
            "Do this.",
        )


def test_what_fits_passes() -> None:
    check_fit([{"id": "a", "prediction": ""}], {"a"}, lambda row: row["id"])


@pytest.mark.parametrize("value", ["null", "NaN", '["x"]', "3"])
def test_infoseek_strict_refuses_what_is_no_text(tmp_path: Path, value: str) -> None:
    reference = {"data_id": "q", "answer_eval": ["x"], "data_split": "val_unseen_question"}
    (tmp_path / "r").write_text(json.dumps(reference))
    (tmp_path / "t").write_text('{"data_id": "q", "question_type": "String"}')
    (tmp_path / "p").write_text(f'{{"data_id": "q", "prediction": {value}}}')
    with pytest.raises(BadInput, match="1 questions: 1 whose prediction is not a text"):
        score_file(tmp_path / "p", tmp_path / "r", tmp_path / "t")


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b'{"a": \xff}', "not JSON"), (b"[" * 100_000, "not JSON"), (b"3", "int, not an object")],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "p").write_bytes(b'{"id": 1}\r\n\r\n' + line)
    with pytest.raises(BadInput, match=rf"p, line 3: {reason}"):
        list(read_rows(tmp_path / "p"))


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n')
    assert list(read_rows(tmp_path / "p")) == [{"id": 1}]


def test_no_file() -> None:
    with pytest.raises(Missing, match="nowhere"):
        list(read_rows(Path("nowhere")))
