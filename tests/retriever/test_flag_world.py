"""The flag world is recognised by what its documents say, wherever they come from."""

import runpy
from collections.abc import Callable, Iterable, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_vqa.demo import benchmark_export
from rag_vqa.demo.benchmark_export import Format, export_benchmark
from rag_vqa.demo.gallery import real_documents
from rag_vqa.demo.world.entities import invent_entity
from rag_vqa.demo.world.texts import documents
from rag_vqa.formats.source import open_source
from rag_vqa.retriever.flag_world import are_flag_texts, is_flag_text
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.types import Document

Build = Callable[[Iterable[Document | Mapping[str, Any]]], KnowledgeBase]


@pytest.fixture
def build(tmp_path: Path, encoder: TokenEncoder) -> Build:
    """Builds a knowledge base without pictures."""

    def build(found: Iterable[Document | Mapping[str, Any]]) -> KnowledgeBase:
        kb = KnowledgeBase.create(tmp_path / "x.kb", encoder, exist_ok=True)
        kb.add(found)
        return kb

    return build


def flag_texts() -> list[dict[str, str]]:
    return [{"id": found.id, "text": found.text} for found in real_documents()]


@pytest.fixture(scope="module")
def museum() -> list[dict[str, Any]]:
    script = Path(__file__).parents[2] / "benchmarks" / "museum.py"
    found: list[dict[str, Any]] = runpy.run_path(str(script))["read_documents"]()
    return found


def test_every_document_of_the_demo_is_recognised() -> None:
    assert [found.id for found in real_documents() if not is_flag_text(found.text)] == []


def test_every_sentence_of_the_demo_has_a_known_beginning() -> None:
    """Half of the sentences would be enough: so one new kind of fact cannot go unnoticed."""
    for found in real_documents():
        sentences = found.text.replace(". ", ".|").split("|")
        assert all(
            is_flag_text(one)
            for one in sentences
            if one.split()[0] in ("The", "It", "Its", "In", "Official", "Central", "Neighbours")
        ), found


def test_invented_countries_are_of_the_flag_world() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        assert are_flag_texts(found.text for found in documents(invent_entity(rng)))


@pytest.mark.parametrize("format", ["own", "evqa", "infoseek"])
def test_what_data_demo_exports_is_recognised(
    format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_questions = benchmark_export.draw_questions  # all of them take long
    monkeypatch.setattr(
        benchmark_export, "draw_questions", lambda half: islice(draw_questions(half), 1)
    )
    monkeypatch.setattr(benchmark_export, "draw_flag", lambda flag: np.zeros((2, 3, 3), "uint8"))
    files = {
        "own": "documents.jsonl",
        "evqa": "encyclopedic_kb_wiki.json",
        "infoseek": "Wiki6M_ver_1_0.jsonl",
    }
    export_benchmark(format, tmp_path / format)
    source = open_source(tmp_path / format / files[format])
    assert are_flag_texts(record.text for record in source.records())


def test_a_knowledge_base_knows_whether_it_is_the_flag_world(build: Build) -> None:
    with build(flag_texts()) as kb:
        assert kb.is_flag_world
        kb.add([{"id": "note", "text": "A note of my own."}])
        assert kb.is_flag_world


def test_other_documents_are_another_world(build: Build, museum: list[dict[str, Any]]) -> None:
    with build(museum) as kb:
        assert not kb.is_flag_world


def test_a_museum_among_the_flags_makes_it_another_world(
    build: Build, museum: list[dict[str, Any]]
) -> None:
    with build(flag_texts()) as kb:
        kb.add(museum)
        assert not kb.is_flag_world
        kb.delete([each["id"] for each in museum])
        assert kb.is_flag_world


def test_without_documents_it_is_not_the_flag_world(build: Build) -> None:
    with build([]) as kb:
        assert not kb.is_flag_world


@pytest.mark.parametrize(
    "text",
    [
        "The capital of Jamaica is Kingston.",
        "A flag of silk. It lies in the depot. Given by a widow in 1902. The colours have faded.",
        "Vase",
        "",
    ],
)
def test_a_text_about_countries_alone_is_not_of_the_flag_world(text: str) -> None:
    assert not is_flag_text(text)


@pytest.mark.parametrize(("rows", "most"), [(1, 5), (5, 5), (6, 5), (9, 5), (100, 7)])
def test_the_sample_is_spread_over_all_documents(build: Build, rows: int, most: int) -> None:
    with build({"id": str(number), "text": f"text {number}"} for number in range(rows)) as kb:
        numbers = [int(text.split()[1]) for text in kb.store.sample_texts(most)]
        assert len(numbers) <= most
        gaps = {after - before for before, after in pairwise(numbers)}
        assert numbers[0] == 0 and len(gaps) <= 1
        assert numbers[-1] > rows - 1 - (max(gaps) if gaps else rows)
