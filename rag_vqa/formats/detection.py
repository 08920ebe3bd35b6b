"""Detection: of which format a file is, by what it claims, its suffix, and its beginning.

Knows the order in which formats are asked. Does not know any format (one module each, or a
benchmark's), nor what a folder contains (possible_sources.py).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Final

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats import parquet
from rag_vqa.formats.benchmark import BENCHMARKS
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat
from rag_vqa.formats.documents.foreign_files import describe_foreign_suffix
from rag_vqa.formats.json_stream import open_json, read_members
from rag_vqa.formats.jsonl import read_objects
from rag_vqa.formats.packed_file import unpacked_suffix
from rag_vqa.formatting import did_you_mean

LINE_SUFFIXES: Final = (".jsonl", ".ndjson")
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


def all_formats() -> tuple[DocumentFormat, ...]:
    """All formats: the plain ones, then those of benchmarks."""
    return (*DOCUMENT_FORMATS.entries(), *_benchmark_formats())


def format_names() -> tuple[str, ...]:
    """Names of all formats, in the order of `all_formats`."""
    return tuple(known.name for known in all_formats())


def find_format(name: str) -> DocumentFormat:
    """
    Raises:
        UsageError: there is none of this name.
    """
    for known in all_formats():
        if known.name == name:
            return known
    names = format_names()
    raise UsageError(
        f"{name!r} is not a format of documents.{did_you_mean(name, names)} "
        f"Known: {', '.join(names)}."
    )


def detect_format(path: Path) -> DocumentFormat:
    """The format of a file: benchmarks are asked first, as they look closer.

    Raises:
        BadInput: it is of none, or is a pointer of Git LFS instead of the file.
    """
    _check_pointer(path)
    formats = (*_benchmark_formats(), *DOCUMENT_FORMATS.entries())
    for known in formats:
        if known.claims(path):
            return known
    suffix = "" if parquet.begins_as_parquet(path) else unpacked_suffix(path)
    sample = _Sample(path)
    for known in formats:
        if suffix in known.suffixes:
            return known
    for known in formats:
        if known.recognises(sample):
            return known
    if isinstance(sample.first_object, BadInput) and suffix not in LINE_SUFFIXES:
        if foreign := describe_foreign_suffix(suffix):
            raise BadInput(f"{path} is {foreign}.")
        if str(sample.first_object).startswith(str(path)):
            raise sample.first_object
        raise BadInput(
            f"{path} is of no known format: its first line is {sample.first_object} "
            f"Known: {', '.join(format_names())}. If it is one of them, give its name."
        )
    return DOCUMENT_FORMATS.get("jsonl")


def _benchmark_formats() -> tuple[DocumentFormat, ...]:
    return tuple(known for benchmark in BENCHMARKS.entries() for known in benchmark.documents)


def _check_pointer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}).") from error
    if is_pointer:
        raise BadInput(f"{path} is a pointer of Git LFS, not the file: fetch it with git lfs pull.")


class _Sample:
    """The beginning of a file, a `SourceSample`. Each part is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def field_names(self) -> frozenset[str]:
        if parquet.contains_parquet(self.path):
            return frozenset(parquet.column_names(self.path))
        first = self.first_object
        return frozenset(first) if isinstance(first, dict) else frozenset()

    @cached_property
    def first_member(self) -> Any:
        if unpacked_suffix(self.path) != ".json":
            return None
        with open_json(self.path) as text:
            is_object = text.skip() == "{"
        _, value = next(read_members(self.path), ("", None)) if is_object else ("", None)
        return value

    @cached_property
    def first_object(self) -> dict[str, Any] | BadInput | None:
        """The first line's JSON object, or why it is none; None of an empty file."""
        try:
            return next((record for _, record in read_objects(self.path)), None)
        except BadInput as error:  # of the file as a whole: it begins with its path
            return error
