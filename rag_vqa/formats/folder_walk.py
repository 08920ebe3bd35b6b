"""Folder walk: the files of a folder and of those below it, without hidden files and junk.

Knows which names systems leave behind, which links may be followed, and which suffixes pictures and
texts have. Does not know which files belong together (name_pairs.py), and opens none. Memory is
that of the names in one folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rag_vqa.errors import BadInput
from rag_vqa.formatting import quote_value

PICTURES: Final = frozenset(
    (
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp",
        ".dib", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif", ".jxl",
    )
)  # fmt: skip
MARKDOWN: Final = frozenset((".md", ".markdown"))
TEXTS: Final = MARKDOWN | {".txt", ".caption"}
# What Windows, macOS, Synology, Word and version control leave in folders; nobody wrote it.
_JUNK_FILES: Final = frozenset(
    ("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r")
)
_JUNK_FOLDERS: Final = frozenset(
    ("__macosx", "$recycle.bin", "system volume information", "@eadir", "lost+found")
)


@dataclass(frozen=True, slots=True)
class WalkedFolder:
    """The files of one folder.

    Attributes:
        inside: its path in the folder that is walked, with a slash at the end; "" is that itself.
        names: of its files, in no order.
        folders: of its folders, sorted; they come later.
        refused: what cannot be followed: path and reason.
    """

    inside: str
    names: tuple[str, ...]
    folders: tuple[str, ...] = ()
    refused: tuple[tuple[str, BadInput], ...] = ()


def walk_folder(root: Path) -> Iterator[WalkedFolder]:
    """The folder and all below it, in a stable order. Links to folders are not followed."""
    waiting = [""]  # not recursive: a path may have two thousand parts
    while waiting:
        walked = list_folder(root, waiting.pop())
        yield walked
        waiting += [f"{walked.inside}{name}/" for name in reversed(walked.folders)]


def list_folder(root: Path, inside: str = "") -> WalkedFolder:
    """The files of one folder: `root`, or the one at the path `inside` it."""
    names: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    try:
        with os.scandir(f"{root}/{inside}") as entries:
            for entry in entries:
                if entry.name.startswith((".", "~$")):
                    continue
                if not _is_folder(entry):
                    names.append(entry.name)
                elif entry.name.lower() not in _JUNK_FOLDERS:
                    (links if entry.is_symlink() else folders).append(entry.name)
    except OSError as error:
        why = BadInput(f"the folder cannot be read ({error.strerror}).")
        return WalkedFolder(inside, (), (), ((inside, why),))
    why = BadInput("links to folders are not followed: give that folder itself.")
    refused = tuple((f"{inside}{name}/", why) for name in sorted(links))
    kept = tuple(name for name in names if name.lower() not in _JUNK_FILES)
    return WalkedFolder(inside, kept, tuple(sorted(folders)), refused)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_junk(path: str) -> bool:
    """Whether a path leads to what a system leaves behind, or is hidden.

    >>> is_junk("__MACOSX/a/._b.jpg"), is_junk("a/b.jpg")
    (True, False)
    """
    *folders, name = path.replace("\\", "/").rstrip("/").split("/")
    hidden = any(part.startswith(".") and part != "." for part in (*folders, name))
    return (
        hidden
        or name.startswith("~$")
        or name.lower() in _JUNK_FILES
        or any(folder.lower() in _JUNK_FOLDERS for folder in (*folders, name))
    )


def check_file(root: Path, name: str, allowed: Path) -> None:
    """Refuse what is not a regular file, and a link that leads out of the folder.

    Args:
        name: path within `root`.
        allowed: folder that links may lead into: `root`, or one that contains it.

    Raises:
        BadInput: why it is refused.
    """
    if _is_plain_file(f"{root}/{name}") and not split_name(name)[1].startswith(".sqlite"):
        return  # most are; folders on the way are no links
    path = root / name
    if not path.is_file():
        raise BadInput(f"{quote_value(name)} is not a regular file, or a broken link.")
    target = path.resolve()
    if path.is_symlink() and not target.is_relative_to(allowed):
        raise BadInput(
            f"{quote_value(name)} is a link that leads out of the folder: copy its file here."
        )
    if target.suffix.startswith(".sqlite"):  # as in images.py: our locks would be dropped
        raise BadInput(f"{quote_value(name)} is a link to a database: databases are not read.")


def _is_plain_file(path: str) -> bool:
    """Whether it is a regular file and no link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def split_name(name: str) -> tuple[str, str]:
    """A file's name without its suffix, and the suffix in lower case.

    >>> split_name("Vase.v1.JPG"), split_name("LICENSE")
    (('Vase.v1', '.jpg'), ('LICENSE', ''))
    """
    begin, dot = name.rfind("/") + 1, name.rfind(".")  # as os.path.splitext, which takes longer
    if dot <= begin or not name[begin:dot].strip("."):
        return name, ""
    return name[:dot], name[dot:].lower()
