"""A new benchmark is one file: this one. Registered, its documents, questions, scorer, template,
figures and training rows are found by every command, and nothing else is edited.

The toy: questions about colours of things, a line `id|question|colour|document` each; documents are
lines `id: text` in a file that ends with .things. An answer is right if its colour is the first
word; papers report the share of warm colours.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput
from rag_vqa.formats.benchmark import (
    BENCHMARKS,
    Benchmark,
    OfficialFigure,
    PredictionFiles,
    PublishedFigure,
    QuestionFiles,
    QuestionRow,
    Scored,
)
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DocumentFormat, SourceOptions
from rag_vqa.formats.question_rows import Row, read_question_rows
from rag_vqa.retriever.training.source_mixture import open_source
from rag_vqa.retriever.training.training_settings import SourceSettings
from rag_vqa.types import Example, Query

WARM = ("red", "yellow")


def open_things(path: Path, options: SourceOptions) -> Contents:
    def items() -> Iterator[Item]:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            identity, _, text = line.partition(": ")
            yield Item(number, {"id": identity, "text": text})

    return Contents(("id", "text"), (), (), items)


def find_questions(
    path: Path, split: str | None, images: Path | None, task: str | None
) -> QuestionFiles:
    file = path / f"{task}-{split or 'test'}.colours"

    def rows() -> Iterator[tuple[int, Row | BadInput]]:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            names = ("id", "question", "colour", "document")
            yield number, dict(zip(names, line.split("|"), strict=True))

    def example(row: Row, place: int) -> QuestionRow:
        warmth = "warm" if row["colour"] in WARM else "cold"
        return QuestionRow(
            Example(row["id"], Query(row["question"]), answers=(row["colour"],),
                    references=(row["colour"],), relevant=(row["document"],), kind=warmth),
        )  # fmt: skip

    return QuestionFiles(
        name=f"colours/{task}",
        split=split or "test",
        files={"questions": file},
        home=path,
        images=images or path,
        rows=lambda names: read_question_rows(rows(), file, example),
    )


class FirstWord:
    name = "colours first word"

    def check(self, example: Example) -> None:
        assert example.references

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> list[float]:
        pairs = zip(examples, predictions, strict=True)
        return [float(text.split()[:1] == list(one.references)) for one, text in pairs]

    def lenient(self, example: Example, prediction: str) -> bool:
        return example.references[0] in prediction

    def cut(self, example: Example, prediction: str) -> bool:
        return False

    def summary(self, rows: Iterable[Scored]) -> Mapping[str, Any]:
        scores = [(example.kind, score) for example, _, score in rows]
        warm = [score for kind, score in scores if kind == "warm"]
        return {
            "n": len(scores),
            "accuracy": sum(score for _, score in scores) / len(scores),
            "warm": sum(warm) / len(warm) if warm else None,
        }


def official_figures(summary: Mapping[str, Any]) -> Iterator[OfficialFigure]:
    yield OfficialFigure("warm", None if summary["warm"] is None else 100 * summary["warm"])


def score_file(files: PredictionFiles, open_scorer: Any) -> Mapping[str, Any]:
    rows = [json.loads(line) for line in files.predictions.read_text("utf-8").splitlines()]
    examples = [Example(row["id"], Query(""), references=(row["colour"],)) for row in rows]
    scorer = open_scorer()
    scores = scorer.score(examples, [row["prediction"] for row in rows])
    return {"scorer": scorer.name, "right": sum(scores)}


COLOURS = Benchmark(
    name="colours",
    find_questions=find_questions,
    documents=(DocumentFormat(name="things", suffixes=(".things",), open=open_things),),
    scorer="colours",
    make_scorer=lambda options: FirstWord(),
    score_file=score_file,
    template="short",
    official_figures=official_figures,
    published=(
        PublishedFigure("colours/plain", "test", 2, "others", "retrieved", "all", 0.75,
                        "colours first word", (2, 2), "2", "a paper"),
    ),
    tasks=("plain",),
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "kb.things").write_text("apple: an apple is red\nsea: the sea is blue\n")
    questions = "a|which colour is an apple?|red|apple\ns|which colour is the sea?|blue|sea\n"
    for split in ("test", "train"):
        (folder / f"plain-{split}.colours").write_text(questions)
    with BENCHMARKS.temporary_entry(COLOURS):
        yield folder


def test_from_its_files_to_the_report(cli: Any, reader: Any, data: Path, tmp_path: Path) -> None:
    reader.says = "red it is"
    kb, run = tmp_path / "things.kb", tmp_path / "run"
    built = cli("kb", "build", data / "kb.things", "--out", kb)
    assert (built.code, "2 documents (things)" in built.err) == (0, True), built.err
    checked = cli("data", "check", "colours", data, "--task", "plain", "--json")
    assert (checked.json["name"], checked.json["questions"]) == ("colours/plain", 2)
    done = cli("eval", "run", "colours", data, "--task", "plain", "--kb", kb, "--out", run, "-k", 1,
               "--conditions", "none,retrieved")  # fmt: skip
    assert done.code == 0, done.err
    results = json.loads((run / "results.json").read_text())
    assert [(cell["cell"], cell["accuracy"]) for cell in results["cells"]] == [
        ("none", 0.5), ("retrieved k=1 short", 0.5)]  # fmt: skip
    assert results["scorer"] == {"name": "colours first word"}
    assert ["none", "100.0"] in [line.split() for line in done.out.splitlines()]  # warm colours
    [beside] = cli("eval", "report", run, "--json").json["published"]
    assert (beside["published"]["value"], beside["own"]["value"], beside["comparable"]) == (
        0.75, 0.5, True)  # fmt: skip
    table = cli("eval", "report", run, "--markdown").out
    assert "| official, % | warm |" in table and "Published, comparable" in table


def test_predictions_of_others_are_scored(cli: Any, data: Path, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"id": "a", "colour": "red", "prediction": "red"}\n'
        '{"id": "b", "colour": "red", "prediction": "it is red"}\n'
    )
    command = ("eval", "score", "colours", "--predictions", tmp_path / "p.jsonl")
    done = cli(*command, "--references", tmp_path / "p.jsonl", "--json")
    assert done.json == {"scorer": "colours first word", "right": 1.0}


def test_its_questions_are_pairs_to_train_on(data: Path, tmp_path: Path) -> None:
    settings = SourceSettings(
        format="colours", questions=data, documents=data / "kb.things", task="plain"
    )
    source = open_source(settings, folder=tmp_path / "packed")
    pairs = source.draw(0, range(2))
    assert {(pair.query.text, pair.passage.text) for pair in pairs} == {
        ("which colour is an apple?", "an apple is red"),
        ("which colour is the sea?", "the sea is blue"),
    }


def test_without_its_file_it_is_unknown_everywhere(cli: Any, tmp_path: Path) -> None:
    for words in (("data", "check", "colours", tmp_path), ("eval", "score", "colours",
                  "--predictions", "p", "--references", "r")):  # fmt: skip
        done = cli(*words)
        assert (done.code, "colours" in done.err) == (2, True)
