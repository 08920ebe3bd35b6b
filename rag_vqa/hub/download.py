"""Downloads that resume: files of a repository, piece by piece, into the hub's cache.

Knows ranges, retries, hashes and the cache's blobs and links. huggingface_hub deletes the part of a
file that it has when a process ends; here the next process goes on from it. Files go through plain
HTTP, which serves ranges. Does not know which files a model needs, and asks nobody for consent.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_vqa.errors import Locked, Missing, RagVqaError
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.hub.failures import describe_failure, not_a_hub, translate_hub_errors
from rag_vqa.hub.model_cache import PARTIAL, cache_folder, model_folder
from rag_vqa.hub.repository import INDEX, Repository, RepositoryFile, shard_names
from rag_vqa.progress import LOG, Reporter
from rag_vqa.storage import atomic

_PIECE = 1 << 16  # bytes: what a cut loses at most
_HASH_PIECE = 1 << 20
_TRIES = 5  # in a row, without a byte
_SILENT_SECONDS = 20.0  # without a byte, until a connection counts as broken
_LONGEST_WAIT = 60  # seconds that the hub may ask us to wait before we stop instead
Count = Callable[[int], None]  # called with the number of bytes that came
# Writes a file's content to a partial file, and returns its hash.
Fetch = Callable[[Repository, RepositoryFile, Path, Count, Reporter], str]


def missing_bytes(repository: Repository, files: Sequence[RepositoryFile]) -> int:
    """Bytes still to be downloaded: without files that are here, and without parts of files."""
    return sum(
        file.size - _partial_size(repository, file)
        for file in files
        if not is_file_here(repository, file)
    )


def is_file_here(repository: Repository, file: RepositoryFile) -> bool:
    """True if the cache has a file, in this revision or with the same content in another one."""
    place = _link_path(repository, file)
    if place.is_file():
        return True
    blob = _blob_path(repository, file)
    return blob.is_file() and blob.stat().st_size == file.size


def _partial_size(repository: Repository, file: RepositoryFile) -> int:
    part = _partial_path(repository, file)
    try:
        size = part.stat().st_size
    except OSError:
        return 0
    return size if size <= file.size else 0


def download_files(
    repository: Repository,
    files: Sequence[RepositoryFile],
    reporter: Reporter = LOG,
    fetch: Fetch | None = None,
) -> Path:
    """Download files into the cache, and return the folder of the snapshot.

    Args:
        files: one after the other in this order, so that a cut leaves one unfinished file at most.
        fetch: where the bytes of a file come from; default: the hub.

    Raises:
        Missing: the hub cannot be reached, or refuses.
        Locked: another process downloads the same file.
        RagVqaError: the disk is full, or a file came damaged.
    """
    folder = model_folder(repository.model)
    snapshot = folder / "snapshots" / repository.commit
    with translate_hub_errors(repository.model, repository.revision):
        for each in (folder / "blobs", folder / "refs", snapshot):
            each.mkdir(parents=True, exist_ok=True)
        pending = list(files)
        with _count_progress(repository, pending, reporter) as count:
            while pending:
                file = pending.pop(0)
                _place_file(repository, file, fetch or _download_whole, count, reporter)
                if file.name == INDEX:
                    pending += _unplanned_shards(repository, files, snapshot)
        _write_ref(repository, folder)
    return snapshot


@contextmanager
def _count_progress(
    repository: Repository, files: Sequence[RepositoryFile], reporter: Reporter
) -> Iterator[Count]:
    """Show how many MB (of small downloads: kB) are here, of all that are needed."""
    total = sum(file.size for file in files)
    done = total - missing_bytes(repository, files)
    if done == total:
        yield lambda size: None
        return
    unit, name = (1_000_000, "MB") if total > 20_000_000 else (1_000, "kB")
    label = f"{repository.model.rpartition('/')[2]} ({name})"
    with reporter.progress(label, -(-total // unit), first=done // unit) as advance:

        def count(size: int) -> None:
            nonlocal done
            done += size
            advance(done // unit)

        yield count
        advance(-(-total // unit))  # files of the same content came once


def _unplanned_shards(
    repository: Repository, planned: Sequence[RepositoryFile], snapshot: Path
) -> list[RepositoryFile]:
    """Shards that the index names and whose names nobody could guess."""
    import json

    names = {file.name for file in planned}
    index = json.loads((snapshot / INDEX).read_text("utf-8"))
    found = (repository.find_file(name) for name in shard_names(index) if name not in names)
    return [file for file in found if file is not None]


def _blob_path(repository: Repository, file: RepositoryFile) -> Path:
    return model_folder(repository.model) / "blobs" / file.digest


def _partial_path(repository: Repository, file: RepositoryFile) -> Path:
    return _blob_path(repository, file).with_name(file.digest + PARTIAL)


def _link_path(repository: Repository, file: RepositoryFile) -> Path:
    snapshots = model_folder(repository.model) / "snapshots"
    parts = file.name.split("/")
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise Missing(f"{one_line(repository.model)} names a file {file.name!r} outside of itself.")
    return snapshots.joinpath(repository.commit, *parts)


def _place_file(
    repository: Repository, file: RepositoryFile, fetch: Fetch, count: Count, reporter: Reporter
) -> None:
    """Give the snapshot a file: from the cache if its content is there, else by `fetch`."""
    place, blob = _link_path(repository, file), _blob_path(repository, file)
    if place.is_file():
        return
    if not (blob.is_file() and blob.stat().st_size == file.size):
        with _hold_file_lock(repository, file):
            part = _partial_path(repository, file)
            digest = fetch(repository, file, part, count, reporter)
            if digest != file.digest:
                atomic.remove_file(part)
                raise RagVqaError(
                    f"{one_line(file.name)} of {one_line(repository.model)} came damaged: its "
                    "hash is not the one that the hub names. It was deleted; run the same command "
                    "again. If it happens again, a proxy changes files, or the disk is failing."
                )
            atomic.replace_file(part, blob)
    link_file(blob, place)


def link_file(blob: Path, place: Path) -> None:
    """Let a snapshot's file be a link to its blob; where links cannot be, move the blob there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():  # whose blob is gone
        atomic.remove_file(place)
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except (OSError, NotImplementedError):
        atomic.replace_file(blob, place)


def _write_ref(repository: Repository, folder: Path) -> None:
    """Remember the commit of a name such as `main`."""
    name = repository.revision or "main"
    if name != repository.commit:
        path = folder.joinpath("refs", *name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(path, repository.commit)


@contextmanager
def _hold_file_lock(repository: Repository, file: RepositoryFile) -> Iterator[None]:
    """Hold the lock that huggingface_hub takes for this file as well."""
    from filelock import FileLock, Timeout

    folder = cache_folder() / ".locks" / model_folder(repository.model).name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{file.digest}.lock", timeout=0):
            yield
    except Timeout as error:
        raise Locked(
            f"Another process downloads {one_line(file.name)} of {one_line(repository.model)}. "
            "Wait until it is done, then run the same command again."
        ) from error


def _download_whole(
    repository: Repository, file: RepositoryFile, part: Path, count: Count, reporter: Reporter
) -> str:
    """Download until the partial file is whole; returns the hash of its content."""
    tries, restarts, here = 0, 0, _partial_size(repository, file)
    if part.exists() and not here:
        atomic.remove_file(part)
    digest = hash_so_far(file, part)
    while here < file.size or not part.exists():
        try:
            here = _append(repository, file, part, digest, count)
            tries = 0
        except _RangeIgnored as restart:  # the server ignores ranges
            restarts, here = restarts + 1, 0
            if restarts > _TRIES:
                raise Missing(
                    f"{one_line(file.name)} of {one_line(repository.model)} breaks off again and "
                    "again, and the server cannot go on in its middle. Use another mirror: "
                    "HF_ENDPOINT"
                ) from None
            count(-restart.size)
            digest = hash_so_far(file, part)
        except Exception as error:
            size = _partial_size(repository, file)
            tries = tries + 1 if size == here else 1
            here = size
            wait = _seconds_to_wait(error, tries)
            if wait is None:
                raise _stop_error(error, repository, file, here) from error
            reporter.note(
                f"{one_line(file.name)}: {_reason(error, repository)} at "
                f"{format_bytes(here)} of {format_bytes(file.size)}; going on in {wait} s"
            )
            time.sleep(wait)
    return str(digest.hexdigest())


class _RangeIgnored(Exception):
    """The server sends a file from its beginning although a later part was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def _append(
    repository: Repository, file: RepositoryFile, part: Path, digest: Any, count: Count
) -> int:
    """Append what the hub sends to the partial file; returns its size when the answer ends."""
    import httpx2
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    with part.open("ab", buffering=0) as target:
        start = target.tell()
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        url = hf_hub_url(repository.model, file.name, revision=repository.commit)
        timeout = httpx2.Timeout(_SILENT_SECONDS, connect=6.0)
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as answer:
            hf_raise_for_status(answer)
            if start and answer.status_code != 206:
                target.truncate(0)
                raise _RangeIgnored(start)
            for piece in answer.iter_bytes():
                if start + len(piece) > file.size:
                    raise _too_long_error(repository, file, part, piece)
                _write_piece(target, piece)
                digest.update(piece)
                count(len(piece))
                start += len(piece)
        if start < file.size:
            raise httpx2.RemoteProtocolError("the connection broke off")
        os.fsync(target.fileno())
    return start


def _write_piece(target: Any, piece: bytes) -> None:
    """Write all of a piece; an unbuffered file may take a part of it, as before a disk is full."""
    view = memoryview(piece)
    while view:
        view = view[target.write(view) :]


def _too_long_error(
    repository: Repository, file: RepositoryFile, part: Path, piece: bytes
) -> RagVqaError:
    atomic.remove_file(part)
    if piece.lstrip()[:1] == b"<":
        return not_a_hub("it sends a web page instead of a file")
    return RagVqaError(
        f"{one_line(file.name)} of {one_line(repository.model)} came longer than the hub says. It "
        "was deleted; run the same command again."
    )


def hash_so_far(file: RepositoryFile, part: Path) -> Any:
    """The hash of what is in `part`, to go on with: SHA-256, or git's SHA-1 of a small file."""
    if file.large:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    if part.exists():
        with part.open("rb") as stream:
            while piece := stream.read(_HASH_PIECE):
                digest.update(piece)
    return digest


def _seconds_to_wait(error: Exception, tries: int) -> int | None:
    """Seconds until the next try; None if none would help."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if tries >= _TRIES:
        return None
    usual = min(2 ** (tries - 1), 8)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 429:
            asked = error.response.headers.get("Retry-After", "")
            wait = int(asked) if asked.isdigit() else usual
            return wait if wait <= _LONGEST_WAIT else None
        return usual if status >= 500 or status == 408 else None
    if isinstance(error, httpx2.ProxyError | httpx2.UnsupportedProtocol):
        return None
    return usual if isinstance(error, httpx2.TransportError) else None


def _reason(error: Exception, repository: Repository) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return "too many requests (429)" if status == 429 else f"the hub's error {status}"
    return "the connection broke off"


def _stop_error(
    error: Exception, repository: Repository, file: RepositoryFile, here: int
) -> Exception:
    """The error that says why a download stopped and what is kept."""
    found = describe_failure(error, repository.model, repository.revision)
    if found is None or not here:
        return found or error
    kept = f"{format_bytes(here)} of {format_bytes(file.size)} of {one_line(file.name)} are kept"
    return type(found)(f"{found} {kept}.")
