"""The query side tuned: documents stay where they are, and the pairs that judge were not seen."""

from pathlib import Path

import numpy as np
import pytest
from tiny_training import checkpoint, pairs

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.training.query_tuning import split_pairs, tune_query_side
from rag_vqa.retriever.training.training_loop import TrainingCallbacks, make_accelerator
from rag_vqa.retriever.training.training_pairs import Item, Pair
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.types import Document, Passage, Query


def test_documents_and_knowledge_bases_stay(tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "start")
    source = SourceSettings(format="pairs", questions=pairs(tmp_path, 40))
    before = Encoder.load(start, device="cpu")
    with KnowledgeBase.create(tmp_path / "kb", before) as kb:
        kb.add([Document("a", "red blue"), Document("b", "money coast")])
    lines: list[float] = []
    watch = TrainingCallbacks(on_line=lambda line: lines.append(line.get("loss", 9.0)))
    made = make_accelerator("fp32")
    tuned = tune_query_side(str(start), source, tmp_path / "out", made, watch)
    after = Encoder.load(tuned.folder, device="cpu")
    assert after.fingerprint == before.fingerprint
    shown = [Passage("p", 0, "red green river", None)]
    assert np.array_equal(after.encode_passages(shown), before.encode_passages(shown))
    asked = [Query("red")]
    assert not np.array_equal(after.encode_queries(asked), before.encode_queries(asked))
    with KnowledgeBase.open(tmp_path / "kb", after) as kb:  # another one would be refused
        assert len(kb.search([Query("red")], 2)[0]) == 2
    assert len(tuned.before) == len(tuned.after) == 8 and tuned.searched == 40
    assert any(loss < 9.0 for loss in lines)
    again = tune_query_side(str(start), source, tmp_path / "out", made)  # done: nothing is trained
    assert np.array_equal(again.after, tuned.after)
    pairs(tmp_path, 60)
    with pytest.raises(UsageError, match=r"files was \w+…, is \w+…; steps was 35, is 53"):
        tune_query_side(str(start), source, tmp_path / "out", made)


def test_a_start_that_the_tuning_would_replace_is_refused(tmp_path: Path) -> None:
    made = make_accelerator("fp32")
    source = SourceSettings(format="pairs", questions=pairs(tmp_path, 40))
    best = checkpoint(tmp_path / "own" / "best")
    with pytest.raises(UsageError, match=r"own/best lies in .*own"):
        tune_query_side(str(best), source, tmp_path / "own", made)
    start = checkpoint(tmp_path / "start")
    with pytest.raises(UsageError, match=r"own/best exists, but no training state"):
        tune_query_side(str(start), source, tmp_path / "own", made)
    assert (best / "model.safetensors").exists()


def test_a_picture_that_cannot_be_opened_is_told_of_before_it_begins(tmp_path: Path) -> None:
    source = SourceSettings(format="pairs", questions=pairs(tmp_path, 40))
    (tmp_path / "9.png").write_bytes(b"none")
    start = checkpoint(tmp_path / "start")
    with pytest.raises(BadInput, match=r"pairs\.jsonl:.*9\.png"):
        tune_query_side(str(start), source, tmp_path / "out", make_accelerator("fp32"))


def test_one_side_of_one_model_is_refused_and_few_pairs_too(tmp_path: Path) -> None:
    made = make_accelerator("fp32")
    one = checkpoint(tmp_path / "one", share_query_passage_models=True)
    source = SourceSettings(format="pairs", questions=pairs(tmp_path))
    with pytest.raises(UsageError, match="one model for both sides"):
        tune_query_side(str(one), source, tmp_path / "out", made)
    few = SourceSettings(format="pairs", questions=pairs(tmp_path / "few", 12))
    start = checkpoint(tmp_path / "start")
    with pytest.raises(BadInput, match="12 different questions in 12 pairs: give at least 20"):
        tune_query_side(str(start), few, tmp_path / "out", made)


def test_pairs_are_divided_into_three() -> None:
    all_of = [
        Pair(Item(str(n)), Item(str(n), id=str(n)), (str(n),), name=str(n)) for n in range(50)
    ]
    judging, watching, training = split_pairs(all_of)
    assert [len(judging), len(watching), len(training)] == [10, 5, 35]
    assert sorted(p.name for p in (*judging, *watching, *training)) == sorted(map(str, range(50)))


def test_pairs_that_ask_the_same_are_on_one_side_of_a_division() -> None:
    twice = [
        Pair(Item(f"{n % 30}", f"{n % 2}.png"), Item(id=str(n)), (str(n),), name=str(n))
        for n in range(60)
    ]
    notes: list[str] = []
    judging, watching, training = split_pairs(twice, notes.append)
    asked = [{pair.query for pair in part} for part in (judging, watching, training)]
    assert [len(part) for part in asked] == [6, 3, 21]
    assert len(set.union(*asked)) == 30 and len(judging) + len(watching) + len(training) == 60
    assert notes == [
        "60 pairs have 30 different questions; pairs with equal questions stay together."
    ]
