"""Retrieval figures of a ledger, against trec_eval's own code."""

import random
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval

from rag_vqa.errors import BadInput
from rag_vqa.eval.results.run_statistics import measure_retrieval
from rag_vqa.eval.run import retrieval_stage
from rag_vqa.eval.run.gold import apply_level, ranked_units
from rag_vqa.eval.run.ledger import Ledger
from rag_vqa.eval.run.retrieval_stage import StoredHits
from rag_vqa.retriever.metrics import answer_rank
from rag_vqa.types import Example, Query

DOCUMENTS = [f"d{number}" for number in range(40)]


def ledger_of(folder: Path, examples: list[Example], hits: list[list[str]], **more: Any) -> Ledger:
    """A ledger with these questions, and what was found for each."""
    Ledger.create(folder, {}, examples)
    ledger = Ledger(folder)
    rows = [
        (place, "key", StoredHits(ids, [0] * len(ids), [-float(i) for i in range(len(ids))],
                            more.get("parents", {}), [], more.get("answer_at", 0)).to_bytes())
        for place, ids in enumerate(hits)
    ]  # fmt: skip
    ledger.write("INSERT INTO hits VALUES (?, ?, ?)", rows)
    ledger.write("INSERT INTO gold VALUES (?, ?)", [(name, f"{0:012}{name}") for name in DOCUMENTS])
    return ledger


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_to_trec_eval(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    gold = {f"q{i}": chance.sample(DOCUMENTS, chance.randint(1, 6)) for i in range(60)}
    found = {name: chance.sample(DOCUMENTS, 30) for name in gold}
    examples = [Example(name, Query("?"), relevant=tuple(right)) for name, right in gold.items()]
    with ledger_of(tmp_path, examples, list(found.values())) as ledger:
        ours: Any = measure_retrieval(ledger, 20)
    theirs = pytrec_eval.RelevanceEvaluator(
        {name: dict.fromkeys(right, 1) for name, right in gold.items()},
        {"success.1,2,3,5,10,20", "recall.1,2,3,5,10,20", "recip_rank", "ndcg_cut.10"},
    ).evaluate({q: {d: -float(i) for i, d in enumerate(ids)} for q, ids in found.items()})

    def mean(measure: str) -> float:
        return round(sum(row[measure] for row in theirs.values()) / len(theirs), 6)

    for k in (1, 2, 3, 5, 10, 20):
        assert ours["recall"][str(k)]["value"] == pytest.approx(mean(f"success_{k}"), abs=1e-6)
        assert ours["share"][str(k)]["value"] == pytest.approx(mean(f"recall_{k}"), abs=1e-6)
    assert ours["mrr"]["value"] == pytest.approx(mean("recip_rank"), abs=1e-6)
    assert ours["ndcg@10"]["value"] == pytest.approx(mean("ndcg_cut_10"), abs=1e-6)
    assert (ours["n"], ours["gold_there"], ours["level"]) == (60, 60, "document")
    assert ours["pseudo"] is None and ours["pseudo_n"] == 0
    low, high = ours["mrr"]["ci95"]
    assert low < ours["mrr"]["value"] < high


def test_pages_are_ranked_once_and_gold_that_is_nowhere_counts(tmp_path: Path) -> None:
    parents = {"d1": "page", "d2": "page", "d3": "other"}
    examples = [
        Example("q0", Query("?"), relevant=("other",), level="parent"),
        Example("q1", Query("?"), relevant=("gone",), level="parent"),
        Example("q2", Query("?"), answers=("x",)),  # names nothing: it is in no recall
    ]
    with ledger_of(tmp_path, examples, [["d1", "d2", "d3"]] * 3, parents=parents,
                   answer_at=3) as ledger:  # fmt: skip
        ledger.write("INSERT INTO gold VALUES ('other', ?)", [(f"{0:012}d3",)])
        ours: Any = measure_retrieval(ledger, 3)
    assert (ours["n"], ours["gold_there"], ours["level"]) == (2, 1, "parent")
    # Second of the pages. Of three documents there are two: what is third was not looked for.
    assert {k: row["value"] for k, row in ours["recall"].items()} == {"1": 0.0, "2": 0.5}
    assert ours["mrr"]["value"] == 0.25
    assert [ours["pseudo"][k]["value"] for k in "123"] == [0.0, 0.0, 1.0]
    assert ours["pseudo_n"] == 1


def test_k_goes_as_far_as_every_ranking_that_is_not_complete(tmp_path: Path) -> None:
    examples = [Example(f"q{i}", Query("?"), relevant=("page",), level="parent") for i in range(2)]
    parents = {f"d{i}": f"p{i // 4}" for i in range(40)}  # 20 documents are of 5 pages
    hits = [DOCUMENTS[:20], DOCUMENTS[:12]]
    with ledger_of(tmp_path / "a", examples, hits, parents=parents) as ledger:
        assert list(measure_retrieval(ledger, 20)["recall"]) == ["1", "2", "3", "5"]  # type: ignore[index]
        # Looked for 50 and found 20 and 12: there are no more, so 5 is all there is.
        assert list(measure_retrieval(ledger, 50)["recall"]) == ["1", "2", "3", "5"]  # type: ignore[index]
    with ledger_of(tmp_path / "b", examples[:1], hits[1:], parents=parents) as ledger:
        assert list(measure_retrieval(ledger, 12)["recall"]) == ["1", "2", "3"]  # type: ignore[index]


def test_an_id_of_what_documents_belong_to_counts_for_them(tmp_path: Path) -> None:
    parents = {"d1": "page", "d2": "page", "d3": "other", "d4": "d5"}
    rows = [("page",), ("d3", "page"), ("d3",), ("d5",)]
    examples = [Example(f"q{i}", Query("?"), relevant=names) for i, names in enumerate(rows)]
    hits = [["d3", "d1", "d2", "d4"]] * 4
    with ledger_of(tmp_path, examples, hits, parents=parents) as ledger:
        ledger.write("INSERT INTO gold VALUES ('page', ?)", [(f"{1:012}d1",), (f"{2:012}d2",)])
        # d5 is a document, and d4 is a part of it that was not asked for.
        ledger.write("INSERT INTO gold VALUES ('d5', ?)", [(f"{4:012}d4",)])
        found: Any = measure_retrieval(ledger, 10)
        kept = [
            apply_level(ledger, e, StoredHits(hits[0], [], [], parents, [], 0)) for e in examples
        ]
    assert [ranked_units(one) for one in kept] == [
        ["d3", "page", "d4"], ["d3", "page", "d4"], hits[0], hits[0],
    ]  # fmt: skip
    assert found["mrr"]["value"] == pytest.approx((1 / 2 + 1 + 1 + 0) / 4)
    assert found["share"]["2"]["value"] == pytest.approx((1 + 1 + 1 + 0) / 4)


def test_without_hits_or_gold_there_is_no_recall(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "a", [Example("q", Query("?"), relevant=("d1",))], []) as ledger:
        assert measure_retrieval(ledger, 5) is None
    with ledger_of(tmp_path / "b", [Example("q", Query("?"))], [["d1"]]) as ledger:
        assert measure_retrieval(ledger, 5) is None


def test_the_first_text_that_holds_an_answer() -> None:
    assert answer_rank([" Kingston ", ""], ["a", "of KINGSTON.", "Kingston"]) == 2
    assert answer_rank([""], ["anything"]) == 0


def test_spaces_in_an_id_are_not_exported(tmp_path: Path) -> None:
    with (
        ledger_of(tmp_path, [Example("q 0", Query("?"), relevant=("d1",))], [["d1"]]) as ledger,
        pytest.raises(BadInput, match="contains spaces"),
    ):
        list(retrieval_stage.export_trec(ledger))
