"""Opens the questions of a benchmark, or of a user: a stream of Examples with their pictures.

It knows which module reads which benchmark, what becomes of a question whose picture is missing,
and the manifest that `data check` wrote. It opens no picture: it looks whether the file is there.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.document import nearest, shown
from rag_vqa.formats.questions import evqa, infoseek, m2kr, manifest, mbeir, own
from rag_vqa.formats.questions.manifest import Manifest, MissingPolicy
from rag_vqa.formats.questions.rows import Asked, Benchmark, Scorer
from rag_vqa.types import Example

_FORMATS: dict[str, Callable[[Path, str | None, Path | None, str | None], Benchmark]] = {
    "infoseek": infoseek.find,
    "evqa": evqa.find,
    "m2kr": m2kr.find,
    "mbeir": mbeir.find,
    "own": own.find,
}
BENCHMARKS = tuple(_FORMATS)
_WITH_TASKS = ("m2kr", "mbeir")


@dataclass(frozen=True, slots=True)
class Questions:
    """A question set.

    Attributes:
        name: "infoseek", "evqa", "m2kr/oven", "mbeir/fashioniq_task7", "own".
        split: "val", "test", …
        scorer: which answers' scorer is the benchmark's own.
        files: role → sha256 of each question file.
        missing: what becomes of a question whose picture is not there.
        instruction: of all queries; None: their own, or the retriever's.
    """

    name: str
    split: str
    scorer: Scorer
    files: Mapping[str, str]
    missing: MissingPolicy
    instruction: str | None
    benchmark: Benchmark = field(repr=False)
    checked: Manifest | None = field(default=None, repr=False)
    _counts: Counter[str] = field(default_factory=Counter, repr=False, compare=False)

    @property
    def skipped(self) -> int:
        """Questions that `examples` left out so far, when it was last gone through."""
        return self._counts["skipped"]

    def examples(self) -> Iterator[Example]:
        """All questions, each time from the beginning and in the same order.

        Raises:
            BadInput: a row that is refused, or a picture that came or went since `data check`.
            Missing: under "fail", the first question whose picture is not there.
        """
        gone = None if self.checked is None else frozenset(self.checked.missing)
        names = None if self.checked is None else self.checked.names
        again = command(self.benchmark, self.missing)
        self._counts.clear()
        for asked in self.benchmark.rows(names):
            if isinstance(asked, BadInput):
                raise BadInput(f"{asked} All that are refused: {again}") from asked
            path = picture(asked, self.benchmark.images)
            if gone is not None and asked.picture and (asked.picture[0] in gone) != (path is None):
                raise BadInput(
                    f"{self.benchmark.images / asked.picture[0]} "
                    f"{'went' if path is None else 'came'} since the data were checked. "
                    f"Check again: {again}"
                )
            if path is not None or not asked.picture:
                query = replace(asked.example.query, image=path)
                yield replace(asked.example, query=query)
            elif self.missing == "fail":
                raise Missing(
                    f"question {shown(asked.example.id)}: its picture "
                    f"{self.benchmark.images / asked.picture[0]} is not there. "
                    f"All that is missing: {again}"
                )
            elif self.missing == "text-only":
                yield replace(asked.example, missing=asked.picture[0])
            else:
                self._counts["skipped"] += 1


def open_questions(
    benchmark: str,
    path: str | Path,
    *,
    split: str | None = None,
    images: str | Path | None = None,
    missing: MissingPolicy | None = None,
    task: str | None = None,
) -> Questions:
    """Find the files of a question set, and its manifest if the data were checked.

    Args:
        benchmark: infoseek, evqa, m2kr, mbeir or own.
        path: the folder of the files; of `own` and `m2kr` also the file itself.
        split: by default "val" of infoseek, "test" of all others.
        images: the folder of the pictures; by default the manifest's, else as docs/data.md says.
        missing: by default the manifest's, else "fail".
        task: of m2kr and mbeir, which one.

    Raises:
        UsageError: no such benchmark, task or policy.
        Missing: a file is not there.
        BadInput: a file is not the one that was checked.
    """
    images = None if images is None else Path(images)
    found = find(benchmark, Path(path), split, images, task)
    if missing is not None and missing not in get_args(MissingPolicy):
        raise UsageError(f"missing {missing!r}: give {', '.join(get_args(MissingPolicy))}.")
    checked, files = manifest.load(found.home, key(found)), manifest.digests(found.files)
    policy = missing or (checked.policy if checked else "fail")
    if checked is not None and checked.files != files:
        changed = next(
            r for r in {**files, **checked.files} if files.get(r) != checked.files.get(r)
        )
        raise BadInput(
            f"{found.files.get(changed, changed)} is not the file that was checked. Check again: "
            f"{command(replace(found, images=images or Path(checked.images)), policy)}"
        )
    if checked is not None and images is None:
        found = replace(found, images=Path(checked.images))
    elif checked is not None and found.images.resolve() != Path(checked.images):
        checked = None  # of other pictures nothing is known
    return Questions(
        name=found.name,
        split=found.split,
        scorer=found.scorer,
        files=files,
        missing=policy,
        instruction=found.instruction,
        benchmark=found,
        checked=checked,
    )


def find(
    benchmark: str, path: Path, split: str | None, images: Path | None, task: str | None
) -> Benchmark:
    """The files of a question set; raises as `open_questions` does."""
    if benchmark not in _FORMATS:
        raise UsageError(
            f"{benchmark!r} is no benchmark.{nearest(benchmark, BENCHMARKS)} "
            f"Known: {', '.join(BENCHMARKS)}."
        )
    if task is not None and benchmark not in _WITH_TASKS:
        raise UsageError(f"a task is for {' and '.join(_WITH_TASKS)}: {benchmark} has none.")
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    return _FORMATS[benchmark](path, split, images, task)


def picture(asked: Asked, images: Path) -> Path | None:
    """Where a question's picture lies; None if it has none or it is not there."""
    return next((images / name for name in asked.picture if (images / name).is_file()), None)


def key(found: Benchmark) -> str:
    """What a set is called in the manifest of its folder."""
    return f"{found.name} {found.split}"


def command(found: Benchmark, missing: MissingPolicy) -> str:
    """What checks these data again, as a shell takes it."""
    name, _, task = found.name.partition("/")
    files = list(found.files.values())
    alone = name in ("own", "m2kr") and [file.parent for file in files] == [found.home]
    place = files[0] if alone else found.home  # a file may have a name of its own
    said = ["rag-vqa", "data", "check", name, str(place), "--images", str(found.images)]
    said += [] if name == "own" else ["--split", found.split]
    said += ["--task", task] if task else []
    return shlex.join([*said, "--missing", missing])
