"""Pull models: one plan, one total, one consent, one check of the disk, then downloads that resume.

Knows which models a preset means, licences, and what is missing on this machine. Does not know the
hub's protocol (hub/). Every verb that needs a model comes through here, as `rag-vqa models pull`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rag_vqa.checkpoints import CHECKPOINTS, EMBEDDED, known_revision, processor_source
from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.formatting import did_you_mean, format_bytes, format_table, one_line
from rag_vqa.hub.download import Fetch, download_files, missing_bytes
from rag_vqa.hub.failures import is_network_off
from rag_vqa.hub.model_cache import cache_folder, find_snapshot, is_available, is_hub_id
from rag_vqa.hub.model_files import network_off_error
from rag_vqa.hub.plain_folder import (
    FolderSource,
    cached_repository,
    read_folder,
    write_folder,
)
from rag_vqa.hub.repository import Repository, RepositoryFile, look_up, needed_files
from rag_vqa.jobs.signals import JobStopped
from rag_vqa.presets import PRESETS
from rag_vqa.progress import LOG, Reporter

ModelRevision = tuple[str, str | None]  # a model and its revision
_SPARE_DISK = 200_000_000  # bytes to leave free: a full disk breaks more than this program


@dataclass(frozen=True)
class PlannedModel:
    """A model of the hub, and what a download of it takes.

    Attributes:
        size: bytes of the files that it needs. missing: those still to be downloaded.
    """

    repository: Repository
    files: tuple[RepositoryFile, ...]
    size: int
    missing: int

    @property
    def model(self) -> str:
        """Its hub id."""
        return self.repository.model


@dataclass(frozen=True)
class PulledModel:
    """A model that is on this machine now."""

    model: str
    commit: str
    folder: Path
    size: int
    downloaded: int


def resolve_names(names: Sequence[str]) -> list[ModelRevision]:
    """The models that names of presets and models mean, each once, with their revisions.

    Args:
        names: PRESET, MODEL or MODEL@REVISION. A retriever brings the model whose tokenizer and
            image processor it uses.

    Raises:
        UsageError: a name is neither a preset nor a hub id; or there is none.
    """
    if not names:
        raise UsageError(f"Name a preset ({', '.join(_downloaded_presets())}) or a hub id.")
    found: dict[ModelRevision, None] = {}
    for name in names:
        for model, revision in _models_of(name):
            found[(model, known_revision(model, revision))] = None
            if source := processor_source(model):
                found[(source, known_revision(source, None))] = None
    return list(found)


def _downloaded_presets() -> list[str]:
    return [preset.name for preset in PRESETS.values() if preset.models]


def _models_of(name: str) -> list[ModelRevision]:
    if name in PRESETS:
        return [(model.id, None) for model in PRESETS[name].models]
    if name == EMBEDDED:
        return []
    model, at, revision = name.partition("@")
    if Path(name).is_dir():
        raise UsageError(f"{name} is a folder: its model is on this machine already.")
    if not is_hub_id(model) or bool(at) != bool(revision) or not (at or "/" in model):
        known = [*PRESETS, *CHECKPOINTS]
        raise UsageError(
            f"{one_line(name)} is neither a preset ({', '.join(_downloaded_presets())}) nor a hub "
            f"id, which reads OWNER/NAME or OWNER/NAME@REVISION.{did_you_mean(name, known)}"
        )
    return [(model, revision or None)]


def plan_downloads(models: Sequence[ModelRevision]) -> list[PlannedModel]:
    """Ask the hub about models, and compare with the cache.

    Raises:
        Missing: the hub cannot be reached, does not show a model, or a model has no safetensors.
    """
    planned = []
    for model, revision in models:
        repository = look_up(model, revision)
        known = CHECKPOINTS.get(model)
        files = needed_files(repository, weights=known is None or bool(known.parameters))
        size = sum(file.size for file in files)
        missing = missing_bytes(repository, files)
        planned.append(PlannedModel(repository, tuple(files), size, missing))
    return planned


def pull_models(
    names: Sequence[str], reporter: Reporter = LOG, *, offline: bool = False, yes: bool = False
) -> list[PulledModel]:
    """Download presets and models that are not on this machine, after one consent to all.

    Args:
        names: PRESET, MODEL or MODEL@REVISION.
        yes: the person agreed in advance.

    Raises:
        UsageError: a name is none.
        Missing: the network is off, the hub does not answer or refuses, or nobody agreed.
        RagVqaError: the disk has no room, or a file came damaged.
    """
    models = resolve_names(names)
    if offline or is_network_off():
        absent = [one_line(m) for m, revision in models if not is_available(m, revision)]
        if absent:
            raise network_off_error(", ".join(absent))
        return [_pulled_before(model, revision) for model, revision in models]
    try:
        planned = plan_downloads(models)
    except Missing as error:
        if not all(is_available(model, revision) for model, revision in models):
            raise
        reporter.warn(f"{error} Every model is on this machine already.")
        return [_pulled_before(model, revision) for model, revision in models]
    ask_for_consent([each for each in planned if each.missing], reporter, yes=yes)
    return _download_all(planned, reporter)


def write_models(
    names: Sequence[str],
    target: Path,
    reporter: Reporter = LOG,
    *,
    offline: bool = False,
    yes: bool = False,
) -> list[PulledModel]:
    """Pull models, and copy them into a plain folder for a machine without network.

    Raises as `pull_models`.
    """
    pulled = pull_models(names, reporter, offline=offline, yes=yes)
    revisions = dict(resolve_names(names))
    found = [cached_repository(each.model, revisions[each.model]) for each in pulled]
    size = sum(each.size for each in pulled)
    check_room(size, target, free_bytes(target) + _bytes_below(target))
    write_folder(found, target, reporter)
    return [replace(each, folder=target.joinpath(*each.model.split("/"))) for each in pulled]


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_models(names: Sequence[str], source: Path, reporter: Reporter = LOG) -> list[PulledModel]:
    """Copy models of a plain folder into this machine's cache, and check every byte.

    Args:
        names: those of the folder to copy; none: all.

    Raises:
        UsageError: a name is none.
        Missing: the folder has no models.json, or lacks a model or a file.
        RagVqaError: a file is damaged, or the disk has no room.
    """
    found = read_folder(source)
    if names:
        wanted = [model for model, _ in resolve_names(names)]
        if absent := set(wanted) - {each.model for each in found}:
            raise Missing(
                f"{one_line(str(source))} has no {', '.join(sorted(map(one_line, absent)))}. "
                f"It holds: {', '.join(each.model for each in found) or 'nothing'}"
            )
        found = [each for each in found if each.model in wanted]
    planned = [
        PlannedModel(each, each.files, sum(file.size for file in each.files),
                     missing_bytes(each, each.files))
        for each in found
    ]  # fmt: skip
    place = cache_folder()
    check_room(sum(each.missing for each in planned), place, free_bytes(place))
    return _download_all(planned, reporter, FolderSource(source))


def _pulled_before(model: str, revision: str | None) -> PulledModel:
    folder = find_snapshot(model, revision) or Path(model)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return PulledModel(model, folder.name, folder, size, 0)


def _download_all(
    planned: Sequence[PlannedModel], reporter: Reporter, fetch: Fetch | None = None
) -> list[PulledModel]:
    """Download models one after the other. Raises JobStopped at ^C."""
    pulled = []
    try:
        for each in planned:
            folder = download_files(each.repository, each.files, reporter, fetch)
            commit = each.repository.commit
            pulled.append(PulledModel(each.model, commit, folder, each.size, each.missing))
    except (KeyboardInterrupt, JobStopped) as stop:
        kept = "What was downloaded is kept. The same command goes on from here."
        raise JobStopped.after(stop, kept) from None
    return pulled


def ask_before_download(
    models: Sequence[ModelRevision], reporter: Reporter, *, offline: bool, yes: bool
) -> None:
    """Return when every model is on this machine; downloads the others if the person agrees.

    Args:
        yes: the person agreed in advance, by --yes. Sizes and licences are shown all the same.

    Raises:
        Missing: the network is off, nobody can be asked, or the answer was no; and as
            `pull_models`.
    """
    wanted = [(model, revision) for model, revision in models if not is_available(model, revision)]
    if not wanted:
        return
    if offline or is_network_off():
        raise network_off_error(", ".join(one_line(model) for model, _ in wanted))
    planned = plan_downloads(wanted)
    ask_for_consent(planned, reporter, yes=yes)
    _download_all(planned, reporter)


def ask_for_consent(planned: Sequence[PlannedModel], reporter: Reporter, *, yes: bool) -> None:
    """Show sizes, licences and the room on the disk, and ask once; return if the answer is yes.

    Raises:
        Missing: nobody can be asked, or the answer was no.
        RagVqaError: the disk has too little room.
    """
    if not planned:
        return
    total = sum(each.missing for each in planned)
    place, free = cache_folder(), free_bytes(cache_folder())
    show = reporter.note if yes else reporter.warn
    for line in describe_plan(planned):
        show(line)
    check_room(total, place, free)
    show(f"Together {format_bytes(total)}, into {one_line(str(place))} ({format_bytes(free)} free)")
    answer = True if yes else reporter.confirm("Download now?")
    names = ", ".join(one_line(each.model) for each in planned)
    if answer is None:
        raise Missing(f"{names}: not on this machine. To download, run again with --yes")
    if not answer:
        raise Missing(f"{names}: not downloaded. Without them: rag-vqa demo")


def describe_plan(planned: Sequence[PlannedModel]) -> list[str]:
    """A line for each model: what is to be downloaded, under which licence, and its limits."""
    rows = [
        {
            "to download": one_line(each.model),
            "size": format_bytes(each.missing),
            "licence": licence_of(each.repository),
        }
        for each in planned
    ]
    lines = format_table(rows).splitlines() if rows else []
    for each in planned:
        part = each.size - each.missing
        if each.missing and part:
            lines.append(f"{one_line(each.model)}: {format_bytes(part)} are here already")
        known = CHECKPOINTS.get(each.model)
        if known is not None and not known.commercial:
            lines.append(f"{one_line(each.model)}: NON-COMMERCIAL USE ONLY ({known.licence})")
    return lines


def licence_of(repository: Repository) -> str:
    """The licence of a model: as we read it, else as its card says."""
    known = CHECKPOINTS.get(repository.model)
    return (known.licence if known else "") or repository.licence or "not stated, read its card"


def free_bytes(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(total: int, place: Path, free: int) -> None:
    """Raise RagVqaError if a download would fill the disk."""
    short = total + _SPARE_DISK - free
    if short > 0:
        raise RagVqaError(
            f"The disk has no room: {format_bytes(total)} to download into "
            f"{one_line(str(place))}, {format_bytes(free)} free; {format_bytes(short)} are "
            "missing. Make room (rag-vqa models list), or use another disk: "
            "HF_HOME=/a/larger/disk"
        )
