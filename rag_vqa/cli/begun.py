"""What a build in parts was begun with, written beside its parts.

It knows what decides where each part begins and what is in it: parts of two sources, or of one
that changed in between, would make a knowledge base that lacks documents or mixes them. It does
not know how parts are made. Pictures in a folder of their own (--images) are not looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from rag_vqa.cli.sourcing import Sourcing

FILE = "begun.json"


@dataclass(frozen=True)
class Begun:
    """Named as a person is told of them.

    Attributes:
        source: path and options.
        files: how many, how large, and a hash of their names, sizes and times of change.
    """

    parts: int
    documents: int
    source: str
    files: str
    split: str | None
    tokens_kept: bool | None
    retriever: str

    def differences(self, folder: Path) -> list[str]:
        """What is otherwise than it was when the parts in `folder` were begun."""
        file = folder / FILE
        if not file.exists():
            return ["what it was begun with is not written there"]
        then = json.loads(file.read_text("utf-8"))
        now = asdict(self)
        return [f"{k} was {then.get(k)}, is {v}" for k, v in now.items() if v != then.get(k)]

    def write(self, folder: Path) -> None:
        """Write it down in `folder`, whole or not at all."""
        from rag_vqa.retriever.store import files

        files.write_whole(folder / FILE, json.dumps(asdict(self)).encode())
        files.sync_folder(folder)


def named(sourcing: Sourcing) -> str:
    """Path and options of a source. `--strict` is none that changes a document."""
    return json.dumps(asdict(replace(sourcing.absolute(), strict=False)), default=str)


def state(sourcing: Sourcing, but: Iterable[Path]) -> str:
    """How the files of a source are now, without reading them; `but` are folders passed over."""
    passed = {os.path.realpath(path) for path in but}
    count = size = 0
    found = sha256()
    for path in [*_files(sourcing.path, passed), *filter(None, [sourcing.subset])]:
        stat = path.stat(follow_symlinks=path.exists())  # a link that leads nowhere is a state too
        count, size = count + 1, size + stat.st_size
        found.update(json.dumps([str(path.resolve()), stat.st_size, stat.st_mtime_ns]).encode())
    return f"{count:,} of {size:,} bytes ({found.hexdigest()[:16]})"


def _files(path: Path, passed: set[str]) -> Iterator[Path]:
    """A file itself; of a folder all that are in it, in an order that stays."""
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(
            name
            for name in inner
            if name[0] != "." and os.path.realpath(Path(folder, name)) not in passed
        )
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")
