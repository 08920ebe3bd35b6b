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
QUESTIONS_AT_ONCE = 64  # encoded and searched together


def mine_negatives(
    search: SearchFunction,
    size: int,
    examples: Iterable[Example],
    k: int,
    skip: int = 0,
    answers: bool = False,
) -> Iterator[tuple[str, list[str]]]:
    """For each question: its id, and the ids of the k best wrong documents, best first.

    Args:
        search: returns the given number of best documents for each query.
        size: how many documents there are.
        k: how many negatives; fewer if there are not enough.
        skip: leave out this many of the best documents not known to be right: the higher one
            ranks, the likelier it is right and only not labelled.
        answers: documents that contain an answer's text count as right, too (pseudo-recall).

    Raises:
        UsageError: k < 1 or skip < 0.
    """
    if k < 1 or skip < 0:
        raise UsageError(f"k is {k} and skip-top {skip}: give at least 1, and at least 0.")
    waiting = iter(examples)
    while some := list(islice(waiting, QUESTIONS_AT_ONCE)):
        found = _wrong_documents(search, size, some, k + skip, answers)
        for example, ids in zip(some, found, strict=True):
            yield example.id, ids[skip : skip + k]


def _wrong_documents(
    search: SearchFunction, size: int, examples: Sequence[Example], count: int, answers: bool
) -> list[list[str]]:
    """At least `count` wrong documents of each question, if there are as many.

    The number of right documents among the best is not known beforehand: if too few wrong ones
    are left, search again for twice as many.
    """
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
    """Whether a document is right for a question, so that it must not be a negative."""
    right = {*example.relevant, *example.oracle}
    known = document.id in right or (example.level == "parent" and document.parent in right)
    return known or (answers and answer_rank(example.answers, [document.text]) > 0)


class NegativesFile:
    """A file of negatives while it is written: OUT.begun, renamed to OUT by `finish`.

    Attributes:
        done: how many questions it holds.
    """

    def __init__(self, out: Path, options: Mapping[str, Any]) -> None:
        """`options`: everything on which the lines depend.

        Raises UsageError: OUT exists, or was started with other options.
        """
        if out.exists():
            raise UsageError(f"{out} exists. Give another name, or delete it.")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._out, self._partial = out, out.with_name(f"{out.name}.begun")
        self._record = out.with_name(f"{out.name}.begun.json")
        if self._partial.exists():
            hint = f"Use the same files and options, or start again: rm {self._partial}"
            check_unchanged(self._partial, _read_record(self._record), options, hint)
        else:
            atomic.write_file(self._record, json.dumps(options, sort_keys=True))
        self.done = _cut_partial_line(self._partial)

    def append(self, mined: Iterable[tuple[str, list[str]]]) -> Iterator[int]:
        """Append mined negatives; yields the number of all lines after each one."""
        with self._partial.open("a", encoding="utf-8") as file:
            for identity, negatives in mined:
                line = json.dumps({"id": identity, "negatives": negatives}, ensure_ascii=False)
                file.write(line + "\n")
                self.done += 1
                yield self.done

    def finish(self, required: int) -> tuple[int, int]:
        """Give the file its name, or remove it if it holds no negative.

        Returns: how many questions have fewer than `required` negatives, and the largest number
            that a question has.
        """
        with self._partial.open(encoding="utf-8") as file:
            counts = [len(json.loads(line)["negatives"]) for line in file]
        most = max(counts, default=0)
        if most:
            atomic.sync_file(self._partial)
            atomic.replace_file(self._partial, self._out)
        else:
            atomic.remove_file(self._partial)
        atomic.remove_file(self._record)
        return sum(count < required for count in counts), most


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _cut_partial_line(path: Path) -> int:
    """Remove an incomplete last line, left by a kill; returns the number of lines."""
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
