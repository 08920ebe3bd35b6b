"""InfoSeek scoring against the outputs of the official script, and what we refuse."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.eval import infoseek


@pytest.fixture
def golden(root: Path) -> Path:
    return root / "tests" / "golden" / "evaluators"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_normalize_answer_equals_the_official_outputs(golden: Path) -> None:
    items = rows(golden / "infoseek_normalize.jsonl")
    assert len(items) == 400
    for item in items:
        assert infoseek.normalize_answer(item["text"]) == item["normalized"], item


def test_parse_numbers_equals_the_official_outputs(golden: Path) -> None:
    items = rows(golden / "infoseek_parse_numbers.jsonl")
    assert len(items) == 400
    for item in items:
        assert infoseek.parse_numbers(item["text"]) == item["parsed"], item


def test_item_scores_equal_the_official_outputs(golden: Path) -> None:
    answers = {
        row["data_id"]: row["answer_eval"] for row in rows(golden / "infoseek_references.jsonl")
    }
    types = {row["data_id"]: row["question_type"] for row in rows(golden / "infoseek_qtypes.jsonl")}
    items = rows(golden / "infoseek_item_scores.jsonl")
    assert len(items) == 747
    for item in items:
        name = item["data_id"]
        score = infoseek.score_answer(item["prediction"], answers[name], types[name])
        assert score == item["score"], item


def test_the_official_result_equals_the_official_file(golden: Path) -> None:
    result = infoseek.score_file(
        golden / "infoseek_predictions.jsonl",
        golden / "infoseek_references.jsonl",
        golden / "infoseek_qtypes.jsonl",
        scorer="official",
    )
    assert json.dumps(result, indent=1) == (golden / "infoseek_result.json").read_text().strip()


def test_the_official_result_leaves_its_rows_as_they_were(golden: Path) -> None:
    files = [rows(golden / f"infoseek_{n}.jsonl") for n in ("predictions", "references", "qtypes")]
    before = copy.deepcopy(files)
    infoseek.official_result(*files)
    assert files == before


def test_strict_refuses_the_golden_file_with_counts(golden: Path) -> None:
    """800 questions, 748 predictions of 734 ids, one of them unknown: counted by hand."""
    files = [golden / f"infoseek_{n}.jsonl" for n in ("predictions", "references", "qtypes")]
    message = (
        "the 800 questions: 67 without a prediction, 14 with more than one, "
        "1 that the references do not contain"
    )
    with pytest.raises(BadInput, match=message):
        infoseek.score_file(*files)


REFERENCES = [
    {"data_id": "q1", "answer_eval": ["Alps"], "data_split": "val_unseen_question"},
    {"data_id": "q2", "answer_eval": {"range": [9, 11]}, "data_split": "val_unseen_question"},
    {"data_id": "e1", "answer_eval": ["1990"], "data_split": "val_unseen_entity"},
]
TYPES = [
    {"data_id": "q1", "question_type": "String"},
    {"data_id": "q2", "question_type": "Numerical"},
    {"data_id": "e1", "question_type": "Time"},
]


def predict(**answers: str) -> list[dict[str, str]]:
    return [{"data_id": name, "prediction": text} for name, text in answers.items()]


def test_a_result_by_hand() -> None:
    """Question split 1 of 2, entity split 1 of 1: harmonic mean of 50 and 100 is 66.67."""
    result = infoseek.strict_result(predict(q1="the Alps", q2="12", e1="1990"), REFERENCES, TYPES)
    assert result == {
        "final_score": 66.67,
        "unseen_question_score": {
            "score": 50.0, "score_time": 0, "score_num": 0.0, "score_string": 100.0},
        "unseen_entity_score": {
            "score": 100.0, "score_time": 100.0, "score_num": 0, "score_string": 0},
    }  # fmt: skip
    # A score of 0 is printed as 0.0 where questions were asked and as 0 where none were.
    assert '"score_time": 0,' in json.dumps(result)


def test_a_split_without_a_right_answer_gives_zero() -> None:
    result = infoseek.official_result(predict(q1="Andes", e1="1990"), REFERENCES, TYPES)
    assert result["final_score"] == 0.0


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("2-3", [2.0, 3.0]), ("-2", -2.0), ("3.4.5", [3.4, 5.0]), ("1 2 3", [1.0, 2.0]),
     ("2 1 3", 2.0), ("12,34", [12.0, 34.0]),
     (".1.2.", 1.2),  # ".1.2" is one match and loses its outer dot; the last dot is no number
     ("1,0000", 10000.0),  # "1,000" takes the digits after it as well
     ("5e3-4", 5000.0),  # a hyphen after a digit: 5000, then 4, which descends
     ("-.1.5", [0, 0]), ("+.1.5 7", 7.0)],  # the official script stops at these two
)  # fmt: skip
def test_numbers_at_the_edges(text: str, parsed: object) -> None:
    assert infoseek.parse_numbers(text) == parsed


@pytest.mark.parametrize(
    ("prediction", "score"),
    [("9", 1), ("11", 1), ("8.99", 0), ("9 to 11", 1),
     ("8 to 11", 1),  # overlap 2 of 3
     ("7 to 11", 1),  # 2 of 4 is the threshold itself
     ("6.9 to 11", 0), ("none", 0)],
)  # fmt: skip
def test_ranges_by_hand(prediction: str, score: int) -> None:
    assert infoseek.score_answer(prediction, [{"range": [9, 11]}], "Numerical") == score


def test_no_number_is_right_where_the_range_holds_zero() -> None:
    assert infoseek.score_answer("none", {"range": [-1, 1]}, "numerical") == 1


@pytest.mark.parametrize(
    ("answer_eval", "question_type"),
    [([], "String"), ([{"range": [1, 2]}], "Time"), (["1"], "Numerical"), ([], "Numerical"),
     ({"range": [1]}, "Numerical"), (["Alps"], "Boolean"), ("Alps", "String")],
)  # fmt: skip
def test_a_reference_that_does_not_fit_is_refused(answer_eval: Any, question_type: str) -> None:
    with pytest.raises(BadInput, match="question"):
        infoseek.score_answer("1", answer_eval, question_type)


def test_a_row_that_cannot_be_scored_is_named() -> None:
    with pytest.raises(BadInput, match="question e1: prediction is None"):
        infoseek.official_result([{"data_id": "e1", "prediction": None}], REFERENCES, TYPES)
    with pytest.raises(BadInput, match="1 references have no question_type, first e1"):
        infoseek.official_result([], REFERENCES, TYPES[:2])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"data_id": "q1", "prediction": "x"}\n\n{"data_id": \n')
    with pytest.raises(BadInput, match=r"broken\.jsonl, line 3: not JSON"):
        infoseek.score_file(broken, broken, broken)
    broken.write_text("[1]\n")
    with pytest.raises(BadInput, match="line 1: list, not an object"):
        infoseek.score_file(broken, broken, broken)
    with pytest.raises(Missing, match="nowhere"):
        infoseek.score_file(tmp_path / "nowhere", broken, broken)
    with pytest.raises(UsageError, match="neither strict nor official"):
        infoseek.score_file(broken, broken, broken, scorer="lax")  # type: ignore[arg-type]
