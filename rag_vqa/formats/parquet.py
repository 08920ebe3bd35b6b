"""Parquet files, a folder of them, and `datasets` saved to disk → Items, a batch of rows at a time.

It knows files and batches of Arrow. What a cell means is cells.py's matter, what a column means
mapping.py's. Memory is that of one group of rows, as the file's writer cut them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.cells import flat, row_fields
from rag_vqa.formats.document import shown
from rag_vqa.formats.items import Contents, Item
from rag_vqa.formats.mapping import Columns, resolve

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
_ROWS = 4  # a batch: a cell may have megabytes, and a small file a million of them
_DATASET = ("state.json", "dataset_dict.json")


@dataclass(frozen=True, slots=True)
class _Part:
    """One file, or one split: its name, its columns, its rows in batches."""

    name: str
    schema: pyarrow.Schema
    batches: Callable[[], Iterator[pyarrow.RecordBatch]]


def is_dataset(path: Path) -> bool:
    """Whether `datasets` saved this folder."""
    return any((path / name).is_file() for name in _DATASET)


def is_parquet(path: Path) -> bool:
    """Whether a folder holds Parquet files."""
    return any(not file.name.startswith(".") for file in path.glob(f"*{SUFFIX}"))


def contents(path: Path, mapping: Mapping[str, Sequence[str]] | None) -> Contents:
    """Read the schema.

    Raises:
        Missing: no such file.
        BadInput: no Parquet, a damaged file, or files whose columns differ.
        UsageError: the mapping does not fit the columns.
    """
    parts = _parts(path)
    schema = parts[0].schema
    for part in parts[1:]:
        if part.schema.names != schema.names:
            raise BadInput(
                f"{path}: {part.name} has other columns than {parts[0].name}: "
                f"{', '.join(part.schema.names)}. Give one of them at a time."
            )
    columns = resolve(schema.names, mapping)
    unknown = tuple(n for n in columns.metadata if not flat(schema.field(n).type))
    kept = tuple(n for n in columns.metadata if n not in unknown)
    chosen = replace(columns, metadata=kept)
    return Contents(tuple(schema.names), kept, unknown, lambda: _items(path, parts, chosen))


def column_names(path: Path) -> tuple[str, ...]:
    """Names of the columns; raises as `contents` does."""
    return tuple(_parts(path)[0].schema.names)


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadInput]]:
    """Each row of one file with its number from 1, cells as they stand; raises as `contents`."""
    import pyarrow

    (part,) = _files(path)
    number = 1
    try:
        for batch in part.batches():
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        yield number, BadInput(f"damaged here: {shown(str(error))}")


def _parts(path: Path) -> list[_Part]:
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    return _saved(path) if path.is_dir() and is_dataset(path) else _files(path)


def _files(path: Path) -> list[_Part]:
    from pyarrow import parquet

    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        raise BadInput(f"{path} holds no documents: no {SUFFIX} file is in it.")
    parts = []
    for file in files:
        if not file.is_file():  # before it is opened: a pipe would block
            raise BadInput(f"{file} is not a regular file.")
        with _readable(file):
            schema = parquet.read_schema(file)
        parts.append(_Part(file.name, schema, _batches_of(file)))
    return parts


def _batches_of(file: Path) -> Callable[[], Iterator[pyarrow.RecordBatch]]:
    def batches() -> Iterator[pyarrow.RecordBatch]:
        from pyarrow import parquet

        with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
            yield from opened.iter_batches(_ROWS)

    return batches


def _saved(path: Path) -> list[_Part]:
    """Splits of what `datasets` saved; pictures stay bytes, because Arrow is asked for."""
    import datasets

    with _readable(path):
        loaded = datasets.load_from_disk(str(path.resolve()))
    splits = loaded if isinstance(loaded, dict) else {path.name: loaded}
    if not splits:
        raise BadInput(f"{path} holds no documents: no split is in it.")
    return [
        _Part(name, split.features.arrow_schema, _rows_of(split)) for name, split in splits.items()
    ]


def _rows_of(split: Any) -> Callable[[], Iterator[pyarrow.RecordBatch]]:
    def batches() -> Iterator[pyarrow.RecordBatch]:
        for table in split.with_format("arrow").iter(_ROWS):
            yield from table.to_batches()

    return batches


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What Arrow and `datasets` say of a damaged file, as ours."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {shown(str(error))}") from error


def _items(path: Path, parts: Sequence[_Part], columns: Columns) -> Iterator[Item]:
    import pyarrow

    for part in parts:
        place = part.name if len(parts) > 1 else ""
        number = 1
        try:
            for batch in part.batches():
                for fields in _fields(batch, columns):
                    yield Item(number, fields, place, "row")
                    number += 1
        except (pyarrow.ArrowException, OSError) as error:
            why = f"damaged here, and not read any further: {shown(str(error))}"
            yield Item(number, BadInput(why), place, "row")


def _fields(batch: pyarrow.RecordBatch, columns: Columns) -> Iterator[Mapping[str, Any] | BadInput]:
    """Rows one by one, so that a text that is not UTF-8 costs its own row."""
    for at in range(batch.num_rows):
        try:
            (row,) = batch.slice(at, 1).to_pylist()
            yield row_fields(row, columns)
        except UnicodeDecodeError as error:
            yield BadInput(f"not UTF-8: byte 0x{error.object[error.start]:02x}.")
        except BadInput as error:
            yield error
