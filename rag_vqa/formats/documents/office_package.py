"""Office packages: the zip of parts that Word and PowerPoint files are.

Knows parts, their relationships, their properties, and what a file is that only bears the name of
such a package. Does not know what the parts mean (docx.py, pptx.py).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote

from rag_vqa.errors import BadInput
from rag_vqa.formats.archive import Archive, parse_xml
from rag_vqa.formats.documents.foreign_files import describe_other_kind
from rag_vqa.images import MAX_FILE_BYTES

_MAIN_PARTS: Final = {
    "word/": "a Word document", "ppt/": "a PowerPoint presentation", "xl/": "an Excel workbook",
    "content.xml": "an OpenDocument file", "index/document.iwa": "an Apple iWork file",
}  # fmt: skip
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Relationship:
    """A link from one part to another, or to an address outside.

    Attributes:
        kind: the last word of its type, such as "image".
        target: name of the part, or the address.
    """

    kind: str
    target: str
    external: bool


class OfficePackage:
    """The parts of a Word, PowerPoint or Excel file. `with` closes it.

    Attributes:
        archive: the zip.
        main_part: the part that names all others.

    Raises:
        BadInput: it is damaged, encrypted, over a limit, or another kind of file.
    """

    def __init__(self, path: Path, folder: str, what: str) -> None:
        """
        Args:
            folder: in which its parts lie, such as "word/".
            what: its kind, for errors.
        """
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        if not is_zip:
            raise BadInput(describe_other_kind(path))
        self.archive = Archive(path)
        main = [each.target for each in self.relationships("").values()
                if each.kind == "officeDocument"]  # fmt: skip
        known = [name for name in (*main, f"{folder}document.xml", f"{folder}presentation.xml")
                 if name.lower().startswith(folder) and name in self.archive]  # fmt: skip
        if not known:
            found = self._describe_content()
            self.archive.__exit__(None, None, None)
            raise BadInput(f"it is {found}, not {what}: save it as {what}.")
        self.main_part = known[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.archive.__exit__(kind, error, trace)

    def xml(self, part: str) -> Any:
        """The root element of a part.

        Raises:
            BadInput: it is missing, damaged or over a limit.
        """
        return parse_xml(self.archive.read(part), part)

    def xml_or_none(self, part: str) -> Any | None:
        """The root element of a part that a document can do without; None if it cannot be read."""
        try:
            return self.xml(part)
        except BadInput:
            return None

    def relationships(self, part: str) -> Mapping[str, Relationship]:
        """The links of a part, by id; "" is the package itself."""
        folder, name = posixpath.split(part)
        root = self.xml_or_none(posixpath.join(folder, "_rels", f"{name}.rels"))
        found: dict[str, Relationship] = {}
        for each in () if root is None else root:
            target, identity = each.get("Target", ""), each.get("Id", "")
            external = each.get("TargetMode") == "External"
            if not external:
                target = posixpath.normpath(posixpath.join("/", folder, unquote(target)))[1:]
            kind = each.get("Type", "").rpartition("/")[2]
            found[identity] = Relationship(kind, target, external)
        return found

    def related_part(self, part: str, kind: str) -> str | None:
        """The first part of a kind that a part is linked to."""
        targets = (
            each.target for each in self.relationships(part).values()
            if each.kind == kind and not each.external and each.target in self.archive
        )  # fmt: skip
        return next(targets, None)

    def picture(self, link: Relationship) -> bytes | str:
        """The bytes of a picture; its name or address if they cannot be had: it is then missing."""
        if link.external or link.target not in self.archive:
            return link.target
        try:
            return self.archive.read(link.target, MAX_FILE_BYTES)
        except BadInput:
            return link.target

    def properties(self) -> dict[str, str]:
        """What the file says about itself: title, author, date, language, if they are there."""
        links = self.relationships("").values()
        part = next((x.target for x in links if x.kind == "core-properties"), "docProps/core.xml")
        root = self.xml_or_none(part)
        texts = {} if root is None else {tag_of(each): (each.text or "").strip() for each in root}
        dates = (_DATE.match(texts.get(name, "")) for name in ("modified", "created"))
        found = {
            "title": " ".join(texts.get("title", "").split()),
            "author": texts.get("creator", ""),
            "date": next((date[0] for date in dates if date), ""),
            "language": texts.get("language", ""),
        }
        return {name: value for name, value in found.items() if value}

    def _describe_content(self) -> str:
        names = [name.lower() for name in self.archive.names()]
        for beginning, what in _MAIN_PARTS.items():
            if any(name.startswith(beginning) for name in names):
                return what
        return f"a zip of {len(names):,} other files"


def tag_of(element: Any) -> str:
    """The name of an element without its namespace, which differs between editions."""
    tag: str = element.tag
    return tag.rpartition("}")[2]


def attribute(element: Any, name: str) -> str | None:
    """An attribute by its name without namespace."""
    plain: str | None = element.get(name)
    if plain is not None:
        return plain
    for key, value in element.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return None


def child_of(element: Any, *path: str) -> Any | None:
    """The first descendant along a path of names; None if there is none."""
    for name in path:
        element = next((each for each in element if tag_of(each) == name), None)
        if element is None:
            return None
    return element


def descendants(element: Any, *names: str) -> Iterator[Any]:
    """All descendants of these names, in order."""
    wanted = frozenset(names)
    return (each for each in element.iter("{*}*") if tag_of(each) in wanted)
