"""JSON files that are no JSONL, as pandas, json and web services write them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats import json_stream
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formats.json_records import holds_records
from rag_vqa.formats.source import Source, open_source

RECORDS: list[dict[str, Any]] = [
    {"id": "a", "text": "Öl auf Holz.", "year": 1650, "tags": ["oil", "wood"]},
    {"id": "b", "text": "Two.", "year": None, "tags": []},
]
FRAME = pd.DataFrame(RECORDS).drop(columns="tags")


def write(folder: Path, data: Any, name: str = "docs.json") -> Path:
    path = folder / name
    if not isinstance(data, bytes | str):
        data = json.dumps(data, ensure_ascii=False)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(path: Path, **options: Any) -> tuple[list[Record], list[Rejected], Source]:
    rejected: list[Rejected] = []
    source = open_source(path, on_reject=rejected.append, **options)
    return list(source.records()), rejected, source


def summary(records: list[Record]) -> list[tuple[str, str, Any]]:
    return [(record.id, record.text, record.metadata.get("year")) for record in records]


EXPECTED = [("a", "Öl auf Holz.", 1650), ("b", "Two.", None)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)
SHAPES: dict[str, Any] = {
    "array": RECORDS,
    "array of one line each": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "indented": json.dumps(RECORDS, indent=2),
    "indented objects": "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "objects without a line break": "".join(map(json.dumps, RECORDS)),
    "lines": LINES,
    "within an object": {"version": 2, "data": RECORDS},
    "within an object, indented": json.dumps({"count": 2, "documents": RECORDS}, indent=1),
    "of several arrays": {"docs": RECORDS, "queries": [{"id": "q", "text": "?"}]},
    "two levels down": {"responseHeader": {"status": 0}, "response": {"docs": RECORDS}},
    "only two levels down": {"result": {"records": RECORDS}},
    "by id": {record["id"]: {k: v for k, v in record.items() if k != "id"} for record in RECORDS},
    "by number": {"0": RECORDS[0], "1": RECORDS[1]},
    "columns as lists": {k: [record[k] for record in RECORDS] for k in ("id", "text", "year")},
    "rows below names": [["id", "text", "year"], ["a", "Öl auf Holz.", 1650], ["b", "Two.", None]],
    "pandas records": FRAME.to_json(orient="records"),
    "pandas lines": FRAME.to_json(orient="records", lines=True),
    "pandas columns": FRAME.to_json(),
    "pandas index": FRAME.to_json(orient="index"),
    "pandas split": FRAME.to_json(orient="split"),
    "pandas table": FRAME.to_json(orient="table"),
    "pandas index of ids": FRAME.set_index("id").to_json(orient="index"),
    "utf-8-sig": json.dumps(RECORDS, ensure_ascii=False).encode("utf-8-sig"),
    "utf-16": json.dumps(RECORDS, ensure_ascii=False).encode("utf-16"),
    "cp1252": json.dumps(RECORDS, ensure_ascii=False).encode("cp1252"),
    "gzip": gzip.compress(json.dumps(RECORDS).encode()),
}


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES)
def test_shapes(tmp_path: Path, data: Any) -> None:
    records, rejected, _ = read(write(tmp_path, data))
    assert summary(records) == EXPECTED and not rejected
    assert all(set(record.metadata) <= {"year", "tags"} for record in records)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json.gz", "a", "A.JSON"])
@pytest.mark.parametrize("shape", ["array", "indented", "indented objects", "lines"])
def test_whatever_it_is_called(tmp_path: Path, name: str, shape: str) -> None:
    records, rejected, _ = read(write(tmp_path, SHAPES[shape], name))
    assert summary(records) == EXPECTED and not rejected


def test_one_document(tmp_path: Path) -> None:
    for kind, data in (("jsonl", RECORDS[0]), ("json", json.dumps(RECORDS[0], indent=4))):
        (record,), _, source = read(write(tmp_path, data))
        assert record.metadata == {"year": 1650, "tags": ("oil", "wood")}
        assert source.kind == kind and not holds_records(tmp_path / "docs.json")
    (record,), _, _ = read(write(tmp_path, {"id": "a", "text": "t", "parts": [{"n": 1}]}))
    assert record.left_out == {"parts": "nested"}


def test_what_holds_records(tmp_path: Path) -> None:
    for shape in ("array", "by id", "pandas columns", "two levels down", "indented objects"):
        assert holds_records(write(tmp_path, SHAPES[shape]))
    for data in ({"editor": {"size": 2}, "files": {"x": "y"}}, {"x": 1}, "{", "{}"):
        assert not holds_records(write(tmp_path, data))


def test_what_is_said(tmp_path: Path) -> None:
    said = {
        "within an object": "the documents are read from 'data' in the JSON file",
        "of several arrays": "read from 'docs' in the JSON file, without 'queries'",
        "two levels down": "read from 'response.docs'",
        "by id": "the keys of the records are read as 'id'",
        "by number": "only number them",
        "cp1252": "read as Windows-1252",
    }
    for shape, remark in said.items():
        _, _, source = read(write(tmp_path, SHAPES[shape]))
        assert remark in "\n".join(source.remarks)


def test_a_mapping(tmp_path: Path) -> None:
    records = [{"Nr": 7, "Name": "Vase", "Note": "Blue.", "file": ["p.jpg", "q.jpg"]}]
    mapping = {"id": ["nr"], "title": ["name"], "text": ["note"], "images": ["file"]}
    columns = {name: {"0": value} for name, value in records[0].items()}
    for data in (records, {"things": records}, records[0], columns):
        (record,), _, _ = read(write(tmp_path, data), mapping=mapping)
        assert (record.id, record.text) == ("7", "Blue.")
    with pytest.raises(UsageError, match="which column is the id"):
        read(write(tmp_path, records))


def test_keys_beside_ids(tmp_path: Path) -> None:
    (record,), _, _ = read(write(tmp_path, {"x-1": {"id": "a", "text": "One."}}))
    assert (record.id, record.metadata) == ("a", {"key": "x-1"})


def test_an_index_that_pandas_wrote_again(tmp_path: Path) -> None:
    frame = FRAME.assign(**{"Unnamed: 0": [4, 2]})
    for options in ({"orient": "records"}, {"orient": "records", "lines": True}):
        records, _, source = read(write(tmp_path, frame.to_json(**options)))
        assert summary(records) == EXPECTED and "Unnamed: 0" not in records[0].metadata
        assert "'Unnamed: 0' only numbers" in "".join(source.remarks)


def test_nan_is_absent(tmp_path: Path) -> None:
    (record,), _, _ = read(write(tmp_path, '[{"id": "a", "text": "t", "x": NaN, "y": 1.5}]'))
    assert record.metadata == {"y": 1.5}


def test_what_is_refused_costs_itself(tmp_path: Path) -> None:
    data = '[{"id": "a", "text": "One."}, 7, {"id": "b", "id": "c"}, {"text": "t"}, {"id": "d"}]'
    records, rejected, _ = read(write(tmp_path, data))
    assert [record.id for record in records] == ["a", "d"]
    assert [refused.line for refused in rejected] == [2, 3, 4]
    cut = json.dumps(RECORDS)[:-20]
    records, (refused,), _ = read(write(tmp_path, cut))
    assert [record.id for record in records] == ["a"]
    assert refused.line == 2 and "The rest of the file is not read" in refused.reason


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("[]", "contains no documents"),
        ("{}", "contains no documents"),
        ('{"data": []}', "contains no documents"),
        ("[1, 2]", "record 1 was refused: 1 is not an object"),
        ('[["a", "One."]]', "contains no documents"),
        ('{"a": [{"id": "1"}], "b": [{"id": "2"}]}', "several arrays: a, b"),
        ("[{", "not JSON"),
    ],
)
def test_a_file_of_no_documents(tmp_path: Path, data: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(write(tmp_path, data))


def test_arrays_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_BLOCK", 7)
    for shape, data in SHAPES.items():
        records, _, _ = read(write(tmp_path, data))
        assert summary(records) == EXPECTED, shape
