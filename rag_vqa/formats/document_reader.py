"""Document readers: how a file that is one document with sections is read, and their registry.

Knows that every reader is also a format of sources, and which extra it needs. Does not know any
reader: each is one file in formats/documents/ that calls `register_reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document import FIELDS, Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.sections import ParsedDocument, section_items
from rag_vqa.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentReader:
    """Reads one kind of documents.

    Attributes:
        name: what `--kind` takes.
        suffixes: of its files, in lower case, as ".docx".
        parse: reads a file. Raises BadInput if the file as a whole is refused.
        modules: third-party modules that it imports.
        extra: the extra of rag-vqa that installs them.
    """

    name: str
    suffixes: tuple[str, ...]
    parse: Callable[[Path], ParsedDocument]
    modules: tuple[str, ...] = ()
    extra: str = "documents"

    def read(self, path: Path) -> ParsedDocument:
        """The document in a file.

        Raises:
            Missing: a module is not installed.
            BadInput: the file is damaged, encrypted, over a limit, or not of this kind.
        """
        self.check_modules()
        return self.parse(path)

    def check_modules(self) -> None:
        """
        Raises:
            Missing: a module is not installed.
        """
        for module in self.modules:
            if find_spec(module) is None:
                raise Missing(
                    f"{module} is not installed: {', '.join(self.suffixes)} cannot be read. "
                    f"Install it: pip install 'rag-vqa[{self.extra}]'"
                )


DOCUMENT_READERS: Registry[DocumentReader] = Registry("document reader")


def register_reader(reader: DocumentReader) -> None:
    """Add a reader, and make each of its files a source by itself."""
    DOCUMENT_READERS.register(reader)
    DOCUMENT_FORMATS.register(
        DocumentFormat(
            name=reader.name,
            suffixes=reader.suffixes,
            options=frozenset(),
            refusals={
                "images": f"{reader.name} contains its pictures, or names them beside it: "
                "leave --images out."
            },
            open=lambda path, options: _contents(reader, path),
        )
    )


def find_reader(suffix: str) -> DocumentReader | None:
    """The reader of files with a suffix such as ".docx"; None if there is none."""
    return next(
        (reader for reader in DOCUMENT_READERS.entries() if suffix.lower() in reader.suffixes), None
    )


def _contents(reader: DocumentReader, path: Path) -> Contents:
    """What a file contains. Its beginning is read; the first reading goes on from there."""
    try:
        opened = [reader.read(path)]
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    metadata = ("file", *opened[0].metadata)
    columns = tuple(name for name in FIELDS if name not in ("image", "retrieval_text"))

    def items() -> Iterator[Item]:
        parsed = opened.pop() if opened else reader.read(path)
        given = False
        for item in section_items(path.stem, parsed, path.name):
            given = True
            yield item
        if not given and parsed.nothing:
            yield Item(None, BadInput(parsed.nothing), path.name, identity=path.stem)

    encoding = opened[0].encoding
    remarks = (f"{path.name} is read as {encoding}.",) if encoding not in ("", "UTF-8") else ()
    return Contents(columns, metadata, (), items, remarks)
