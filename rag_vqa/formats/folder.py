"""Folders of pictures with texts beside them: `a/vase.jpg` and `a/vase.md` are one document.

Knows file names and whether files may be read. Does not know Markdown (markdown.py), and opens no
picture. Memory is that of the names in one folder, however many folders are below it.

The id is the path without its suffix, with `/` between its parts. A text alone is a document, and
so is a picture alone. Hidden files and folders are left out. So are files of other kinds, whose
suffixes are listed. Links are followed to files inside the folder, never to folders.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.line_reader import LINE_LIMIT
from rag_vqa.formats.markdown import parse_markdown
from rag_vqa.formatting import quote_value

_PICTURES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif")
)
_MARKDOWN = frozenset((".md", ".markdown"))
_TEXTS = _MARKDOWN | {".txt"}
_SAMPLE_FILES = 1_000  # names read when a folder is opened, for the suffixes that are left out


def contents(path: Path) -> Contents:
    """Read the first names.

    Raises:
        Missing: no such folder.
        BadInput: not a folder.
    """
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    if not path.is_dir():
        raise BadInput(f"{path} is not a folder.")
    root = path.resolve()
    found = (names for _, names in _walk_folders(root) if not isinstance(names, BadInput))
    sample = itertools.islice(itertools.chain.from_iterable(found), _SAMPLE_FILES)
    suffixes = tuple(sorted({_suffix(name) or name for name in sample}))
    unknown = tuple(suffix for suffix in suffixes if suffix not in _PICTURES | _TEXTS)
    return Contents(suffixes, (), unknown, lambda: _items(root))


def _items(root: Path) -> Iterator[Item]:
    for folder, names in _walk_folders(root):
        if isinstance(names, BadInput):
            yield Item(None, names, quote_value(folder, 200))
            continue
        known = [name for name in names if _suffix(name) in _PICTURES | _TEXTS]
        known.sort(key=lambda name: (_stem(name), name))
        for stem, group in itertools.groupby(known, _stem):
            yield _read_item(root, folder, stem, list(group))


def _walk_folders(root: Path) -> Iterator[tuple[str, list[str] | BadInput]]:
    """Each folder as its path in `root`, with a slash at the end, and the names of its files."""
    waiting = [""]  # not recursive: a path may have two thousand parts
    while waiting:
        inside = waiting.pop()
        names: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        try:
            with os.scandir(f"{root}/{inside}") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if not _is_folder(entry):
                        names.append(entry.name)
                    else:
                        (links if entry.is_symlink() else folders).append(entry.name)
        except OSError as error:
            yield inside, BadInput(f"the folder cannot be read ({error.strerror}).")
            continue
        yield inside, names
        for name in sorted(links):
            why = "links to folders are not followed: give that folder itself."
            yield f"{inside}{name}/", BadInput(why)
        waiting += [f"{inside}{name}/" for name in sorted(folders, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _read_item(root: Path, folder: str, stem: str, names: list[str]) -> Item:
    identity = f"{folder}{stem}"
    texts = [name for name in names if _suffix(name) in _TEXTS]
    try:
        if len(texts) > 1:
            raise BadInput(
                f"{quote_value(texts[0])} and {quote_value(texts[1])} are texts of one name."
            )
        for name in names:
            _check_file(root, folder + name)
        fields: dict[str, Any] = {}
        if texts:
            text = _read_text(root / folder / texts[0])
            fields = (
                parse_markdown(text) if _suffix(texts[0]) in _MARKDOWN else {"text": text.strip()}
            )
        pictures = [folder + name for name in names if name not in texts]
        return Item(
            None, {"id": identity, **fields, "images": pictures}, quote_value(identity, 200)
        )
    except BadInput as error:
        return Item(None, error, quote_value(f"{folder}{names[0]}", 200))


def _check_file(root: Path, name: str) -> None:
    """Refuse what is not a regular file, and a link that leads out of the folder."""
    path = root / name
    if not path.is_file():
        raise BadInput(f"{quote_value(name)} is not a regular file, or a broken link.")
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise BadInput(
            f"{quote_value(name)} is a link that leads out of the folder: copy its file here."
        )
    if path.resolve().suffix.startswith(".sqlite"):  # as in images.py: our locks would be dropped
        raise BadInput(f"{quote_value(name)} is a link to a database: databases are not read.")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LINE_LIMIT + 1)
    except OSError as error:
        raise BadInput(f"the text cannot be read ({error.strerror}).") from error
    if len(data) > LINE_LIMIT:
        raise BadInput(f"the text is over {LINE_LIMIT // 2**20} MB: split it.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("the text is UTF-16: save it as UTF-8.")
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}. Save it as UTF-8."
        ) from error


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - names, not paths


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="folder",
        options=frozenset(),
        refusals={
            "images": "a folder of images is for files: in a folder, pictures lie beside texts."
        },
        open=lambda path, options: contents(path),
    )
)
