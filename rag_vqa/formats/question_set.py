"""Question sets: find the files of a benchmark, check them, stream Examples with their pictures.

Knows what happens to a question whose picture is missing, and the manifest rag-vqa.json that `data
check` writes beside the questions and runs use. Does not know how a benchmark's rows are read, and
opens no picture: it looks whether the file exists.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.benchmark import BENCHMARKS, QuestionFiles, QuestionRow, Use, benchmarks_for
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.storage import atomic
from rag_vqa.types import Example

MANIFEST_NAME = "rag-vqa.json"
MissingPolicy: TypeAlias = Literal["fail", "skip", "text-only"]


class QuestionManifest(BaseModel):
    """One question set as it was checked.

    Attributes:
        files: role → sha256 of each question file.
        images: the folder of pictures, absolute.
        questions, with_picture: how many there are, and how many of them have their picture.
        missing: names of pictures that are not there.
        names: ids of pictures → names of files, where the data set's own lists say so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    files: dict[str, str]
    images: str
    policy: MissingPolicy
    questions: int
    with_picture: int
    without_picture: int
    missing: list[str]
    names: dict[str, str] | None = None


def file_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of each file, in hex."""
    found = {}
    for role, path in files.items():
        with path.open("rb") as file:
            found[role] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def load_manifest(home: Path, key: str) -> QuestionManifest | None:
    """The manifest of a set, if its folder has one.

    Raises:
        BadInput: the file is damaged.
    """
    entry = _manifest_entries(home / MANIFEST_NAME).get(key)
    try:
        return None if entry is None else QuestionManifest.model_validate(entry)
    except ValidationError as error:
        raise _damaged_manifest(home / MANIFEST_NAME, str(error.errors()[0]["msg"])) from error


def save_manifest(home: Path, key: str, manifest: QuestionManifest) -> Path:
    """Write it, in the place of an older one of the same set."""
    path = home / MANIFEST_NAME
    entries = {**_manifest_entries(path), key: manifest.model_dump()}
    scratch = path.with_name(f".{MANIFEST_NAME}.{os.getpid()}")
    text = json.dumps(entries, indent=1, sort_keys=True) + "\n"
    atomic.write_file(path, text, partial=scratch)
    return path


def _manifest_entries(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise _damaged_manifest(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged_manifest(path, "no object")
    return found


def _damaged_manifest(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is damaged ({reason}). Delete it, then: rag-vqa data check")


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
    scorer: str
    files: Mapping[str, str]
    missing: MissingPolicy
    instruction: str | None
    benchmark: QuestionFiles = field(repr=False)
    checked: QuestionManifest | None = field(default=None, repr=False)
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
        again = check_command(self.benchmark, self.missing)
        self._counts.clear()
        for asked in self.benchmark.rows(names):
            if isinstance(asked, BadInput):
                raise BadInput(f"{asked} All that are refused: {again}") from asked
            path = picture_path(asked, self.benchmark.images)
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
                    f"question {quote_value(asked.example.id)}: its picture "
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
    found = find_question_files(benchmark, Path(path), split, images, task)
    if missing is not None and missing not in get_args(MissingPolicy):
        raise UsageError(f"missing {missing!r}: give {', '.join(get_args(MissingPolicy))}.")
    checked, files = load_manifest(found.home, manifest_key(found)), file_digests(found.files)
    policy = missing or (checked.policy if checked else "fail")
    if checked is not None and checked.files != files:
        changed = next(
            r for r in {**files, **checked.files} if files.get(r) != checked.files.get(r)
        )
        raise BadInput(
            f"{found.files.get(changed, changed)} is not the file that was checked. Check again: "
            f"{check_command(replace(found, images=images or Path(checked.images)), policy)}"
        )
    if checked is not None and images is None:
        found = replace(found, images=Path(checked.images))
    elif checked is not None and found.images.resolve() != Path(checked.images):
        checked = None  # of other pictures nothing is known
    return Questions(
        name=found.name,
        split=found.split,
        scorer=BENCHMARKS.get(benchmark).scorer,
        files=files,
        missing=policy,
        instruction=found.instruction,
        benchmark=found,
        checked=checked,
    )


def find_question_files(
    benchmark: str,
    path: Path,
    split: str | None,
    images: Path | None,
    task: str | None,
    use: Use = "evaluation",
) -> QuestionFiles:
    """Find the files of a benchmark's questions.

    Raises:
        UsageError: no such benchmark or task, or its questions are not for this use.
        Missing: a file is not there.
    """
    known = {found.name: found for found in benchmarks_for(use)}
    if benchmark not in known:
        what = "benchmark" if use == "evaluation" else "format of training data"
        raise UsageError(
            f"{benchmark!r} is not a {what}.{did_you_mean(benchmark, known)} "
            f"Known: {', '.join(known)}."
        )
    found = known[benchmark]
    tasks = found.tasks
    if tasks and task not in (*tasks, *found.training_tasks):
        hint = did_you_mean(task, tasks) if task else ""
        raise UsageError(f"{benchmark} needs --task, one of {', '.join(tasks)}.{hint}")
    if task is not None and not tasks:
        takers = [other.name for other in known.values() if other.tasks]
        raise UsageError(f"a task is for {' and '.join(takers)}: {benchmark} has none.")
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    return found.find_questions(path, split, images, task)


def picture_path(asked: QuestionRow, images: Path) -> Path | None:
    """Where a question's picture lies; None if it has none or it is not there."""
    return next((images / name for name in asked.picture if (images / name).is_file()), None)


def manifest_key(found: QuestionFiles) -> str:
    """What a set is called in the manifest of its folder."""
    return f"{found.name} {found.split}"


def check_command(found: QuestionFiles, missing: MissingPolicy) -> str:
    """What checks these data again, as a shell takes it."""
    name, _, task = found.name.partition("/")
    command = ["rag-vqa", "data", "check", name, str(found.location or found.home)]
    command += ["--images", str(found.images)]
    command += ["--split", found.split] if found.takes_split else []
    command += ["--task", task] if task else []
    return shlex.join([*command, "--missing", missing])


@dataclass(frozen=True, slots=True)
class CheckedQuestions:
    """What was found, where it is written down, and what is likely wrong.

    Attributes:
        remarks: what is odd about rows that are taken all the same → how many.
        refused: why rows are refused, each with its file and line. A run refuses them too.
    """

    name: str
    split: str
    found: QuestionManifest
    path: Path
    causes: tuple[str, ...]
    remarks: Mapping[str, int]
    refused: tuple[str, ...]


def check_questions(
    benchmark: str,
    path: Path,
    *,
    split: str | None = None,
    images: Path | None = None,
    missing: MissingPolicy = "fail",
    task: str | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> CheckedQuestions:
    """Look for each question's picture, and write the manifest.

    Args:
        on_progress: gets the number of questions so far, now and then.

    Raises:
        UsageError, Missing, BadInput: as `open_questions` does.
    """
    found = find_question_files(benchmark, path, split, images, task)
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
        elif picture_path(asked, found.images) is not None:
            there += 1
        else:
            gone[asked.picture[0]] = None
        if on_progress is not None and count % 1000 == 0:
            on_progress(count)
    result = QuestionManifest(
        files=file_digests(found.files),
        images=str(found.images.resolve()),
        policy=missing,
        questions=count,
        with_picture=there,
        without_picture=bare,
        missing=sorted(gone),
        names=None if names is None else dict(names),
    )
    written = save_manifest(found.home, manifest_key(found), result)
    causes = tuple(found.explain(found.images, gone)) if gone else ()
    return CheckedQuestions(
        found.name, found.split, result, written, causes, dict(remarks), tuple(refused)
    )
