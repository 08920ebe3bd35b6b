"""Explanations: exact where they say so, empty where nothing is, and faithful on the flag world."""

import runpy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rag_vqa.errors import UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.explain import Explanation, _TracedSide, explain
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.retriever.modeling.model import RetrieverModel
from rag_vqa.retriever.scoring import late_interaction
from rag_vqa.types import Passage, Query

RED, BLUE = (Image.new("RGB", size, color) for size, color in (((20, 30), "red"), ((30, 20), 250)))
QUERY, PASSAGE = Query("where does it nest", RED), Passage("1", 0, "a red bird", BLUE)


@pytest.fixture(scope="module")
def tiny(checkpoint: Path) -> Encoder:
    return Encoder.load(checkpoint, device="cpu")


def scores(encoder: Encoder, pairs: Sequence[tuple[Query, Passage]]) -> list[float]:
    queries, passages = zip(*pairs, strict=True)
    tokens = encoder.encode_queries(queries), encoder.encode_passages(passages)
    return late_interaction(*map(torch.from_numpy, tokens)).diag().tolist()


def score(encoder: Encoder, query: Query, passage: Passage) -> float:
    return scores(encoder, [(query, passage)])[0]


def weights(found: Explanation, side: str) -> tuple[list[float], list[float]]:
    words, patches = getattr(found, f"{side}_words"), getattr(found, f"{side}_patches")
    return [word.weight for word in words], [patch.weight for patch in patches]


def test_the_pairs_are_those_of_late_interaction(tiny) -> None:
    found = explain(tiny, QUERY, PASSAGE, pairs=None)
    queries, passages = tiny.encode_queries([QUERY])[0], tiny.encode_passages([PASSAGE])[0]
    assert sorted(pair.query_token for pair in found.pairs) == [0, 1, 2, 3]
    for pair in found.pairs:
        dots = passages @ queries[pair.query_token]
        assert pair.document_token == dots.argmax()
        assert pair.score == pytest.approx(dots.max(), abs=1e-5)
    falling = [pair.score for pair in found.pairs]
    assert falling == sorted(falling, reverse=True)
    assert sum(falling) == pytest.approx(found.score, abs=1e-5)
    assert found.score == pytest.approx(score(tiny, QUERY, PASSAGE), abs=1e-5)


def test_only_the_strongest_pairs_are_traced(tiny) -> None:
    whole, some = explain(tiny, QUERY, PASSAGE, None), explain(tiny, QUERY, PASSAGE, 2)
    assert some == replace(whole, pairs=whole.pairs[:2])
    assert explain(tiny, QUERY, PASSAGE, 0).pairs == ()


def test_words_are_characters_of_what_was_encoded(tiny) -> None:
    found = explain(tiny, QUERY, PASSAGE)
    assert found.query_text == "find where does it nest"  # the checkpoint's instruction in front
    assert found.document_text == "a red bird"
    for text, words in (
        (found.query_text, found.query_words),
        (found.document_text, found.document_words),
    ):
        assert [word.text for word in words] == text.split()
        assert all(text[word.start : word.end] == word.text for word in words)


@pytest.mark.parametrize("side", ["query", "document"])
def test_weights_of_a_side_sum_to_1(tiny, side) -> None:
    found = explain(tiny, QUERY, PASSAGE, 1)
    for part in (found, found.pairs[0]):
        words, patches = weights(part, side)
        assert len(patches) == 4 and min(words + patches) >= 0
        assert sum(words) + sum(patches) == pytest.approx(1)


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        (Query("nest"), Passage("1", 0, "", BLUE)),
        (Query("", RED, instruction=""), Passage("1", 0, "a red bird")),
    ],
)
def test_what_is_absent_has_no_place(tiny, query, passage) -> None:
    found = explain(tiny, query, passage, 1)
    assert bool(found.query_words) == bool(query.text)
    assert bool(found.query_patches) == (query.image is not None)
    assert bool(found.document_words) == bool(passage.text)
    assert bool(found.document_patches) == (passage.image is not None)
    assert found.score == pytest.approx(score(tiny, query, passage), abs=1e-5)


def test_a_pooled_model_has_one_pair(tiny) -> None:
    sides = [
        RetConfig(**{**side.to_dict(), "use_pooler_features": True})
        for side in (tiny.model.config.query, tiny.model.config.passage)
    ]
    model = RetrieverModel(RetrieverConfig(query_config=sides[0], passage_config=sides[1]))
    model.load_state_dict(tiny.model.state_dict())
    pooled = Encoder(model, tiny.processor)
    found = explain(pooled, QUERY, PASSAGE, None)
    [pair] = found.pairs
    assert (pair.query_token, pair.document_token) == (0, 0)
    assert pair.score == pytest.approx(score(pooled, QUERY, PASSAGE), abs=1e-5)
    assert sum(sum(part) for part in weights(found, "query")) == pytest.approx(1)


def test_what_a_closed_gate_holds_back_has_no_weight(checkpoint) -> None:
    encoder = Encoder.load(checkpoint, device="cpu")
    cell = encoder.model.get_query_model().ret_cell
    with torch.no_grad():
        cell.vision_input_gate_w.bias.fill_(-1e4)
        cell.vision_forget_gate_w.weight.zero_()
    words, patches = weights(explain(encoder, QUERY, PASSAGE), "query")
    assert patches == [0] * 4 and sum(words) == pytest.approx(1)


def test_it_explains_half_precision_and_under_inference_mode(checkpoint) -> None:
    encoder = Encoder.load(checkpoint, device="cpu", dtype="bfloat16")
    with torch.inference_mode():
        found = explain(encoder, QUERY, PASSAGE)
    assert found.score == pytest.approx(score(encoder, QUERY, PASSAGE), abs=0.05)
    assert sum(sum(part) for part in weights(found, "document")) == pytest.approx(1)


def test_invalid_calls_are_refused(tiny, birds, encoder) -> None:
    with pytest.raises(UsageError, match="pairs is -1"):
        explain(tiny, QUERY, PASSAGE, -1)
    with KnowledgeBase.open(birds, encoder) as kb:
        hit = kb.search([Query("puffins")], 1)[0][0]
        with pytest.raises(UsageError, match="Only matches of ReT"):
            kb.retriever.explain(Query("puffins"), hit.passage)


def test_where_no_word_lowers_the_score_all_weigh_the_same(tiny) -> None:
    side = _TracedSide(tiny, tiny.model.get_passage_model(), "a red bird", None)
    gradients = [torch.ones_like(probe) for probe in side.trace.probes]
    even, _ = side.locate(gradients, torch.tensor([-1.0, 0.0, -2.0]))
    assert [word.weight for word in even] == pytest.approx([1 / 3] * 3)
    some, _ = side.locate(gradients, torch.tensor([-1.0, 3.0, 1.0]))
    assert [word.weight for word in some] == pytest.approx([0, 0.75, 0.25])


def test_a_hit_of_a_knowledge_base_is_explained(tiny, tmp_path) -> None:
    with KnowledgeBase.create(tmp_path / "a.kb", tiny) as kb:
        kb.add([{"id": "1", "text": "a red bird", "image": RED}, {"id": "2", "text": "nest"}])
        rag = RagVqa(kb)
        for hit in rag.search("where does it nest", BLUE, k=2):
            found = rag.explain(Query("where does it nest", BLUE), hit.passage, None)
            assert sum(pair.score for pair in found.pairs) == pytest.approx(hit.score, abs=0.01)
            assert bool(found.document_patches) == (hit.document.id == "1")


# Masking what it names, on real flags, by how much at the least. A document says in many words
# which section it is: without any of them its score falls by 5 of 28, without a tenth by little.
LEAST = {"query_words": 0.5, "query_patches": 0.3, "document_words": 0.1, "document_patches": 0.3}


def test_masking_what_it_names_lowers_the_score_more_than_masking_at_random(root: Path) -> None:
    measure_masking = runpy.run_path(str(root / "benchmarks" / "explain.py"))["measure_masking"]
    found = measure_masking("dev", 40, draws=4)
    assert found.gains.keys() == LEAST.keys()
    for kind, gains in found.gains.items():
        won = np.mean(gains > 0, axis=1)  # of a question's draws; by chance half
        error = np.std(won, ddof=1) / len(won) ** 0.5
        assert np.mean(won) > 0.5 + 2 * error, (kind, np.mean(won), error)
        assert np.mean(gains) > LEAST[kind], (kind, np.mean(gains))
