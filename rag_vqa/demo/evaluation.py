"""Measures the embedded models on real flags that they never saw: `rag-vqa demo --evaluate`.

Knows which runs make the table, over the questions that `rag-vqa data demo own` writes. How a run
is made and scored belongs to `rag_vqa.eval`. Only countries of one half of the split are asked
about; the knowledge base holds all of them. Intervals are bootstrapped over countries.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import numpy as np
from PIL import Image

from rag_vqa.checkpoints import EMBEDDED
from rag_vqa.critic import Critic
from rag_vqa.demo.benchmark_export import export_benchmark
from rag_vqa.demo.drawing.photo import photograph_scene
from rag_vqa.demo.gallery import (
    PHOTO_SIZE,
    Half,
    build_knowledge_base,
    embedded_models_dir,
    named_questions,
)
from rag_vqa.demo.questions import unanswerable_question
from rag_vqa.errors import BadInput, ReaderError
from rag_vqa.eval.results.result_files import write_results
from rag_vqa.eval.run.runner import EvaluationRun, Runner, open_run
from rag_vqa.eval.run.spec import Cell
from rag_vqa.eval.scorers import make_scorer
from rag_vqa.formats.benchmark import QuestionRow, QuestionRows
from rag_vqa.formats.question_set import Questions, open_questions
from rag_vqa.pipeline import CLOSED_BOOK, RagVqa
from rag_vqa.presets import reader_limits
from rag_vqa.readers.base import Reader
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import Query

Result = dict[str, Any]
Quantization = Literal["nf4", "none"]
QUANTIZATIONS: tuple[Quantization, ...] = ("nf4", "none")
DEPTH = 5  # documents retrieved
READER_CELL = Cell("retrieved", 3, "answer")
CELLS = {
    "k=0": Cell("none", 0, CLOSED_BOOK),
    "k=1": Cell("retrieved", 1, "answer"),
    "k=3": READER_CELL,
    "filtered k=3": Cell("filtered", 3, "answer"),
    "oracle": Cell("oracle", 3, "answer"),
}
_NAMED = "named"  # a question without a photo that names the country
# The part of a question that is searched with, and how the knowledge base searches.
VIEWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "text": ("text", {}),
    "text, country named": (_NAMED, {"hybrid": "auto"}),
    "image": ("image", {}),
    "both": ("both", {}),
    "both, sections": ("both", {"sections": True}),
    "both, hybrid": ("both", {"hybrid": True}),
}
_UNANSWERABLE = "nothing"  # the split of questions that nothing answers


def evaluate_demo(
    on_progress: Callable[[int], object] | None = None,
    half: Half = "test",
    models: Path | None = None,
    quantizations: Sequence[Quantization] = QUANTIZATIONS,
) -> Result:
    """Measure retrieval, answers and abstention; the shape is that of `demo --evaluate --json`.

    Args:
        on_progress: called with the number of searches and answers done so far.
        models: a folder of models to measure in place of the embedded ones.
    """
    models = models or embedded_models_dir()
    result: Result = {"retrieval": {}, "answers": {}, "unknown": {}}
    with TemporaryDirectory() as scratch:
        runs = _Runs(Path(scratch), on_progress)
        export_benchmark("own", runs.data)
        _write_unanswerable_questions(runs.data, half)
        encoder = Encoder.load(models / "retriever")
        encoder.source = EMBEDDED  # what is measured is, or may become, the embedded one
        with build_knowledge_base(Path(scratch) / "flags.kb", encoder) as kb:
            for name, (view, how) in VIEWS.items():
                kb.hybrid, kb.sections = how.get("hybrid", False), how.get("sections", False)
                result["retrieval"][name] = _recall(runs.run_split(half, view, RagVqa(kb), []))
            kb.hybrid = kb.sections = False
            for quantization in quantizations:
                rag = RagVqa(kb, load_demo_reader(models / "reader", quantization))
                rag.filter = Critic(rag.reader)
                found = _results_by_cell(runs.run_split(half, "both", rag, list(CELLS.values())))
                result["answers"][quantization] = {
                    name: _accuracy(found[cell.name]) for name, cell in CELLS.items()
                }
                if quantization == quantizations[0]:
                    asked = _results_by_cell(
                        runs.run_split(_UNANSWERABLE, "both", rag, [READER_CELL])
                    )[READER_CELL.name]
                    result["unknown"] = _abstention_rates(asked, found[CELLS["oracle"].name])
    return result


def load_demo_reader(folder: Path, quantization: Literal["nf4", "int8", "none"]) -> Reader:
    """The bundled reader with the limits that it was trained for."""
    return LocalReader(
        folder,
        quantization=quantization,
        device="cpu",
        offline=True,
        **reader_limits(EMBEDDED),
    )


@dataclass(slots=True)
class _Runs:
    """Runs in one scratch folder, one after the other."""

    folder: Path
    report: Callable[[int], object] | None
    done: int = 0
    count: int = 0

    @property
    def data(self) -> Path:
        """The exported questions."""
        return self.folder / "own"

    def run_split(self, split: str, view: str, rag: RagVqa, cells: Sequence[Cell]) -> Result:
        """Run the questions of a split in some cells (none: retrieval alone); the results."""
        self.count += 1
        questions = _select_view(open_questions("own", self.data, split=split), view)
        run = EvaluationRun(questions=questions, rag=rag, cells=cells, depth=DEPTH)
        with open_run(run, self.folder / f"run{self.count}") as ledger:
            runner = Runner(run, ledger)
            runner.run(lambda done: self.report and self.report(self.done + done))
            self.done += runner.total
            results = write_results(ledger, make_scorer("text") if cells else None)
        failed = results["failed_retrieval"] + sum(cell["failed"] for cell in results["cells"])
        if failed:
            raise ReaderError(f"{failed:,} of {runner.total:,} rows of {split}, {view} failed.")
        return results


def _select_view(questions: Questions, view: str) -> Questions:
    """The questions with their text alone, their photo alone, both, or named without a photo.

    Questions that no document answers are left out, except in the split of those.
    """
    rows = questions.found.rows
    named = named_questions(cast("Half", questions.split)) if view == _NAMED else {}

    def rows_of_view(names: Mapping[str, str] | None) -> QuestionRows:
        for asked in rows(names):
            if isinstance(asked, BadInput):
                raise asked
            example = asked.example
            if example.unanswerable and questions.split != _UNANSWERABLE:
                continue
            kind = "/".join(example.id.split("/")[2:])
            text = named[example.id] if named else example.query.text
            query = Query("" if view == "image" else text)
            picture = () if view in ("text", _NAMED) else asked.picture
            yield QuestionRow(replace(example, query=query, kind=kind), picture)

    return replace(questions, found=replace(questions.found, rows=rows_of_view))


def _write_unanswerable_questions(data: Path, half: Half) -> None:
    """Add a split that no document answers: every question with a photo that shows no flag, and
    every photo with a question that the documents do not cover."""
    examples = open_questions("own", data, split=half).examples()
    answerable = [example for example in examples if not example.unanswerable]
    rng, rows = np.random.default_rng(0), []
    for number, example in enumerate(answerable):
        name = f"photos/no flag {number}.png"
        Image.fromarray(photograph_scene(rng, *PHOTO_SIZE)).save(data / name)
        rows.append((f"{example.id}/no flag", example.query.text, name))
    for example in answerable:
        text = unanswerable_question(rng, held_out=True).text
        photo = Path(str(example.query.image)).relative_to(data)
        rows.append((f"{example.id}/unanswerable", text, str(photo)))
    with (data / f"{_UNANSWERABLE}.jsonl").open("w", encoding="utf-8") as file:
        for identity, text, name in rows:
            row = {"id": identity, "question": text, "image": name, "unanswerable": True,
                   "group": identity.partition("/")[0]}  # fmt: skip
            file.write(json.dumps(row) + "\n")


def _results_by_cell(results: Result) -> dict[str, Result]:
    return {cell["cell"]: cell for cell in results["cells"]}


def _recall(results: Result) -> Result:
    found = results["recall"]["recall"]
    # Where there are fewer than five documents, the deepest is what the fifth would be.
    first, fifth = found["1"], found.get("5") or found[max(found, key=int)]
    return {
        "recall@1": first["value"],
        "recall@5": fifth["value"],
        "n": results["recall"]["n"],
        "ci95": first["ci95"],
        "ci95@5": fifth["ci95"],
    }


def _accuracy(cell: Result) -> Result:
    return {name: cell[name] for name in ("accuracy", "n", "ci95")}


def _abstention_rates(nothing: Result, oracle: Result) -> Result:
    """How often the reader abstains where it should (two kinds), and where it should not."""
    rates = {
        kind: {"rate": part["accuracy"], "n": part["n"]}
        for kind, part in nothing["by_kind"].items()
    }
    rate = oracle["abstained"] / oracle["answers"]
    return {**rates, "answerable": {"rate": rate, "n": oracle["answers"]}}
