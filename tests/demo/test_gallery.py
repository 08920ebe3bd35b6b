"""The embedded default as it is shipped: sizes, formats, and that it uses both photo and text.

Quality is measured by `rag-vqa demo --evaluate` on all test countries; here the same functions run
on a few, with bounds far below what is measured, so that a broken checkpoint cannot pass.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rag_vqa.demo.drawing.real_flags import split_of
from rag_vqa.demo.evaluation import load_demo_reader
from rag_vqa.demo.gallery import (
    build_knowledge_base,
    country_codes,
    embedded_models_dir,
    example_questions,
    named_questions,
    real_documents,
)
from rag_vqa.eval.answers import exact_match
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Answer, Example, Query


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    encoder = Encoder.load("demo", device="cpu")
    with build_knowledge_base(tmp_path_factory.mktemp("demo") / "flags.kb", encoder) as kb:
        yield kb


@pytest.fixture(scope="module")
def rag(kb: KnowledgeBase) -> RagVqa:
    return RagVqa(kb, reader=load_demo_reader(embedded_models_dir() / "reader", "nf4"))


@pytest.fixture(scope="module")
def asked() -> list[Example]:
    every = example_questions("test")
    return random.Random(0).sample(every, 30)


def accuracy(answers: Sequence[Answer], asked: Sequence[Example]) -> float:
    right = [exact_match(a.text, e.answers) for a, e in zip(answers, asked, strict=True)]
    return sum(right) / len(right)


def test_the_models_are_small_safe_and_whole() -> None:
    files = [path for path in embedded_models_dir().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".jinja", ".safetensors"}
    for log in ("tower/tower.jsonl", "retriever/ret.jsonl", "reader/reader.jsonl"):
        assert (embedded_models_dir() / log).stat().st_size  # how it was trained


def test_released_shape() -> None:
    encoder = Encoder.load("demo", device="cpu")
    assert (encoder.K, encoder.D, encoder.source) == (32, 128, "demo")
    assert encoder.instruction


def test_there_are_enough_countries_and_sections() -> None:
    assert len(country_codes()) >= 90
    sections: dict[str, set[str]] = {}
    for document in real_documents():
        sections.setdefault(document.parent, set()).add(document.section)
    assert all(len(found) >= 5 for found in sections.values())
    assert {"dev", "test"} == {split_of(code) for code in country_codes()}


def test_a_question_that_names_its_country_needs_no_photo(kb: KnowledgeBase) -> None:
    """Measured over all of them: docs/figures.md."""
    named = random.Random(0).sample(sorted(named_questions("test").items()), 60)
    examples = {example.id: example for example in example_questions("test")}
    found = kb.search([Query(text) for _, text in named], 1)
    right = [
        row[0].document.id == examples[identity].relevant[0]
        for (identity, _), row in zip(named, found, strict=True)
    ]
    assert sum(right) / len(right) >= 0.9


def test_a_photo_finds_what_it_found_before(kb: KnowledgeBase, asked: list[Example]) -> None:
    queries = [example.query for example in asked]
    assert kb.hybrid == "auto"
    assert kb.search(queries, 5) == kb.retriever.search(queries, 5)


def test_the_capital_of_jamaica(rag: RagVqa) -> None:
    answer = rag.ask("What is the capital of Jamaica?")
    assert (answer.text, answer.citations) == ("[1] Kingston", (1,))
    assert answer.hits[0].document.id == "jamaica/government"


def test_named_questions_are_the_questions_with_photos() -> None:
    named = named_questions("dev")
    assert named.keys() == {example.id for example in example_questions("dev")}
    assert all("this" not in text for text in named.values())


def test_both_photo_and_text_are_needed(kb: KnowledgeBase, asked: list[Example]) -> None:
    def recall(queries: Sequence[Query]) -> float:
        found = kb.search(queries, 1)
        pairs = zip(found, asked, strict=True)
        return sum(row[0].document.id in e.relevant for row, e in pairs) / len(asked)

    assert recall([e.query for e in asked]) > 0.7
    assert recall([Query(e.query.text) for e in asked]) < 0.3
    assert recall([Query("", e.query.image) for e in asked]) < 0.4


def test_answers_come_from_the_documents_and_fall_without_the_right_photo(
    rag: RagVqa, asked: list[Example]
) -> None:
    queries = [e.query for e in asked]
    whole = accuracy(rag.ask_many(queries, k=3), asked)
    assert whole > 0.6
    turned = [
        Query(q.text, other.image)
        for q, other in zip(queries, queries[1:] + queries[:1], strict=True)
    ]
    assert accuracy(rag.ask_many(turned, k=3), asked) < whole - 0.4
    hits = rag.retrieve(queries, k=3)
    moved = rag.answer(queries, hits[1:] + hits[:1])
    assert accuracy(moved, asked) < whole - 0.4
    assert accuracy(rag.ask_many(queries, k=0), asked) <= 0.15


def test_an_answer_cites_what_it_was_given(rag: RagVqa, asked: list[Example]) -> None:
    answers = rag.ask_many([e.query for e in asked[:12]], k=3)
    cited = [a for a in answers if a.citations]
    assert len(cited) >= 8
    for answer in cited:
        document = answer.prompt.kept[answer.citations[0] - 1].document
        assert document.id in {hit.document.id for hit in answer.hits}


def test_a_knowledge_base_finds_the_embedded_retriever_again(
    kb: KnowledgeBase, asked: list[Example], tmp_path: Path
) -> None:
    path = tmp_path / "again.kb"
    with KnowledgeBase.create(path, kb.encoder) as built:
        built.add(real_documents()[:12])
        first = built.search([asked[0].query], 3)
    with KnowledgeBase.open(path) as opened:  # by the name "demo": no path of this machine inside
        assert opened.manifest.source == "demo"
        again = opened.search([asked[0].query], 3)
    assert [h.document.id for h in first[0]] == [h.document.id for h in again[0]]
