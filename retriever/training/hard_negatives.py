"""Hard negatives: wrong documents that a search ranks high for a question, and the file of them.

Knows rankings, three ways in which a document is right (id, parent, and on request a text that
holds an answer), and JSON lines of {"id": question, "negatives": [document ids]}. The file is
written line by line, resumes where it ended, and gets its name when complete. Does not know where
questions come from, nor what searches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from rag_vqa.errors import UsageError
from rag_vqa.retriever.metrics import answer_rank
from rag_vqa.storage import atomic
from rag_vqa.storage.fingerprint import check_unchanged
from rag_vqa.types import Document, Example, Hit, Query

SearchFunction: TypeAlias = Callable[[Sequence[Query], int], list[list[Hit]]]
QUESTIONS_AT_ONCE = 64  # questions that are encoded and searched together


def mine_negatives(
    search: SearchFunction,
    size: int,
    examples: Iterable[Example],
    k: int,
    skip: int = 0,
    answers: bool = False,
) -> Iterator[tuple[str, list[str]]]:
    """For each question its id, and the ids of the k best documents that are wrong, best first.

    Args:
        search: the best documents of each query, as many as are asked for.
        size: documents that it knows.
        k: how many; fewer where there are no more.
        skip: how many of the best that are not known to be right are left out: the nearer to the
            top, the likelier that they are right and nobody said so.
        answers: documents that hold an answer's text count as right too, as for pseudo-recall.

    Raises:
        UsageError: k < 1 or skip < 0.
    """
    if k < 1 or skip < 0:
        raise UsageError(f"k is {k} and skip-top {skip}: at least 1, and at least 0.")
    waiting = iter(examples)
    while some := list(islice(waiting, QUESTIONS_AT_ONCE)):
        found = _wrong_documents(search, size, some, k + skip, answers)
        for example, ids in zip(some, found, strict=True):
            yield example.id, ids[skip : skip + k]


def _wrong_documents(
    search: SearchFunction, size: int, examples: Sequence[Example], count: int, answers: bool
) -> list[list[str]]:
    """The best `count` wrong ones of each. How many right ones are among the best is not known
    before: where they leave too few, twice as many are asked for."""
    depth = min(size, count + max(len(example.relevant) for example in examples))
    waiting = list(range(len(examples)))
    found: list[list[str]] = [[] for _ in examples]
    while waiting and depth:
        hits = search([examples[row].query for row in waiting], depth)
        for row, ranking in zip(waiting, hits, strict=True):
            found[row] = _wrong_ids(examples[row], ranking, answers)
        waiting = [row for row in waiting if len(found[row]) < count and depth < size]
        depth = min(size, 2 * depth)
    return found


def _wrong_ids(example: Example, ranking: Sequence[Hit], answers: bool) -> list[str]:
    documents = [hit.document for hit in ranking]
    return [one.id for one in documents if not is_right(example, one, answers)]


def is_right(example: Example, document: Document, answers: bool) -> bool:
    """Whether a document may not be a negative of a question."""
    right = {*example.relevant, *example.oracle}
    known = document.id in right or (example.level == "parent" and document.parent in right)
    return known or (answers and answer_rank(example.answers, [document.text]) > 0)


class NegativesFile:
    """A file in the making: OUT.begun, and OUT once `finish` is called.

    Attributes:
        done: questions that are in it.
    """

    def __init__(self, out: Path, said: Mapping[str, Any]) -> None:
        """`said`: all that shapes the lines. Raises UsageError: OUT is there, or was begun with
        something else."""
        if out.exists():
            raise UsageError(f"{out} exists. Give another name, or delete it.")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._out, self._begun = out, out.with_name(f"{out.name}.begun")
        self._said = out.with_name(f"{out.name}.begun.json")
        if self._begun.exists():
            hint = f"Use the same files and options, or start again: rm {self._begun}"
            check_unchanged(self._begun, _read_record(self._said), said, hint)
        else:
            atomic.write_file(self._said, json.dumps(said, sort_keys=True))
        self.done = _cut_partial_line(self._begun)

    def take(self, mined: Iterable[tuple[str, list[str]]]) -> Iterator[int]:
        """Append what is mined; after each line, how many there are in all."""
        with self._begun.open("a", encoding="utf-8") as file:
            for identity, negatives in mined:
                line = json.dumps({"id": identity, "negatives": negatives}, ensure_ascii=False)
                file.write(line + "\n")
                self.done += 1
                yield self.done

    def finish(self, wanted: int) -> tuple[int, int]:
        """Give it its name, unless it holds no negative: then it goes.

        Returns: how many questions have fewer than `wanted` negatives, and the most that one has.
        """
        with self._begun.open(encoding="utf-8") as file:
            counts = [len(json.loads(line)["negatives"]) for line in file]
        most = max(counts, default=0)
        if most:
            atomic.sync_file(self._begun)
            atomic.replace_file(self._begun, self._out)
        else:
            atomic.remove_file(self._begun)
        atomic.remove_file(self._said)
        return sum(count < wanted for count in counts), most


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _cut_partial_line(path: Path) -> int:
    """Whole lines of a file; what a kill left of another one is taken off."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        count = size = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            count, size = count + 1, size + len(line)
        file.truncate(size)
    return count
