"""WebDataset: tar files in which members of one name are one document, read without unpacking.

Knows members (`0001.jpg`, `0001.txt`, `0001.json`, `0001.cls`) and which of them is what. Does not
know fields (mapping.py), how a tar is packed (packed_file.py), and decodes no picture. Memory is
that of one document.

`.txt` is the text, an object in `.json` gives fields of other names too, pictures are pictures, and
a short text of another suffix is metadata by the name of the suffix. The id is what the object
says, or else the name. Members of one name must follow one another, as WebDataset demands.
"""

from __future__ import annotations

import itertools
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from rag_vqa.errors import BadInput
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.encodings import decode_text
from rag_vqa.formats.folder_walk import PICTURES, is_junk
from rag_vqa.formats.jsonl import decode_json
from rag_vqa.formats.mapping import FieldMapping, parse_scalar
from rag_vqa.formats.packed_file import DamagedStream, open_unpacked
from rag_vqa.formatting import one_line, quote_value

NAME: Final = "webdataset"
SUFFIXES: Final = (".tar", ".tgz", ".tbz2", ".txz")
_MAX_MEMBER_BYTES: Final = 64 * 2**20  # as of a picture's file
_MAX_METADATA_BYTES: Final = 4096
_SAMPLE_DOCUMENTS: Final = 100  # read when a file is opened, for the names of their fields
_TEXTS: Final = frozenset((".txt", ".text", ".caption", ".md"))
_KEY: Final = "__key__"  # as the library calls it
_TAR_ERRORS: Final = (tarfile.TarError, EOFError, OSError, ValueError)


@dataclass(slots=True)
class _Sample:
    """Members of one name.

    Attributes:
        texts: by suffix, in the order of the file.
    """

    key: str
    pictures: list[bytes] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    refused: BadInput | None = None

    def row(self) -> dict[str, Any]:
        """The document as a row of a table, with names of fields or of columns."""
        row: dict[str, Any] = {_KEY: self.key, **self.metadata, **self.record}
        text = next(iter(self.texts.values()), "")
        if text:
            row["text"] = text
        if self.pictures:
            row.pop("image", None)
            row["images"] = self.pictures
        return row


def contents(path: Path, options: SourceOptions) -> Contents:
    """Read the first documents.

    Raises:
        Missing: no such file.
        BadInput: not a tar file.
        UsageError: the mapping does not fit the names.
    """
    columns: dict[str, None] = {}
    left_out: Counter[str] = Counter()
    for sample in itertools.islice(_read_samples(path, left_out), _SAMPLE_DOCUMENTS):
        if isinstance(sample, BadInput):
            if columns:
                break
            raise BadInput(f"{path}: {sample}")
        columns.update(dict.fromkeys(sample.row()))
    if not columns:
        raise BadInput(f"{path} contains no documents: no picture and no text is in it.")
    mapping = FieldMapping.resolve(tuple(columns), options.mapping, options.text, id_default=_KEY)
    left_out.clear()
    return Contents(
        tuple(name for name in columns if name != _KEY),
        mapping.metadata,
        (),
        lambda: _items(path, mapping, left_out),
        tuple(remark for remark in mapping.remarks if _KEY not in remark),
        mapping.fields,
        lambda: _describe_left_out(left_out),
    )


def _items(path: Path, mapping: FieldMapping, left_out: Counter[str]) -> Iterator[Item]:
    left_out.clear()
    for sample in _read_samples(path, left_out):
        if isinstance(sample, BadInput):
            yield Item(None, sample)
            return
        place = quote_value(sample.key, 200)
        try:
            if sample.refused is not None:
                raise sample.refused
            yield Item(None, mapping.read(sample.row()), place)
        except BadInput as error:
            yield Item(None, error, place)


def _describe_left_out(left_out: Counter[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    listed = sorted(left_out.items(), key=lambda pair: (-pair[1], pair[0]))[:12]
    return (f"left out: {', '.join(f'{count:,} {one_line(name)}' for name, count in listed)}",)


def holds_samples(path: Path) -> bool:
    """Whether a tar has documents of WebDataset's kind, not a folder; True if it is damaged."""
    keys: Counter[tuple[str, str]] = Counter()
    try:
        with open_tar(path) as archive:
            for member in itertools.islice(archive, 2 * _SAMPLE_DOCUMENTS):
                if member.isreg() and not is_junk(member.name):
                    key, suffix = _split_member(member.name)
                    if suffix in (".csv", ".jsonl", ".parquet", ".tsv", ".html", ".pdf"):
                        return False
                    keys[key, suffix] += 1
    except (BadInput, *_TAR_ERRORS):
        return True
    suffixes = {suffix for _, suffix in keys}
    return bool(suffixes & PICTURES) or bool(suffixes & (_TEXTS | {".json"}))


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar as a stream, unpacked within limits.

    Raises:
        BadInput: it is none.
    """
    with open_unpacked(path) as stream:
        try:
            archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 - closed below
        except _TAR_ERRORS as error:
            what = "is empty" if not path.stat().st_size else f"is no tar file ({error})"
            raise BadInput(f"{path} contains no documents: it {what}.") from error
        with archive:
            yield archive


def _read_samples(path: Path, left_out: Counter[str]) -> Iterator[_Sample | BadInput]:
    """The documents of a file; what is damaged ends them."""
    sample: _Sample | None = None
    try:
        with open_tar(path) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has read
                if not member.isreg() or is_junk(member.name):
                    continue
                key, suffix = _split_member(member.name)
                if sample is None or key != sample.key:
                    if sample is not None and _is_document(sample):
                        yield sample
                    sample = _Sample(key)
                _take_member(sample, suffix, member, archive, left_out)
    except DamagedStream as error:
        yield error
        return
    except _TAR_ERRORS as error:
        yield BadInput(f"the tar is damaged or cut here, the rest is not read ({error}).")
        return
    if sample is not None and _is_document(sample):
        yield sample


def _is_document(sample: _Sample) -> bool:
    return bool(sample.pictures or sample.texts or sample.record or sample.refused)


def _split_member(name: str) -> tuple[str, str]:
    """The name of a document, and the suffix of its member: from the first dot on.

    >>> _split_member("./a.b/0001.left.JPG")
    ('a.b/0001', '.left.jpg')
    """
    path = PurePosixPath(name)
    stem, dot, suffix = path.name.partition(".")
    folder = str(path.parent)
    return (stem if folder in (".", "") else f"{folder}/{stem}"), f"{dot}{suffix}".lower()


def _take_member(
    sample: _Sample,
    suffix: str,
    member: tarfile.TarInfo,
    archive: tarfile.TarFile,
    left_out: Counter[str],
) -> None:
    """Add a member to its document, or count it as left out."""
    last = PurePosixPath(f"x{suffix}").suffix
    name = suffix.removeprefix(".")
    if member.size > _MAX_MEMBER_BYTES:
        left_out[f"{suffix} over {_MAX_MEMBER_BYTES // 2**20} MB"] += 1
        return
    opened = archive.extractfile(member)
    data = b"" if opened is None else opened.read()
    try:
        if last in PICTURES:
            sample.pictures.append(data)
        elif last in _TEXTS:
            sample.texts[suffix] = decode_text(data)[0].strip()
        elif last == ".json":
            _take_json(sample, name, data)
        elif len(data) <= _MAX_METADATA_BYTES and name and _is_text(data):
            sample.metadata[name] = parse_scalar(data.decode().strip())
        else:
            left_out[suffix or member.name] += 1
    except BadInput as error:
        sample.refused = sample.refused or BadInput(f"{suffix}: {error}")


def _take_json(sample: _Sample, name: str, data: bytes) -> None:
    try:
        value, _ = decode_json(decode_text(data)[0].lstrip())
    except json.JSONDecodeError as error:
        raise BadInput(f"not JSON: {error.msg} at column {error.colno}.") from error
    if isinstance(value, dict):
        sample.record = {**sample.record, **value}
    else:
        sample.metadata[name] = value


def _is_text(data: bytes) -> bool:
    try:
        return data.decode().isprintable() or not data.strip(b"\r\n\t ").count(b"\0")
    except UnicodeDecodeError:
        return False


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name=NAME,
        suffixes=SUFFIXES,
        options=frozenset({"mapping", "text"}),
        refusals={"images": "a tar contains its pictures: leave --images out."},
        open=contents,
    )
)
