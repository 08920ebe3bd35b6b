"""Question sets: find the files of a benchmark, check them, stream Examples with their pictures.

Knows what happens to a question whose picture is missing, and the manifest rag-vqa.json, which
`data check` writes beside the questions and a run reads. Does not know how the rows of a benchmark
are read, and opens no picture: it only asks whether the file exists.
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
    """The result of `data check` for one question set, as rag-vqa.json stores it.

    Attributes:
        files: role → SHA-256 of each question file, in hex.
        images: absolute path of the folder of pictures.
        questions, with_picture, without_picture: number of questions, of those whose picture
            exists, and of those that have none.
        missing: names of pictures that do not exist.
        names: ids of pictures → names of files, if lists of the data set say so.
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
    """The manifest of a question set; None if it was never checked.

    Raises:
        BadInput: the file is damaged.
    """
    entry = _manifest_entries(home / MANIFEST_NAME).get(key)
    try:
        return None if entry is None else QuestionManifest.model_validate(entry)
    except ValidationError as error:
        raise _damaged_manifest(home / MANIFEST_NAME, str(error.errors()[0]["msg"])) from error


def save_manifest(home: Path, key: str, manifest: QuestionManifest) -> Path:
    """Write the manifest of a question set; the file also holds those of other sets.

    Returns its path.
    """
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
        raise _damaged_manifest(path, "not a JSON object")
    return found


def _damaged_manifest(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is damaged ({reason}). Delete it, then: rag-vqa data check")


@dataclass(frozen=True, slots=True)
class Questions:
    """A question set.

    Attributes:
        name: "infoseek", "evqa", "m2kr/oven", "mbeir/fashioniq_task7", "own".
        split: "val", "test", …
        scorer: name of the benchmark's scorer.
        files: role → SHA-256 of each question file, in hex.
        missing_policy: what to do with a question whose picture does not exist.
        instruction: of all queries; None: their own, or the retriever's.
        found: the files and how they are read.
        checked: what `data check` found; None if it was not run.
    """

    name: str
    split: str
    scorer: str
    files: Mapping[str, str]
    missing_policy: MissingPolicy
    instruction: str | None
    found: QuestionFiles = field(repr=False)
    checked: QuestionManifest | None = field(default=None, repr=False)
    _counts: Counter[str] = field(default_factory=Counter, repr=False, compare=False)

    @property
    def skipped_count(self) -> int:
        """Questions that the last iteration over `examples` left out so far."""
        return self._counts["skipped"]

    def examples(self) -> Iterator[Example]:
        """All questions, each time from the beginning and in the same order.

        Raises:
            BadInput: a refused row, or a picture that appeared or vanished since `data check`.
            Missing: under "fail", the first question whose picture does not exist.
        """
        missing = None if self.checked is None else frozenset(self.checked.missing)
        names = None if self.checked is None else self.checked.names
        again = check_command(self.found, self.missing_policy)
        self._counts.clear()
        for row in self.found.rows(names):
            if isinstance(row, BadInput):
                raise BadInput(f"{row} List all refused rows: {again}") from row
            path = picture_path(row, self.found.images)
            if (
                missing is not None
                and row.picture
                and (row.picture[0] in missing) != (path is None)
            ):
                raise BadInput(
                    f"{self.found.images / row.picture[0]} "
                    f"{'vanished' if path is None else 'appeared'} since the data were checked. "
                    f"Check again: {again}"
                )
            if path is not None or not row.picture:
                query = replace(row.example.query, image=path)
                yield replace(row.example, query=query)
            elif self.missing_policy == "fail":
                raise Missing(
                    f"question {quote_value(row.example.id)}: its picture "
                    f"{self.found.images / row.picture[0]} is not there. "
                    f"List all that is missing: {again}"
                )
            elif self.missing_policy == "text-only":
                yield replace(row.example, missing=row.picture[0])
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
        benchmark: a name in the registry: infoseek, evqa, m2kr, mbeir, own.
        path: the folder of the files; of `own` and `m2kr` also the file itself.
        split: by default "val" of infoseek, "test" of all others.
        images: the folder of the pictures; by default that of the manifest, else as in
            docs/data.md.
        missing: what to do with a question whose picture does not exist; by default as in the
            manifest, else "fail".
        task: for m2kr and mbeir, which one.

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
        checked = None  # nothing is known about other pictures
    return Questions(
        name=found.name,
        split=found.split,
        scorer=BENCHMARKS.get(benchmark).scorer,
        files=files,
        missing_policy=policy,
        instruction=found.instruction,
        found=found,
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


def picture_path(row: QuestionRow, images: Path) -> Path | None:
    """Path of a question's picture; None if it has none, or its file does not exist."""
    return next((images / name for name in row.picture if (images / name).is_file()), None)


def manifest_key(files: QuestionFiles) -> str:
    """Name of a question set in the manifest of its folder."""
    return f"{files.name} {files.split}"


def check_command(files: QuestionFiles, missing: MissingPolicy) -> str:
    """The shell command that checks these data again."""
    name, _, task = files.name.partition("/")
    command = ["rag-vqa", "data", "check", name, str(files.location or files.home)]
    command += ["--images", str(files.images)]
    command += ["--split", files.split] if files.takes_split else []
    command += ["--task", task] if task else []
    return shlex.join([*command, "--missing", missing])


@dataclass(frozen=True, slots=True)
class CheckedQuestions:
    """The result of `check_questions`.

    Attributes:
        found: the manifest, written to `path`.
        causes: what is probably wrong with the download.
        remarks: what is odd about rows that are accepted all the same → number of rows.
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
    """Look for the picture of each question, and write the manifest.

    Args:
        on_progress: is called with the number of questions so far, every thousand.

    Raises:
        UsageError, Missing, BadInput: as `open_questions` does.
    """
    found = find_question_files(benchmark, path, split, images, task)
    names = found.names() if found.names is not None else None
    lost: dict[str, None] = {}
    remarks: Counter[str] = Counter()
    refused: list[str] = []
    count = with_picture = without_picture = 0
    for row in found.rows(names):
        if isinstance(row, BadInput):
            refused.append(str(row))
            continue
        count += 1
        remarks.update([row.remark] if row.remark else [])
        if not row.picture:
            without_picture += 1
        elif picture_path(row, found.images) is not None:
            with_picture += 1
        else:
            lost[row.picture[0]] = None
        if on_progress is not None and count % 1000 == 0:
            on_progress(count)
    result = QuestionManifest(
        files=file_digests(found.files),
        images=str(found.images.resolve()),
        policy=missing,
        questions=count,
        with_picture=with_picture,
        without_picture=without_picture,
        missing=sorted(lost),
        names=None if names is None else dict(names),
    )
    written = save_manifest(found.home, manifest_key(found), result)
    causes = tuple(found.explain(found.images, lost)) if lost else ()
    return CheckedQuestions(
        found.name, found.split, result, written, causes, dict(remarks), tuple(refused)
    )
