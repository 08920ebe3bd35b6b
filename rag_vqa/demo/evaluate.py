"""`rag-vqa demo --evaluate`: the embedded default measured on real flags that it never saw.

Knows the conditions and what counts as right. Only countries of the test half are asked about;
they are searched in a knowledge base of all. Intervals are bootstrapped over countries.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from PIL import Image

from rag_vqa.demo.bundled import PHOTO, build_knowledge_base, countries, models_dir, sample_photo
from rag_vqa.demo.entities import real_entities
from rag_vqa.demo.facts import SECTIONS
from rag_vqa.demo.photo import scene
from rag_vqa.demo.questions import Question, questions, unanswerable
from rag_vqa.demo.real_flags import split
from rag_vqa.eval.answers import exact_match, is_unknown
from rag_vqa.eval.intervals import bootstrap
from rag_vqa.pipeline import RagVqa
from rag_vqa.presets import limits
from rag_vqa.readers.local import LocalReader
from rag_vqa.readers.reader import Reader
from rag_vqa.retriever.encoder import Encoder
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.settings import EMBEDDED
from rag_vqa.types import Example, Hit, Passage, Query

QUANTIZATIONS: tuple[Literal["nf4", "none"], ...] = ("nf4", "none")
DEPTHS = (1, 3)  # documents read
Result = dict[str, Any]


def asked_about(
    half: Literal["dev", "test"], seed: int = 0
) -> Iterator[tuple[str, Question, Image.Image]]:
    """Code of the country, question, photo: one on each section of each country of a half."""
    for code in (code for code in countries() if split(code) == half):
        entity, rng = real_entities()[code], np.random.default_rng([seed, *code.encode()])
        asked = questions(entity, rng)
        for number, section in enumerate(SECTIONS):
            here = [question for question in asked if question.section == section]
            if here:
                question = here[int(rng.integers(len(here)))]
                yield code, question, sample_photo(code, seed * len(SECTIONS) + number)


def examples(half: Literal["dev", "test"], seed: int = 0) -> list[Example]:
    """One question on each section of each country of a half, with a photo of its flag."""
    return [
        Example(
            f"{code}/{question.section}",
            Query(question.text, photo),
            question.answers,
            (f"{real_entities()[code].id}/{question.section}",),
        )
        for code, question, photo in asked_about(half, seed)
    ]


def evaluate(
    on_progress: Callable[[int], object] | None = None,
    half: Literal["dev", "test"] = "test",
    models: Path | None = None,
    quantizations: Sequence[Literal["nf4", "none"]] = QUANTIZATIONS,
) -> Result:
    """Measure retrieval, answers and abstention; the shape is that of `demo --evaluate --json`.

    Args:
        on_progress: gets the number of questions put so far.
        models: folder of other models than the bundled ones.
    """
    models = models or models_dir()
    asked = examples(half)
    with TemporaryDirectory() as scratch:
        encoder = Encoder.load(models / "retriever")
        with build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb:
            result: Result = {"retrieval": {}, "answers": {}, "unknown": {}}
            for name, queries in _views(asked).items():
                hits = kb.search(queries, 5)
                result["retrieval"][name] = _recall(asked, hits)
            step = _Counter(on_progress)
            for quantization in quantizations:
                reader = demo_reader(models / "reader", quantization)
                rag = RagVqa(kb, reader=reader)
                answers = _answers(rag, asked, hits, step)
                result["answers"][quantization] = {
                    name: _accuracy(asked, texts) for name, texts in answers.items()
                }
                if quantization == quantizations[0]:
                    result["unknown"] = _unknown(rag, kb, asked, answers["oracle"], step)
    return result


def demo_reader(folder: Path, quantization: Literal["nf4", "int8", "none"]) -> Reader:
    """The bundled reader with the limits that it was trained for."""
    return LocalReader(
        folder,
        quantization=quantization,
        device="cpu",
        offline=True,
        **limits(EMBEDDED),
    )


def _views(asked: Sequence[Example]) -> dict[str, list[Query]]:
    """The same questions with text alone, image alone (and the instruction), and both, last."""
    return {
        "text": [Query(example.query.text) for example in asked],
        "image": [Query("", example.query.image) for example in asked],
        "both": [example.query for example in asked],
    }


def _recall(asked: Sequence[Example], hits: Sequence[Sequence[Hit]]) -> Result:
    found = {
        depth: [
            any(hit.document.id in example.relevant for hit in row[:depth])
            for example, row in zip(asked, hits, strict=True)
        ]
        for depth in (1, 5)
    }
    return {
        "recall@1": float(np.mean(found[1])),
        "recall@5": float(np.mean(found[5])),
        "n": len(asked),
        "ci95": _interval(found[1], asked),
        "ci95@5": _interval(found[5], asked),
    }


def _answers(
    rag: RagVqa, asked: Sequence[Example], hits: Sequence[Sequence[Hit]], step: "_Counter"
) -> dict[str, list[str]]:
    shown: Mapping[str, list[list[Hit]]] = {
        "k=0": [[] for _ in asked],
        **{f"k={depth}": [list(row[:depth]) for row in hits] for depth in DEPTHS},
        "oracle": [_gold(rag.kb, example) for example in asked],
    }
    queries = [example.query for example in asked]
    return {name: _texts(rag, queries, rows, step) for name, rows in shown.items()}


def _texts(
    rag: RagVqa, queries: Sequence[Query], hits: Sequence[Sequence[Hit]], step: "_Counter"
) -> list[str]:
    texts: list[str] = []
    for start in range(0, len(queries), 32):
        part = slice(start, start + 32)
        texts += [answer.text for answer in rag.answer(queries[part], hits[part])]
        step(len(texts) - start)
    return texts


def _accuracy(asked: Sequence[Example], texts: Sequence[str]) -> Result:
    right = [exact_match(t, example.answers) for t, example in zip(texts, asked, strict=True)]
    return {
        "accuracy": float(np.mean(right)),
        "n": len(right),
        "ci95": _interval(right, asked),
    }


def _unknown(
    rag: RagVqa, kb: KnowledgeBase, asked: Sequence[Example], oracle: list[str], step: "_Counter"
) -> Result:
    """How often the reader abstains: where it should (twice), and where it should not."""
    rng = np.random.default_rng(0)
    sceneries = [Image.fromarray(scene(rng, *PHOTO)) for _ in asked]
    cases = {
        "no flag": [Query(e.query.text, p) for e, p in zip(asked, sceneries, strict=True)],
        "unanswerable": [
            Query(unanswerable(rng, held_out=True).text, example.query.image) for example in asked
        ],
    }
    rates = {
        name: _texts(rag, queries, kb.search(queries, max(DEPTHS)), step)
        for name, queries in cases.items()
    }
    rates["answerable"] = oracle
    return {
        name: {"rate": float(np.mean([is_unknown(text) for text in texts])), "n": len(texts)}
        for name, texts in rates.items()
    }


def _gold(kb: KnowledgeBase, example: Example) -> list[Hit]:
    document = kb.get(example.relevant[0])
    assert document is not None
    return [Hit(document, Passage(document.id, 0, document.text), 1, 0.0)]


def _interval(right: Sequence[bool], asked: Sequence[Example]) -> list[float]:
    clusters = [example.id.partition("/")[0] for example in asked]
    return list(bootstrap(np.array(right, np.float64), clusters))


class _Counter:
    """Adds up questions put, for a progress bar."""

    def __init__(self, report: Callable[[int], object] | None) -> None:
        self.report, self.done = report, 0

    def __call__(self, more: int) -> None:
        self.done += more
        if self.report is not None:
            self.report(self.done)
