"""Reading Parquet and saved `datasets`, as pyarrow and `datasets` themselves write them."""

import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.formats.document import Record, Rejected, read_records
from rag_vqa.formats.document_format import SourceOptions
from rag_vqa.formats.parquet import contains_parquet, contents, is_dataset, is_parquet_folder
from rag_vqa.formats.source import open_source

RED = images.encode(Image.new("RGB", (3, 2), "red"))


def write(path: Path, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    parquet.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return path


def read(
    path: Path, mapping: dict[str, list[str]] | None = None
) -> tuple[list[Record], list[Rejected]]:
    rejected: list[Rejected] = []
    folder = (path if path.is_dir() else path.parent).resolve()
    records = list(
        read_records(
            contents(path, SourceOptions(mapping=mapping)).items(), path, folder, rejected.append
        )
    )
    return records, rejected


def test_types(tmp_path: Path) -> None:
    table = {
        "key": pa.array([7, 8]),
        "name": pa.array(["Vase", None]).dictionary_encode(),
        "notes": [["Blue.", "Old."], ["Red."]],
        "year": [1750, None],
        "weight": [2.5, float("nan")],
        "sold": [True, None],
        "day": [datetime.date(1999, 1, 2), None],
        "price": [decimal.Decimal("1.50"), None],
        "empty": pa.nulls(2),
        "tags": [["a"], []],
        "thumb": [b"x", b"y"],
    }
    path = write(tmp_path / "a.parquet", table)
    mapping = {"id": ["key"], "title": ["name"], "text": ["notes", "year"]}
    found = contents(path, SourceOptions(mapping=mapping))
    assert found.metadata == ("weight", "sold", "day", "price", "empty", "tags", "thumb")
    (vase, other), rejected = read(path, mapping)
    assert not rejected
    assert (vase.id, vase.title, vase.text) == ("7", "Vase", "Blue.\nOld.\n1750")
    assert vase.metadata == {
        "weight": 2.5, "sold": True, "day": "1999-01-02", "price": "1.50", "tags": ("a",),
    }  # fmt: skip
    assert vase.left_out == {"thumb": "binary"}
    assert (other.id, other.title, other.text, other.metadata) == ("8", "", "Red.", {})
    assert (vase.line, vase.folder) == (1, tmp_path.resolve())


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([RED, None], [RED]),
        (["p.png", None], ["p.png"]),
        (["p.png|q.png", None], ["p.png", "q.png"]),
        ([["p;1.png", "q.png"], None], ["p;1.png", "q.png"]),
        ([{"bytes": RED, "path": "never/seen.png"}, None], [RED]),
        ([{"bytes": None, "path": "p.png"}, None], ["p.png"]),
        ([[{"bytes": RED, "path": None}, {"bytes": None, "path": "q.png"}], []], [RED, "q.png"]),
    ],
)
def test_pictures(tmp_path: Path, cells: list[Any], expected: list[Any]) -> None:
    path = write(tmp_path / "a.parquet", {"id": ["a", "b"], "image": cells})
    (first, second), rejected = read(path)
    folder = tmp_path.resolve()
    assert first.images == tuple(p if isinstance(p, bytes) else folder / p for p in expected)
    assert (second.images, rejected) == ((), [])


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name, ids in (("b", ["3"]), ("a", ["1", "2"]), (".hidden", ["9"])):
        write(tmp_path / f"{name}.parquet", {"id": ids, "text": ["t"] * len(ids)})
    assert is_parquet_folder(tmp_path) and not is_dataset(tmp_path)
    records, _ = read(tmp_path)
    assert [(record.id, record.line) for record in records] == [("1", 1), ("2", 2), ("3", 1)]
    write(tmp_path / "c.PQ", {"year": [5], "text": ["t"], "id": ["4"]})
    records, _ = read(tmp_path)
    assert [(record.id, record.metadata) for record in records][2:] == [
        ("3", {}), ("4", {"year": 5}),
    ]  # fmt: skip


def test_what_begins_as_parquet_is_parquet(tmp_path: Path) -> None:
    for name in ("kb.parquet", "KB.PARQUET", "kb.pq", "kb", "kb.csv"):
        write(tmp_path / name, {"id": ["1"], "text": ["t"]})
        assert contains_parquet(tmp_path / name) and open_source(tmp_path / name).kind == "parquet"
    (tmp_path / "text").write_text("PAR")
    assert not contains_parquet(tmp_path / "text")


def test_an_index_of_pandas_that_numbers_rows_is_left_out(tmp_path: Path) -> None:
    rows = {"id": ["a", "b"], "text": ["x", "y"]}
    pd.DataFrame(rows, index=[4, 9]).to_parquet(tmp_path / "numbered.parquet")
    pd.DataFrame(rows, index=["p", "q"]).to_parquet(tmp_path / "named.parquet")
    write(tmp_path / "own.parquet", {**rows, "Unnamed: 0": [0, 1], "index": [3, 4]})
    found = {
        name: contents(tmp_path / f"{name}.parquet", SourceOptions()).metadata
        for name in ("numbered", "named", "own")
    }
    assert found == {"numbered": (), "named": ("__index_level_0__",), "own": ("index",)}
    pd.DataFrame({"text": ["x"]}, index=pd.Index(["a"], name="id")).to_parquet(tmp_path / "i.pq")
    (record,), _ = read(tmp_path / "i.pq")
    assert (record.id, record.text) == ("a", "x")


def test_a_time_that_python_cannot_hold_costs_itself(tmp_path: Path) -> None:
    until = pa.array([2**62, 0], pa.int64()).view(pa.timestamp("us"))
    path = tmp_path / "kb.parquet"
    parquet.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"], "until": until}), path)
    (far, near), rejected = read(path)
    assert not rejected and not far.metadata and "dates" in far.left_out["until"]
    assert near.metadata == {"until": "1970-01-01T00:00:00"}


def test_the_place_of_a_refused_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["1", " "], "text": ["t", "t"]})
    write(tmp_path / "b.parquet", {"id": ["2", None, "3"], "text": ["t", "t", "nul\0"]})
    records, rejected = read(tmp_path)
    assert [record.id for record in records] == ["1", "2"]
    assert [(r.line, r.id, r.reason[:32]) for r in rejected] == [
        (2, " ", "a.parquet: the id is empty: give"),
        (2, None, "b.parquet: the id is missing: gi"),
        (3, "3", "b.parquet: text contains a NUL c"),
    ]
    with pytest.raises(BadInput, match=r"a\.parquet, row 2: the id is empty"):
        list(read_records(contents(tmp_path, SourceOptions()).items(), tmp_path, tmp_path))


def test_text_that_is_not_utf_8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"One.", b"caf\xe9", b"Three."], pa.binary()).view(pa.string())
    path = write(tmp_path / "a.parquet", pa.table({"id": ["1", "2", "3"], "text": raw}))
    records, (rejected,) = read(path)
    assert [record.id for record in records] == ["1", "3"]
    assert (rejected.line, rejected.reason) == (2, "text is not UTF-8: byte 0xe9.")


def test_metadata_as_our_own_records_have_it(tmp_path: Path) -> None:
    rows = [{"id": "1", "metadata": {"lang": "en", "year": None}}, {"id": "2", "metadata": None}]
    records, _ = read(write(tmp_path / "a.parquet", pa.Table.from_pylist(rows)))
    assert [record.metadata for record in records] == [{"lang": "en"}, {}]


def test_damaged_files(tmp_path: Path) -> None:
    table = pa.table({"id": [str(n) for n in range(5_000)], "text": ["t" * 50] * 5_000})
    whole = write(tmp_path / "whole.parquet", table, row_group_size=1_000, compression="none",
                  use_dictionary=False, write_page_checksum=True).read_bytes()  # fmt: skip
    path = tmp_path / "a.parquet"
    for data in (
        b"",
        b"PAR1",
        whole[: len(whole) // 2],
        whole[:-4],
        b"x" * 100,
        whole[:-5] + b"\xff" * 5,
    ):
        path.write_bytes(data)
        with pytest.raises(BadInput, match=r"a\.parquet cannot be read: "):
            read(path)
    holed = bytearray(whole)
    holed[len(whole) // 2 : len(whole) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(holed)
    records, rejected = read(path)
    assert 1_000 <= len(records) < 5_000  # what lies before the damage
    assert rejected[-1].line == len(records) + len(rejected)
    assert all(r.reason.isprintable() for r in rejected)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="does not exist"):
        contents(tmp_path / "none.parquet", SourceOptions())
    with pytest.raises(BadInput, match=r"it has no \.parquet file"):
        contents(tmp_path, SourceOptions())
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(BadInput, match="not a regular file"):
        contents(tmp_path, SourceOptions())
    with pytest.raises(UsageError, match="which column is the id"):
        contents(write(tmp_path / "a.parquet", {"key": ["a"]}), SourceOptions())
    with pytest.raises(BadInput, match="contains no documents: it is empty"):
        read(write(tmp_path / "b.parquet", pa.table({"id": pa.array([], pa.string())})))


def test_datasets_saved_to_disk(tmp_path: Path) -> None:
    import datasets

    rows = {"id": ["a", "b", "c"], "text": ["One.", "Two.", "Three."]}
    pictures = [{"bytes": RED, "path": None}, None, None]
    features = datasets.Features(
        {"id": datasets.Value("string"), "text": datasets.Value("string"),
         "image": datasets.Image()}
    )  # fmt: skip
    saved = datasets.Dataset.from_dict({**rows, "image": pictures}, features)
    saved.select([2, 0]).save_to_disk(tmp_path / "one")
    assert is_dataset(tmp_path / "one")
    (third, first), rejected = read(tmp_path / "one")
    assert [(r.id, r.text, r.images, r.line) for r in (third, first)] == [
        ("c", "Three.", (), 1),
        ("a", "One.", (RED,), 2),
    ]
    assert not rejected
    splits = datasets.DatasetDict(train=saved.select([0]), test=saved.select([1]))
    splits.save_to_disk(tmp_path / "two")
    assert [record.id for record in read(tmp_path / "two")[0]] == ["a", "b"]
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(BadInput, match="one cannot be read: "):
        read(tmp_path / "one")
