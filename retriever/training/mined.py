"""The file of mined negatives: written line by line, goes on where it ended, complete or not there.

It knows JSON lines of {"id": a question's, "negatives": ids of documents}, and what a file that was
begun was begun with. It does not know how negatives are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rag_vqa.errors import UsageError


class Mined:
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
        written = json.dumps(said, sort_keys=True)
        if self._begun.exists() and _text(self._said) != written:
            raise UsageError(f"{self._begun} was begun with other files or options: delete it.")
        if not self._begun.exists():
            self._said.write_text(written, "utf-8")
        self.done = _cut(self._begun)

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
            self._begun.replace(self._out)
        else:
            self._begun.unlink()
        self._said.unlink()
        return sum(count < wanted for count in counts), most


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _cut(path: Path) -> int:
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
