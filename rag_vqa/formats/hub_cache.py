"""The hub's cache: which snapshot of a data set is meant, and where its links may lead.

Knows the folders that huggingface_hub makes: `datasets--owner--name` with `refs`, `snapshots` and
`blobs`; the files of a snapshot are links to blobs. Does not know what a data set contains.
Apart because it says where links may lead: that is one short page to check.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from rag_vqa.errors import UsageError

_REPOSITORY: Final = re.compile(r"(?:datasets|models|spaces)--.+")
_MAX_REF_BYTES: Final = 256


def find_snapshot(path: Path) -> Path:
    """The snapshot of `main` if the path is a repository of the cache; else the path itself.

    Raises:
        UsageError: it has several snapshots, and `main` is none of them.
    """
    repository = path.parent if path.name == "snapshots" else path
    if not (_is_repository(repository) and (repository / "snapshots").is_dir()):
        return path
    snapshots = sorted(one for one in (repository / "snapshots").iterdir() if one.is_dir())
    main = _read_reference(repository / "refs" / "main")
    wanted = [one for one in snapshots if one.name == main] or snapshots
    if len(wanted) == 1:
        return wanted[0]
    if not wanted:
        raise UsageError(f"{path} contains no snapshot: download the data set again.")
    raise UsageError(f"{path} contains several snapshots: give one of them, such as {wanted[-1]}.")


def find_repository(folder: Path) -> Path | None:
    """The repository in the cache whose snapshot a folder lies in; None if it lies in none.

    Args:
        folder: absolute, without links.
    """
    for parent in folder.parents:
        if parent.name == "snapshots" and _is_repository(parent.parent):
            return parent.parent
    return None


def _is_repository(path: Path) -> bool:
    return _REPOSITORY.fullmatch(path.name) is not None and (path / "blobs").is_dir()


def _read_reference(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_REF_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""
