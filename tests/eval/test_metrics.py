"""The metrics as the library `evaluate` loads them: by path, offline."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluate
import pytest

from rag_vqa.errors import BadInput
from rag_vqa.eval.metrics.evqa import Evqa
from rag_vqa.eval.metrics.infoseek import InfoSeek


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """evaluate.load on a metric's file; what the library copies goes to a folder of the test's."""
    folder = tmp_path_factory.mktemp("evaluate")
    metrics = Path(__file__).parents[2] / "rag_vqa" / "eval" / "metrics"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(str(folder))
        yield lambda name: evaluate.load(str(metrics / f"{name}.py"), cache_dir=str(folder))


def golden(root: Path, name: str) -> list[dict[str, Any]]:
    path = root / "tests" / "golden" / "evaluators" / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_infoseek_gives_the_official_result(root: Path, load: Any) -> None:
    references = {row["data_id"]: row for row in golden(root, "infoseek_references.jsonl")}
    types = {row["data_id"]: row["question_type"] for row in golden(root, "infoseek_qtypes.jsonl")}
    asked = [row for row in golden(root, "infoseek_predictions.jsonl") if row["data_id"] in types]

    def accepted(name: str) -> list[str]:
        answers = references[name]["answer_eval"]
        if types[name] != "Numerical":
            return list(answers)
        held = answers[0] if isinstance(answers, list) else answers
        return [str(end) for end in held["range"]]

    result = load("infoseek").compute(
        predictions=[row["prediction"] for row in asked],
        references=[accepted(row["data_id"]) for row in asked],
        question_types=[types[row["data_id"]] for row in asked],
        data_splits=[references[row["data_id"]]["data_split"] for row in asked],
    )
    expected = root / "tests" / "golden" / "evaluators" / "infoseek_result.json"
    assert result == json.loads(expected.read_text())


def test_evqa_gives_the_exact_matches_and_says_so(root: Path, load: Any) -> None:
    items = [item for item in golden(root, "evqa_items.jsonl") if "error" not in item]
    result = load("evqa").compute(
        predictions=[item["candidate"] for item in items],
        references=[item["answer"].split("|") for item in items],
        question_types=[item["question_type"] for item in items],
        questions=[item["question"] for item in items],
    )
    matches = [any(item["exact_match"]) for item in items]
    assert result["scorer"] == "evqa exact match only"
    assert (result["n"], result["accuracy"]) == (692, pytest.approx(sum(matches) / 692))


def test_the_classes_import_and_take_a_bem(bem: Any, tmp_path: Path) -> None:
    result = Evqa(cache_dir=str(tmp_path)).compute(
        predictions=["a", "zz"], references=[["b"], ["zz"]], question_types=["automatic", "2_hop"],
        questions=["which town?", "?"], bem=bem,
    )  # fmt: skip
    assert result["scorer"] == f"evqa official (BEM {bem.name})"
    said = float(bem("which town?", "b", "a") >= 0.5)
    assert result["single_hop"] == {"n": 1, "accuracy": said}
    with pytest.raises(BadInput, match="not the ends of a range"):
        InfoSeek(cache_dir=str(tmp_path)).compute(
            predictions=["7"], references=[["7"]], question_types=["Numerical"],
            data_splits=["val_unseen_entity"],
        )  # fmt: skip
