"""The query side tuned: documents stay where they are, and the pairs that judge were not seen."""

from pathlib import Path

import numpy as np
import pytest
from tiny_training import checkpoint, pairs

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.training.batch import Item, Pair
from rag_vqa.retriever.training.loop import Watch
from rag_vqa.retriever.training.processes import accelerator
from rag_vqa.retriever.training.query_side import divided, tune
from rag_vqa.retriever.training.sources.settings import SourceSettings
from rag_vqa.types import Document, Passage, Query


def test_documents_and_knowledge_bases_stay(tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "start")
    source = SourceSettings(format="pairs", questions=pairs(tmp_path, 40))
    before = Encoder.load(start, device="cpu")
    with KnowledgeBase.create(tmp_path / "kb", before) as kb:
        kb.add([Document("a", "red blue"), Document("b", "money coast")])
    lines: list[float] = []
    watch = Watch(line=lambda line: lines.append(line.get("loss", 9.0)))
    made = accelerator("fp32")
    tuned = tune(str(start), source, tmp_path / "out", made, watch)
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
    again = tune(str(start), source, tmp_path / "out", made)  # done: nothing is trained
    assert np.array_equal(again.after, tuned.after)


def test_one_side_of_one_model_is_refused_and_few_pairs_too(tmp_path: Path) -> None:
    made = accelerator("fp32")
    one = checkpoint(tmp_path / "one", share_query_passage_models=True)
    source = SourceSettings(format="pairs", questions=pairs(tmp_path))
    with pytest.raises(UsageError, match="one model for both sides"):
        tune(str(one), source, tmp_path / "out", made)
    few = SourceSettings(format="pairs", questions=pairs(tmp_path / "few", 12))
    start = checkpoint(tmp_path / "start")
    with pytest.raises(BadInput, match="12 pairs: give at least 20"):
        tune(str(start), few, tmp_path / "out", made)


def test_pairs_are_divided_into_three() -> None:
    all_of = [
        Pair(Item(str(n)), Item(str(n), id=str(n)), (str(n),), name=str(n)) for n in range(50)
    ]
    judging, watching, training = divided(all_of)
    assert [len(judging), len(watching), len(training)] == [10, 5, 35]
    assert sorted(p.name for p in (*judging, *watching, *training)) == sorted(map(str, range(50)))
