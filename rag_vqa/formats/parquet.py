"""Parquet: files, a folder of files, and `datasets` saved to disk, read in small batches of rows.

Knows files, batches of Arrow, types of columns and what a cell becomes. Does not know which column
is which field (mapping.py), and decodes no picture: those are bytes or names here. Memory is that
of one row group, as the writer of the file cut them.

A file is Parquet by its suffix, in any capitals, or because it begins with PAR1. Files of one
source may have their columns in any order, and some more than others. An index that pandas wrote
without a name numbers rows, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.arrow_cells import column_cells
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.mapping import FieldMapping
from rag_vqa.formatting import quote_value

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
SUFFIXES = (SUFFIX, ".pq", ".parq")
_MAGIC = b"PAR1"
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")
_ROWS = 4  # of a batch: a cell may have megabytes, and a small file a million rows
_DATASET = ("state.json", "dataset_dict.json")


@dataclass(frozen=True, slots=True)
class _Part:
    """One file, or one split of a data set."""

    name: str
    schema: pyarrow.Schema
    batches: Callable[[], Iterator[pyarrow.RecordBatch]]


def contains_parquet(path: Path) -> bool:
    """Whether this is a Parquet file, a folder of them, or saved by `datasets`."""
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES or begins_as_parquet(path)
    return is_dataset(path) or is_parquet_folder(path)


def begins_as_parquet(path: Path) -> bool:
    """Whether a file's first bytes are those of Parquet."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def is_dataset(path: Path) -> bool:
    """Whether `datasets` saved this folder."""
    return any((path / name).is_file() for name in _DATASET)


def is_parquet_folder(path: Path) -> bool:
    """Whether a folder contains Parquet files."""
    return bool(_parquet_files(path))


def contents(path: Path, options: SourceOptions) -> Contents:
    """Read the schema.

    Raises:
        Missing: no such file.
        BadInput: not Parquet, or a damaged file.
        UsageError: the mapping does not fit the columns.
    """
    parts = _open_parts(path)
    columns = tuple(dict.fromkeys(name for part in parts for name in _named_columns(part.schema)))
    mapping = FieldMapping.resolve(columns, options.mapping, options.text)
    return Contents(
        columns,
        mapping.metadata,
        (),
        lambda: _items(path, parts, mapping),
        mapping.remarks,
        mapping.fields,
    )


def column_names(path: Path) -> tuple[str, ...]:
    """Names of the columns; raises as `contents` does."""
    return tuple(_open_parts(path)[0].schema.names)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """Each row of one file with its number from 1 and unchanged cells; raises as `contents`."""
    import pyarrow

    (part,) = _parquet_parts(path)
    number = 1
    try:
        for batch in part.batches():
            for row in _batch_rows(batch, part.schema.names):
                yield number, row
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        yield number, BadInput(f"damaged here: {quote_value(str(error))}")


def _open_parts(path: Path) -> list[_Part]:
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    return _dataset_parts(path) if path.is_dir() and is_dataset(path) else _parquet_parts(path)


def _parquet_parts(path: Path) -> list[_Part]:
    from pyarrow import parquet

    files = _parquet_files(path) if path.is_dir() else [path]
    if not files:
        raise BadInput(f"{path} contains no documents: it has no {SUFFIX} file.")
    parts = []
    for file in files:
        if not file.is_file():  # before it is opened: a pipe would block
            raise BadInput(f"{file} is not a regular file.")
        with _translate_errors(file):
            schema = parquet.read_schema(file)
        parts.append(_Part(file.name, schema, _file_batches(file)))
    return parts


def _file_batches(file: Path) -> Callable[[], Iterator[pyarrow.RecordBatch]]:
    def batches() -> Iterator[pyarrow.RecordBatch]:
        from pyarrow import parquet

        with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
            yield from opened.iter_batches(_ROWS)

    return batches


def _dataset_parts(path: Path) -> list[_Part]:
    """Splits that `datasets` saved. Read as Arrow, pictures stay bytes."""
    import datasets

    with _translate_errors(path):
        loaded = datasets.load_from_disk(str(path.resolve()))
    splits = loaded if isinstance(loaded, dict) else {path.name: loaded}
    if not splits:
        raise BadInput(f"{path} contains no documents: it has no split.")
    return [
        _Part(name, split.features.arrow_schema, _split_batches(split))
        for name, split in splits.items()
    ]


def _split_batches(split: Any) -> Callable[[], Iterator[pyarrow.RecordBatch]]:
    def batches() -> Iterator[pyarrow.RecordBatch]:
        for table in split.with_format("arrow").iter(_ROWS):
            yield from table.to_batches()

    return batches


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn the errors of Arrow and `datasets` about a damaged file into BadInput."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {quote_value(str(error))}") from error


def _items(path: Path, parts: Sequence[_Part], mapping: FieldMapping) -> Iterator[Item]:
    import pyarrow

    for part in parts:
        place = part.name if len(parts) > 1 else ""
        number = 1
        try:
            names = _named_columns(part.schema)
            for batch in part.batches():
                for row in _batch_rows(batch, names):
                    yield Item(number, _row_fields(row, mapping), place, "row")
                    number += 1
        except (pyarrow.ArrowException, OSError) as error:
            why = f"damaged here, the rest is not read: {quote_value(str(error))}"
            yield Item(number, BadInput(why), place, "row")


def _named_columns(schema: pyarrow.Schema) -> tuple[str, ...]:
    """Names of the columns without an index that pandas wrote, which only numbers the rows."""
    from pyarrow import types

    return tuple(
        field.name
        for field in schema
        if not (types.is_integer(field.type) and _INDEX.fullmatch(field.name))
    )


def _batch_rows(batch: pyarrow.RecordBatch, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows with the cells of these columns."""
    positions = [batch.schema.names.index(name) for name in names]
    columns = [column_cells(batch.column(at)) for at in positions]
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True))


def _row_fields(row: Mapping[str, Any], mapping: FieldMapping) -> Mapping[str, Any] | BadInput:
    try:
        return mapping.read(row)
    except BadInput as error:
        return error


def _parquet_files(folder: Path) -> list[Path]:
    """Its Parquet files in order of their names, without hidden ones."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="parquet",
        recognises=lambda sample: contains_parquet(sample.path),
        options=frozenset({"images", "mapping", "text"}),
        open=contents,
    )
)
