"""Parquet: files, a folder of files, and `datasets` saved to disk, read in small batches of rows.

Knows files, batches of Arrow, types of columns and what a cell becomes. Does not know which column
is which field (mapping.py), and decodes no picture: those are bytes or names here. Memory is that
of one row group, as the writer of the file cut them.

An integer id becomes its digits. Numbers and dates become texts in text fields, and so do lists of
texts. Elsewhere lists, structures and bytes are left out, because metadata is flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document import Contents, Item
from rag_vqa.formats.document_format import DOCUMENT_FORMATS, DocumentFormat, SourceOptions
from rag_vqa.formats.mapping import FieldMapping
from rag_vqa.formatting import quote_value

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
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
        return path.suffix.lower() == SUFFIX
    return is_dataset(path) or is_parquet_folder(path)


def is_dataset(path: Path) -> bool:
    """Whether `datasets` saved this folder."""
    return any((path / name).is_file() for name in _DATASET)


def is_parquet_folder(path: Path) -> bool:
    """Whether a folder contains Parquet files."""
    return any(not file.name.startswith(".") for file in path.glob(f"*{SUFFIX}"))


def contents(path: Path, options: SourceOptions) -> Contents:
    """Read the schema.

    Raises:
        Missing: no such file.
        BadInput: not Parquet, a damaged file, or files whose columns differ.
        UsageError: the mapping does not fit the columns.
    """
    parts = _open_parts(path)
    schema = parts[0].schema
    for part in parts[1:]:
        if part.schema.names != schema.names:
            raise BadInput(
                f"{path}: {part.name} has other columns than {parts[0].name}: "
                f"{', '.join(part.schema.names)}. Give one of them at a time."
            )
    mapping = FieldMapping.resolve(schema.names, options.mapping, options.text)
    return Contents(
        tuple(schema.names),
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
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        yield number, BadInput(f"damaged here: {quote_value(str(error))}")


def _open_parts(path: Path) -> list[_Part]:
    if not path.exists():
        raise Missing(f"{path} does not exist: check the path.")
    return _dataset_parts(path) if path.is_dir() and is_dataset(path) else _parquet_parts(path)


def _parquet_parts(path: Path) -> list[_Part]:
    from pyarrow import parquet

    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    files = [file for file in files if not file.name.startswith(".")]
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
            for batch in part.batches():
                for fields in _batch_fields(batch, mapping):
                    yield Item(number, fields, place, "row")
                    number += 1
        except (pyarrow.ArrowException, OSError) as error:
            why = f"damaged here, the rest is not read: {quote_value(str(error))}"
            yield Item(number, BadInput(why), place, "row")


def _batch_fields(
    batch: pyarrow.RecordBatch, mapping: FieldMapping
) -> Iterator[Mapping[str, Any] | BadInput]:
    """Rows one by one, so that text that is not UTF-8 costs only its own row."""
    for at in range(batch.num_rows):
        try:
            (row,) = batch.slice(at, 1).to_pylist()
            yield mapping.read(row)
        except UnicodeDecodeError as error:
            yield BadInput(f"not UTF-8: byte 0x{error.object[error.start]:02x}.")
        except BadInput as error:
            yield error


def is_flat(kind: pyarrow.DataType) -> bool:
    """Whether a column of this type can be metadata."""
    from pyarrow import types

    binary = (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )
    return not (types.is_nested(kind) or binary)


DOCUMENT_FORMATS.register(
    DocumentFormat(
        name="parquet",
        recognises=lambda sample: contains_parquet(sample.path),
        options=frozenset({"images", "mapping", "text"}),
        open=contents,
    )
)
