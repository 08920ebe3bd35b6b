"""`demo --evaluate` on two countries, with an encoder of words and a reader of a table."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from rag_vqa.demo import evaluation as measuring
from rag_vqa.demo.drawing.real_flags import split_of
from rag_vqa.demo.gallery import country_codes, example_questions, real_documents
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import encoder as modeling_encoder
from rag_vqa.types import Completion, Example, Prompt


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """What is asked on two countries of the test half, which are all there are."""
    two = [code for code in country_codes() if split_of(code) == "test"][:2]
    for module in ("gallery", "benchmark_export"):
        monkeypatch.setattr(f"rag_vqa.demo.{module}.country_codes", lambda: two)
    return example_questions("test")


@pytest.fixture
def kb(asked: list[Example], encoder: Any, tmp_path: Any) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "flags.kb", encoder) as kb:
        kb.add(real_documents())
        yield kb


@pytest.fixture
def measured(
    asked: list[Example], encoder: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The figures. The reader answers a question where the right document lies before it; the
    critic keeps nothing."""
    texts = {document.id: document.text for document in real_documents()}

    def generate(prompts: Sequence[Prompt], *_: object) -> list[Completion]:
        return [Completion(said(prompt.text), 1, 1) for prompt in prompts]

    def said(prompt: str) -> str:
        for example in asked:
            if example.query.text in prompt and texts[example.relevant[0]] in prompt:
                return f"[1] {example.answers[0]}"
        return "unknown"

    reader.generate, reader.weighs = generate, {"": 0.0}
    monkeypatch.setattr(modeling_encoder.Encoder, "load", lambda *given: encoder)
    monkeypatch.setattr(measuring, "load_demo_reader", lambda *given: reader)
    told: list[int] = []
    result = measuring.evaluate_demo(told.append)
    assert told == sorted(told) and told[-1] == 12 * (6 + 2 * 6) + 24 * 2
    return result


def test_every_figure_by_hand(
    measured: dict[str, Any], asked: list[Example], kb: KnowledgeBase
) -> None:
    def recall(depth: int, **how: bool) -> float:
        kb.hybrid, kb.sections = how.get("hybrid", False), how.get("sections", False)
        found = kb.search([example.query for example in asked], 5)
        ids = [[hit.document.id for hit in row[:depth]] for row in found]
        return sum(e.relevant[0] in row for e, row in zip(asked, ids, strict=True)) / len(asked)

    near: Callable[[float], Any] = lambda value: pytest.approx(value, abs=1e-6)  # noqa: E731
    retrieval = measured["retrieval"]
    for name, how in (("text", {}), ("both", {}), ("both, sections", {"sections": True}),
                      ("both, hybrid", {"hybrid": True})):  # fmt: skip
        assert retrieval[name]["recall@1"] == near(recall(1, **how))
        assert retrieval[name]["recall@5"] == near(recall(5, **how))
    assert 0 < recall(1) < recall(3) <= 1
    named = retrieval["text, country named"]
    assert named["n"] == 12
    assert named["recall@1"] > retrieval["text"]["recall@1"]
    for rows in measured["answers"].values():
        assert {name: row["n"] for name, row in rows.items()} == dict.fromkeys(rows, 12)
        assert rows["k=0"]["accuracy"] == rows["filtered k=3"]["accuracy"] == 0
        assert rows["k=1"]["accuracy"] == near(recall(1))
        assert rows["k=3"]["accuracy"] == near(recall(3))
        assert rows["oracle"]["accuracy"] == 1
        low, high = rows["k=1"]["ci95"]  # of two countries: the worse of them, the better of them
        by_country = [right(kb, asked[:6]), right(kb, asked[6:])]
        assert (low, high) == (near(min(by_country)), near(max(by_country)))
    assert measured["unknown"]["unanswerable"] == {"rate": 1, "n": 12}
    assert measured["unknown"]["answerable"] == {"rate": 0, "n": 12}
    # This encoder sees no photo: without a flag it finds the same documents.
    assert measured["unknown"]["no flag"] == {"rate": near(1 - recall(3)), "n": 12}


def right(kb: KnowledgeBase, asked: list[Example]) -> float:
    kb.hybrid = kb.sections = False
    found = kb.search([example.query for example in asked], 1)
    ids = [row[0].document.id for row in found]
    return sum(e.relevant[0] == name for e, name in zip(asked, ids, strict=True)) / len(asked)
