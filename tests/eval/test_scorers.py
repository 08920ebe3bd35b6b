"""Scorers over Examples: golden outputs, aggregates by hand, what a laxer reading counts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.eval.evqa import EvqaScorer
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.formats.benchmark import Scorer
from rag_vqa.types import Example, Query


def rows(root: Path, name: str) -> list[dict[str, Any]]:
    path = root / "tests" / "golden" / "evaluators" / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class OverlapBem:
    """The stub of the golden file (see test_evqa.py), that counts how often it was asked."""

    name = "stub@0"

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str, str]]] = []

    def probabilities(self, triples: Sequence[tuple[str, str, str]]) -> list[float]:
        self.asked.append(list(triples))
        return [
            sum(word in c.lower().split() for word in r.lower().split()) / max(len(r.split()), 1)
            for _, r, c in triples
        ]


def infoseek(root: Path) -> dict[str, Example]:
    kinds = {row["data_id"]: row["question_type"] for row in rows(root, "infoseek_qtypes.jsonl")}

    def listed(answers: Any) -> list[Any]:
        return answers if isinstance(answers, list) else [answers]

    return {
        row["data_id"]: Example(
            row["data_id"],
            Query(row["question"]),
            references=tuple(listed(row["answer_eval"])),
            kind=kinds[row["data_id"]],
            split=row["data_split"].removeprefix("val_"),
        )
        for row in rows(root, "infoseek_references.jsonl")
    }


def test_infoseek_equals_the_official_scores_and_result(root: Path) -> None:
    examples = infoseek(root)
    items = rows(root, "infoseek_item_scores.jsonl")
    asked = [examples[item["data_id"]] for item in items]
    predictions = [item["prediction"] for item in items]
    scorer = make_scorer("infoseek")
    scores = scorer.score(asked, predictions)
    assert scores == [item["score"] for item in items]
    result = dict(scorer.summary(zip(asked, predictions, scores, strict=True)))
    assert result.pop("n") == 747
    assert result.pop("n_unseen_question") + result.pop("n_unseen_entity") == 747
    assert result.pop("accuracy") == pytest.approx(sum(item["score"] for item in items) / 747)
    golden = root / "tests" / "golden" / "evaluators" / "infoseek_result.json"
    assert result == json.loads(golden.read_text())


def evqa_items(root: Path) -> tuple[list[dict[str, Any]], list[Example]]:
    items = [item for item in rows(root, "evqa_items.jsonl") if "error" not in item]
    return items, [
        Example(
            str(number),
            Query(item["question"]),
            references=tuple(item["answer"].split("|")),
            kind=item["question_type"],
        )
        for number, item in enumerate(items)
    ]


def test_evqa_equals_the_official_scores_and_asks_bem_once(root: Path) -> None:
    items, examples = evqa_items(root)
    bem = OverlapBem()
    scorer = EvqaScorer(bem)  # type: ignore[arg-type]
    scores = scorer.score(examples, [item["candidate"] for item in items])
    assert scores == [item["score_with_stub_bem"] for item in items]
    assert len(bem.asked) == 1
    exact = {item["question"] for item in items if all(item["exact_match"])}
    misses = {item["question"] for item in items if not any(item["exact_match"])}
    assert not {question for question, _, _ in bem.asked[0]} & (exact - misses)
    assert scorer.name == "evqa official (BEM stub@0)"


def test_evqa_without_bem_is_named_so(root: Path) -> None:
    items, examples = evqa_items(root)
    scorer = make_scorer("evqa")
    scores = scorer.score(examples, [item["candidate"] for item in items])
    assert scores == [float(any(item["exact_match"])) for item in items]
    assert scorer.name == "evqa exact match only"


def test_the_real_bem_decides_at_one_half(bem: Any) -> None:
    """The stand-in's own probabilities, asked one by one, and the rule written out."""
    scorer = EvqaScorer(bem)
    examples = [
        Example(r, Query("Which town?"), references=(r, "zzz"), kind="automatic")
        for r in ("Oslo", "Bergen", "a b", "the", "c")
        if r != "the"
    ]
    predictions = ["i", "h g", "sep ?", "town"]
    expected = [
        float(any(bem("Which town?", r, p) >= 0.5 for r in example.references))
        for example, p in zip(examples, predictions, strict=True)
    ]
    assert scorer.score(examples, predictions) == expected


def evqa(kind: str, *references: str) -> Example:
    return Example("q", Query("Q?"), references=references, kind=kind)


def test_evqa_summary_by_hand() -> None:
    kinds = ["templated", "templated", "2_hop", "2_hop", "2_hop", "multi_answer"]
    scores = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    summary = make_scorer("evqa").summary((evqa(k), "", s) for k, s in zip(kinds, scores))  # noqa: B905
    assert summary == {
        "n": 6,
        "accuracy": 0.5,
        "single_hop": {"n": 3, "accuracy": 2 / 3},
        "by_type": {
            "templated": {"n": 2, "accuracy": 0.5},
            "multi_answer": {"n": 1, "accuracy": 1.0},
            "2_hop": {"n": 3, "accuracy": 1 / 3},
        },
    }


def own(*answers: str, kind: str = "", unanswerable: bool = False) -> Example:
    return Example("q", Query("Q?"), answers=answers, kind=kind, unanswerable=unanswerable)


def test_text_summary_by_hand() -> None:
    """Abstained: 3 times, 2 of them rightly, of 3 that cannot be answered."""
    asked = [
        (own("Oslo", kind="city"), "Oslo [1].", 1.0), (own("Oslo", kind="city"), "unknown", 0.0),
        (own(unanswerable=True), "Unknown.", 1.0), (own(unanswerable=True), "I don't know", 1.0),
        (own(unanswerable=True), "Oslo", 0.0),
    ]  # fmt: skip
    scorer = make_scorer("text")
    assert scorer.score([e for e, _, _ in asked], [p for _, p, _ in asked]) == [
        score for _, _, score in asked
    ]
    assert scorer.summary(asked) == {
        "n": 5,
        "accuracy": 0.6,
        "answerable": {"n": 2, "accuracy": 0.5},
        "abstention": {"n": 3, "abstained": 3, "precision": 2 / 3, "recall": 2 / 3},
        "by_kind": {"city": {"n": 2, "accuracy": 0.5}},
    }


def test_where_everything_can_be_answered_abstaining_has_no_precision() -> None:
    summary = make_scorer("text").summary([(own("Oslo"), "unknown", 0.0)])
    assert summary["abstention"] == {"n": 0, "abstained": 1, "precision": None, "recall": None}


def test_an_answer_is_cut_once_whatever_it_is_compared_with(bem: Any) -> None:
    long = "b " * 600
    two = Example("q", Query("Which town?"), references=("Oslo", "Bergen"), kind="automatic")
    assert [EvqaScorer(bem).cut(two, text) for text in (long, "a")] == [True, False]
    same = Example("q", Query("Which town?"), references=(long,), kind="automatic")
    assert not EvqaScorer(bem).cut(same, long)  # it matches exactly: BEM is not asked
    assert not EvqaScorer(None).cut(two, long)


def test_nothing_asked_has_no_mean() -> None:
    for kind in ("infoseek", "evqa", "text"):
        summary = make_scorer(kind).summary([])  # type: ignore[arg-type]
        assert (summary["n"], summary["accuracy"]) == (0, None)


def seek(kind: str, *references: Any) -> Example:
    return Example("q", Query("Q?"), references=references, kind=kind, split="unseen_entity")


@pytest.mark.parametrize(
    ("kind", "example", "prediction", "counts"),
    [("infoseek", seek("String", "the Alps"), "In the Alps, I think", True),
     ("infoseek", seek("String", "Alp"), "the Alps", False),
     ("infoseek", seek("String", "the"), "the Alps", False),  # nothing is left of "the"
     ("infoseek", seek("Time", "1990"), "around 1990", True),
     ("infoseek", seek("Numerical", {"range": [9, 11]}), "from 3 to 7, or 10", True),
     ("infoseek", seek("Numerical", {"range": [9, 11]}), "1 to 100", True),
     ("infoseek", seek("Numerical", {"range": [9, 11]}), "12", False),
     ("infoseek", seek("Numerical", {"range": [9, 11]}), "no number", False),
     ("evqa", evqa("automatic", "none", "Two cats"), "I see 2 cats here", True),
     ("evqa", evqa("multi_answer", "red&&blue"), "it is blue with spots", True),
     ("evqa", evqa("automatic", "cat"), "cats", False),
     ("text", own("Oslo"), "It is Oslo [1].", True),
     ("text", own("1"), "It is Oslo [1].", False),
     ("text", own("Oslo"), "Oslofjord", False),
     ("text", own(unanswerable=True), "The capital is unknown to me", True),
     ("text", own(unanswerable=True), "I don’t know that", True),
     ("text", own(unanswerable=True), "Oslo", False)],
)  # fmt: skip
def test_what_a_laxer_reading_counts(
    kind: str, example: Example, prediction: str, counts: bool
) -> None:
    scorer: Scorer = make_scorer(kind)
    assert scorer.score([example], [prediction]) == [0.0]  # it is asked of wrong answers
    assert scorer.lenient(example, prediction) is counts


@pytest.mark.parametrize(
    ("kind", "example"),
    [("infoseek", seek("Boolean", "x")), ("infoseek", seek("String")),
     ("infoseek", seek("Numerical", "7")),
     ("infoseek", Example("q", Query("Q?"), references=("x",), kind="String", split="train")),
     ("evqa", evqa("automatic")), ("evqa", evqa("automatic", "x", "the")), ("evqa", evqa("x", "x")),
     ("text", own()), ("text", own("?"))],
)  # fmt: skip
def test_what_cannot_be_scored_is_named_before_a_run(kind: str, example: Example) -> None:
    with pytest.raises(BadInput, match="question q: "):
        make_scorer(kind).check(example)


def test_what_can_be_scored_passes() -> None:
    make_scorer("infoseek").check(seek("Numerical", {"range": [1, 2]}))
    make_scorer("evqa").check(evqa("2_hop", "x"))
    make_scorer("text").check(own("x"))
    make_scorer("text").check(own(unanswerable=True))


def test_an_unknown_scorer_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="only the scorer evqa"):
        make_scorer("text", bem="x")
    with pytest.raises(UsageError, match="none of evqa, infoseek, text"):
        make_scorer("lax")  # type: ignore[arg-type]
