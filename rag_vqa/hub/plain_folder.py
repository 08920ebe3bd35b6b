"""Models as a plain folder, to carry them to a machine without network.

Knows the layout: OWNER/NAME/files of each model, and models.json with commits and hashes, by which
the other machine checks what it copies into its cache. Does not know presets, and contacts nobody.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.formatting import one_line
from rag_vqa.hub.download import Count, hash_so_far
from rag_vqa.hub.model_cache import find_snapshot, is_hub_id
from rag_vqa.hub.repository import Repository, RepositoryFile, is_small_file, weight_names
from rag_vqa.progress import Reporter
from rag_vqa.storage import atomic

CONTENTS = "models.json"
_PIECE = 1 << 22
_DIGEST = {True: re.compile(r"[0-9a-f]{64}"), False: re.compile(r"[0-9a-f]{40}")}
_COMMIT = _DIGEST[False]
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]*")  # names a file of the cache


def cached_repository(model: str, revision: str | None) -> Repository:
    """A model of the cache with the files that are here, as the hub would list them.

    Raises:
        Missing: it is not here.
    """
    folder = find_snapshot(model, revision)
    if folder is None:
        raise Missing(
            f"{one_line(model)} is not on this machine. Download it: rag-vqa models pull "
            f"{one_line(model)}"
        )
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")
                   if path.is_file())  # fmt: skip
    weights = weight_names(names)
    if any(name.endswith(".index.json") for name in weights):
        weights += [name for name in names if name.endswith(".safetensors") and "/" not in name]
    files = [_cached_file(folder, name) for name in names if is_small_file(name) or name in weights]
    return Repository(model, revision, folder.name, tuple(files))


def _cached_file(folder: Path, name: str) -> RepositoryFile:
    """A file of a snapshot. Its hash is the name of its blob; where links cannot be, computed."""
    path = folder / name
    size, digest = path.stat().st_size, path.resolve().name
    for large, pattern in _DIGEST.items():
        if pattern.fullmatch(digest):
            return RepositoryFile(name, size, digest, large)
    unknown = RepositoryFile(name, size, "", large=True)
    return RepositoryFile(name, size, str(hash_so_far(unknown, path).hexdigest()), large=True)


def write_folder(repositories: Sequence[Repository], target: Path, reporter: Reporter) -> None:
    """Copy models of the cache into a plain folder, and add them to its models.json.

    What is there with the right size stays: the same command goes on after a cut.

    Raises:
        RagVqaError: the folder cannot be written, or the disk is full.
    """
    listed = {each.model: each for each in _listed_before(target)}
    for repository in repositories:
        source = find_snapshot(repository.model, repository.commit)
        assert source is not None, repository.model
        folder = target.joinpath(*repository.model.split("/"))
        label = f"copy {repository.model.rpartition('/')[2]}"
        with reporter.progress(label, len(repository.files)) as advance:
            for number, file in enumerate(repository.files, 1):
                place = folder / file.name
                atomic.make_folder(place.parent)
                if not (place.is_file() and place.stat().st_size == file.size):
                    _copy_file(source / file.name, place)
                advance(number)
        listed[repository.model] = repository
    content = {"models": [_describe(each) for each in listed.values()]}
    atomic.write_file(target / CONTENTS, json.dumps(content, indent=1) + "\n")


def _copy_file(source: Path, place: Path) -> None:
    with atomic.translate_os_errors(place), atomic.partial_file(place) as new:
        shutil.copyfile(source, new)


def _listed_before(target: Path) -> list[Repository]:
    return read_folder(target) if (target / CONTENTS).is_file() else []


def _describe(repository: Repository) -> dict[str, Any]:
    files = [asdict(file) for file in repository.files]
    return {
        "model": repository.model, "revision": repository.revision, "commit": repository.commit,
        "files": files,
    }  # fmt: skip


def read_folder(source: Path) -> list[Repository]:
    """The models that a plain folder holds, according to its models.json.

    Raises:
        Missing: it has none.
        RagVqaError: its models.json is damaged.
    """
    file = source / CONTENTS
    if not file.is_file():
        raise Missing(
            f"{one_line(str(source))} has no {CONTENTS}, so `rag-vqa models pull --to` did not "
            "write it. The folder of a single model needs no copy: --reader FOLDER"
        )
    try:
        return [_read_entry(entry) for entry in json.loads(file.read_text("utf-8"))["models"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RagVqaError(
            f"{one_line(str(file))} is damaged ({one_line(str(error))}). Write the folder again: "
            "rag-vqa models pull MODEL --to FOLDER"
        ) from error


def _read_entry(entry: Any) -> Repository:
    """A model of models.json. Its names become names of files, so each is checked."""
    files = tuple(
        RepositoryFile(str(each["name"]), int(each["size"]), each["digest"], bool(each["large"]))
        for each in entry["files"]
    )
    model, revision, commit = entry["model"], entry["revision"], entry["commit"]
    known = is_hub_id(model) and _COMMIT.fullmatch(commit) is not None
    if revision is not None:
        known = known and _REVISION.fullmatch(revision) is not None
    if not known or not all(_DIGEST[file.large].fullmatch(file.digest) for file in files):
        raise ValueError(f"the entry of {model!r}")
    return Repository(model, revision, commit, files)


class FolderSource:
    """Fetches files from a plain folder, as `download_files` fetches them from the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        repository: Repository,
        file: RepositoryFile,
        part: Path,
        count: Count,
        reporter: Reporter,
    ) -> str:
        """Copy a file; returns its hash.

        Raises:
            Missing: it is not in the folder.
            RagVqaError: its content is not what models.json says.
        """
        source = self.folder.joinpath(*repository.model.split("/"), *file.name.split("/"))
        if not source.is_file():
            raise Missing(
                f"{one_line(str(source))} is missing. Copy the whole folder again, or write it "
                f"again: rag-vqa models pull {repository.model} --to FOLDER"
            )
        with source.open("rb") as stream, part.open("wb") as target:
            while piece := stream.read(_PIECE):
                target.write(piece)
                count(len(piece))
            target.flush()
            os.fsync(target.fileno())
        digest = str(hash_so_far(file, part).hexdigest())
        if digest != file.digest:
            atomic.remove_file(part)
            raise RagVqaError(
                f"{one_line(str(source))} is damaged: its hash is not the one of {CONTENTS}. Copy "
                "the folder again."
            )
        return digest
