"""What a folder is as a source: one table, parts of one, documents, or more than one thing."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.document import Record, Rejected
from rag_vqa.formats.source import Source, open_source

TABLE = "id,text,image\n{0},Object {0}.,{0}.png\n"


def make(root: Path, **files: str | bytes) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def write_parquet(path: Path, **columns: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)


def read(path: Path, kind: str = "auto", **options: Any) -> tuple[Source, dict[str, Record]]:
    source = open_source(path, kind, **options)
    records = list(source.records())
    assert len({record.id for record in records}) == len(records)
    return source, {record.id: record for record in records}


def test_a_table_beside_its_pictures(tmp_path: Path) -> None:
    files = {"list.csv": TABLE.format("a"), "a.png": b"1", "b.png": b"2", "README.md": "About."}
    make(tmp_path, **files, **{"LICENSE.txt": "CC0", "notes.txt": "x", ".DS_Store": "x"})
    source, found = read(tmp_path)
    assert source.kind == "csv" and found["a"].images == (tmp_path.resolve() / "a.png",)
    assert "read: list.csv" in source.remarks
    assert set(read(tmp_path, "folder")[1]) == {"README", "LICENSE", "notes", "a", "b"}


def test_parts_of_one_table(tmp_path: Path) -> None:
    make(tmp_path, **{f"part-{n:04}.csv": TABLE.format(f"p{n}") for n in range(3)})
    source, found = read(tmp_path)
    assert list(found) == ["p0", "p1", "p2"]
    assert source.remarks[0] == "read as one: 3 files, part-0000.csv, part-0001.csv, part-0002.csv"


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl", "validation.jsonl"),
        ("train/metadata.jsonl", "test/metadata.jsonl"),
        ("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"),
        ("objects_1.jsonl", "objects_2.jsonl"),
        ("000.jsonl.gz", "001.jsonl.gz"),
    ],
)
def test_names_of_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    import gzip

    for name in names:
        data = json.dumps({"id": name, "text": "x"}).encode()
        make(tmp_path, **{name: gzip.compress(data) if name.endswith("gz") else data})
    make(tmp_path, **{"README.md": "# Card", "dataset_infos.json": "{}"})
    assert set(read(tmp_path)[1]) == set(names)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["2023.csv", "2024.jsonl"], ["2023.csv (csv)", "2024.jsonl (jsonl)", "--kind csv"]),
        (["objects-2023.csv", "objects-2024.csv"], ["objects-2023.csv", "objects-2024.csv"]),
        (["corpus.jsonl", "queries.jsonl"], ["corpus.jsonl", "queries.jsonl"]),
        (["export.csv", "export (1).csv"], ["export.csv", "export (1).csv"]),
        (["en/train.csv", "de/train.csv"], ["de/train.csv", "en/train.csv"]),
        (["list.csv", "a.png", "a.txt"], ["list.csv (csv)", "1 text or document (folder)"]),
        (["list.csv", *(f"{n}.md" for n in range(4))], ["4 texts and documents (folder)"]),
    ],
)
def test_several_sources_are_named(tmp_path: Path, files: list[str], named: list[str]) -> None:
    for name in files:
        data = {"csv": TABLE.format("a"), "jsonl": '{"id": "a", "text": "x"}\n'}
        make(tmp_path, **{name: data.get(name.rpartition(".")[2], "text")})
    with pytest.raises(UsageError, match="contains several possible sources") as raised:
        open_source(tmp_path)
    for name in named:
        assert name in str(raised.value)


def test_the_kind_says_which(tmp_path: Path) -> None:
    make(tmp_path, **{"2023.csv": TABLE.format("a"), "2024.jsonl": '{"id": "b", "text": "x"}\n'})
    assert set(read(tmp_path, "csv")[1]) == {"a"} and set(read(tmp_path, "jsonl")[1]) == {"b"}
    make(tmp_path, **{"2025.csv": TABLE.format("c")})
    assert set(read(tmp_path, "csv")[1]) == {"a", "c"}
    make(tmp_path, **{"other.csv": "id,title\nd,x\n"})
    with pytest.raises(UsageError, match=r"other\.csv has other columns than 2023\.csv"):
        read(tmp_path, "csv")
    with pytest.raises(BadInput, match=r"no \.parquet file"):
        read(tmp_path, "parquet")


def test_tables_below_documents_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, **{"a.png": b"1", "a.txt": "A vase.", "old/list.csv": TABLE.format("x")})
    source, found = read(tmp_path)
    assert source.kind == "folder" and set(found) == {"a"}
    assert any("left out" in line and ".csv" in line for line in source.findings())


def test_a_table_in_a_subfolder_is_the_source_if_there_is_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, **{"export/list.csv": TABLE.format("a"), "export/a.png": b"1"})
    make(tmp_path, **{"photos/b.png": b"2"})
    make(tmp_path, **{"export/list.csv": TABLE.format("a") + "b,Object b.,photos/b.png\n"})
    root = tmp_path.resolve()
    _, found = read(tmp_path)
    assert found["a"].images == (root / "export/a.png",)
    assert found["b"].images == (root / "photos/b.png",)  # named from the folder of the source


def test_parquet_of_one_folder_is_one_source(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", id=["1"], text=["One."], year=[1900])
    write_parquet(tmp_path / "b.parquet", year=[1901], text=["Two."], id=["2"])
    write_parquet(tmp_path / "c.parquet", id=["3"], text=["Three."], maker=["Ada"], year=[1])
    make(tmp_path, **{"_SUCCESS": "", ".part.crc": "x"})
    source, found = read(tmp_path)
    assert {i: r.metadata for i, r in found.items()} == {
        "1": {"year": 1900}, "2": {"year": 1901}, "3": {"year": 1, "maker": "Ada"},
    }  # fmt: skip
    assert set(source.metadata) == {"year", "maker"}
    write_parquet(tmp_path / "q.parquet", id=["9"], question=["?"], answer=["!"], kind=["x"])
    with pytest.raises(UsageError, match=r"q\.parquet has other columns than a\.parquet"):
        open_source(tmp_path)


def test_folders_that_are_a_column(tmp_path: Path) -> None:
    for folder, name in (
        ("year=2020", "a"),
        ("year=2021", "b"),
        ("year=__HIVE_DEFAULT_PARTITION__", "c"),
    ):
        write_parquet(tmp_path / folder / "part-00000.snappy.parquet", id=[name], text=["x"])
    write_parquet(tmp_path / "year=2022" / "site=S%C3%A3o" / "p.parquet", id=["d"], text=["x"])
    source, found = read(tmp_path)
    assert {i: r.metadata for i, r in found.items()} == {
        "a": {"year": 2020}, "b": {"year": 2021}, "c": {}, "d": {"year": 2022, "site": "São"},
    }  # fmt: skip
    assert set(source.metadata) == {"year", "site"}


def test_a_damaged_file_of_many_is_refused_alone(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", id=["1"], text=["One."])
    make(tmp_path, **{"b.parquet": b"PAR1 cut short"})
    rejected: list[Rejected] = []
    source = open_source(tmp_path, on_reject=rejected.append)
    assert [record.id for record in source.records()] == ["1"]
    assert len(rejected) == 1 and "b.parquet" in rejected[0].reason
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(BadInput, match=r"b\.parquet cannot be read"):
        open_source(tmp_path)


def test_image_folder(tmp_path: Path) -> None:
    rows = "file_name,text,species\n1.png,One.,A\n2.png,Two.,B\n"
    make(tmp_path, **{"metadata.csv": rows, "1.png": b"1", "2.png": b"2", "2.txt": "Also a text."})
    source, found = read(tmp_path)
    assert list(found) == ["1.png", "2.png"]
    assert found["1.png"].images == (tmp_path.resolve() / "1.png",)
    assert found["1.png"].metadata == {"species": "A"}
    assert any("file_name" in line for line in source.remarks)


def test_image_folder_with_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        make(tmp_path / split, **{"metadata.jsonl": '{"file_name": "1.png", "caption": "x"}\n'})
        make(tmp_path / split, **{"1.png": split.encode()})
    _, found = read(tmp_path)
    assert {i: r.images for i, r in found.items()} == {
        f"{split}/1.png": (tmp_path.resolve() / split / "1.png",) for split in ("train", "test")
    }


def test_image_folder_with_ids(tmp_path: Path) -> None:
    make(tmp_path, **{"metadata.csv": "file_name,id,text\n1.png,a,One.\n", "1.png": b"1"})
    assert set(read(tmp_path)[1]) == {"a"}


def test_classes_in_folders_are_a_folder_of_pictures(tmp_path: Path) -> None:
    make(tmp_path, **{"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    source, found = read(tmp_path)
    assert source.kind == "folder" and set(found) == {"cat/1", "dog/1"}


def test_a_knowledge_base_and_packed_files_are_no_source(tmp_path: Path) -> None:
    make(tmp_path / "o.kb", **{"kb.sqlite": "x"})
    with pytest.raises(UsageError, match="is a knowledge base, not a source"):
        open_source(tmp_path / "o.kb")
    make(tmp_path / "packed", **{"train.zip": b"PK"})
    with pytest.raises(UsageError, match=r"packed files \(train\.zip\)"):
        open_source(tmp_path / "packed")


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    make(tmp_path, **{"a.parquet": pointer, "b.csv": pointer})
    with pytest.raises(BadInput, match="git lfs pull"):
        open_source(tmp_path / "b.csv")


def test_descriptions_beside_pictures_are_no_tables(tmp_path: Path) -> None:
    """What Google Takeout writes beside each photograph, and a program's configuration."""
    make(tmp_path, **{"a.jpg": b"1", "a.jpg.json": '{"title": "a"}', "config.json": '{"x": 1}'})
    make(tmp_path, **{"settings.json": '{"x": 1}'})
    assert read(tmp_path)[0].kind == "folder"
