"""Looks through a question set before hours are spent on it: what is there, what is missing.

It knows counts, names, and what a format says of the likely cause. Pictures are looked at by name
alone. It does not know how that is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rag_vqa.errors import BadInput
from rag_vqa.formats.questions import manifest
from rag_vqa.formats.questions.manifest import Manifest, MissingPolicy
from rag_vqa.formats.questions.opening import find, key, picture


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, where it is written down, and what is likely wrong.

    Attributes:
        remarks: what is odd about rows that are taken all the same → how many.
        refused: why rows are refused, each with its file and line. A run refuses them too.
    """

    name: str
    split: str
    found: Manifest
    path: Path
    causes: tuple[str, ...]
    remarks: Mapping[str, int]
    refused: tuple[str, ...]


def check(
    benchmark: str,
    path: Path,
    *,
    split: str | None = None,
    images: Path | None = None,
    missing: MissingPolicy = "fail",
    task: str | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Checked:
    """Look for each question's picture, and write the manifest.

    Args:
        on_progress: gets the number of questions so far, now and then.

    Raises:
        UsageError, Missing, BadInput: as `open_questions` does.
    """
    found = find(benchmark, path, split, images, task)
    names = found.names() if found.names is not None else None
    gone: dict[str, None] = {}
    remarks: Counter[str] = Counter()
    refused: list[str] = []
    count = there = bare = 0
    for asked in found.rows(names):
        if isinstance(asked, BadInput):
            refused.append(str(asked))
            continue
        count += 1
        remarks.update([asked.remark] if asked.remark else [])
        if not asked.picture:
            bare += 1
        elif picture(asked, found.images) is not None:
            there += 1
        else:
            gone[asked.picture[0]] = None
        if on_progress is not None and count % 1000 == 0:
            on_progress(count)
    result = Manifest(
        files=manifest.digests(found.files),
        images=str(found.images.resolve()),
        policy=missing,
        questions=count,
        with_picture=there,
        without_picture=bare,
        missing=sorted(gone),
        names=None if names is None else dict(names),
    )
    written = manifest.save(found.home, key(found), result)
    causes = tuple(found.explain(found.images, gone)) if gone else ()
    return Checked(found.name, found.split, result, written, causes, dict(remarks), tuple(refused))
