"""Picture files: where a picture lies that a list names, in the forms that people write names.

Knows that accents are composed or decomposed, that Windows writes backslashes and takes capitals
for small letters. Does not open pictures, and does not know whether a file may be read (images.py).
"""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from itertools import islice
from pathlib import Path

_MOST_FOLDERS = 64  # whose lists are kept
_MOST_NAMES = 100_000  # of a folder


def find_picture(path: Path, root: Path | None = None) -> Path:
    """The file that a path means; the path itself if there is none.

    Args:
        root: folder that the path lies in; only names below it are tried in other forms.
    """
    if _exists(path):
        return path
    base = path.parent if root is None else root
    inside = _relative(path, base)
    if inside is None:
        return path
    found = base
    for part in Path(inside.replace("\\", "/")).parts:
        if part == "..":
            return path
        entry = _find_entry(found, part)
        if entry is None:
            return path
        found = entry
    return found


def is_picture_there(path: Path, root: Path | None = None) -> bool:
    """Whether a file lies where a path says, in one of the forms of its name."""
    found = find_picture(path, root)
    try:
        return found.is_file()
    except (OSError, ValueError):  # a name that is too long, or contains NUL
        return False


class ListedFolders:
    """Files of folders, each folder listed once: much quicker than asking for each file.

    Says nothing of a file that came later, nor of folders with very many files: what it does not
    contain may still be there.
    """

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, _, name = path.rpartition(os.sep)
        names = self._names.get(folder)
        if names is None:
            if len(self._names) >= _MOST_FOLDERS:
                self._names.clear()
            names = self._names[folder] = _file_names(folder)
        return name in names


def _file_names(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder or os.sep) as entries:
            return frozenset(
                entry.name for entry in islice(entries, _MOST_NAMES) if entry.is_file()
            )
    except (OSError, ValueError):
        return frozenset()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _relative(path: Path, base: Path) -> str | None:
    try:
        return os.fspath(path.relative_to(base))
    except ValueError:
        return None


def _find_entry(folder: Path, name: str) -> Path | None:
    """The entry of a folder that a name means: exactly, by its accents, then by its capitals."""
    if _exists(folder / name):
        return folder / name
    accents, capitals = _entries(folder, _changed_at(folder))
    composed = unicodedata.normalize("NFC", name)
    found = accents.get(composed) or capitals.get(composed.casefold())
    return folder / found if found else None


def _changed_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except (OSError, ValueError):
        return 0


@lru_cache(maxsize=64)
def _entries(folder: Path, changed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Names in a folder by their composed form, and by their form without capitals.

    A form that two names have leads to neither. `changed` is part of the key alone.
    """
    accents: dict[str, str] = {}
    capitals: dict[str, str] = {}
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except OSError:
        return accents, capitals
    for name in names:
        composed = unicodedata.normalize("NFC", name)
        accents[composed] = "" if composed in accents else name
        folded = composed.casefold()
        capitals[folded] = "" if folded in capitals else name
    return accents, capitals
