"""M2KR, ReT-M2KR, M-BEIR and Wiki6M: which of their fields becomes which of ours.

Texts are invented. Fields of ReT-M2KR's passages: aimagelab/ReT, inference.py. Of M2KR's: the card
of BByrneLab/multi_task_multi_modal_knowledge_retrieval_benchmark_M2KR, EVQA_passages and
CC_passages. Of M-BEIR: TIGER-AI-Lab/UniIR and the card of TIGER-Lab/M-BEIR. Of Wiki6M: what
published readers of Wiki6M_ver_1_0.jsonl use; wikipedia_image_url was not seen.
"""

import gzip
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rag_vqa.errors import BadInput
from rag_vqa.eval.benchmarks import infoseek, m2kr, mbeir
from rag_vqa.formats.document import Contents, Record, Rejected, read_records

PASSAGE = {"passage_id": "WikiWeb_1", "passage_text": "A vase.", "passage_image_path": "a/v.jpg"}
CANDIDATE = {"did": "6:1", "txt": "A vase.", "img_path": "mbeir_images/v.jpg",
             "modality": "image,text", "src_content": None}  # fmt: skip
PAGE = {"wikidata_id": "Q806563", "wikipedia_title": "Vase", "wikipedia_summary": "A vase.",
        "wikipedia_content": "A vase. Blue.", "wikipedia_image_url": None}  # fmt: skip
FORMATS: dict[str, tuple[ModuleType, dict[str, Any], str]] = {
    "m2kr": (m2kr, PASSAGE, "passage_id"),
    "mbeir": (mbeir, CANDIDATE, "did"),
    "wiki6m": (infoseek, PAGE, "wikidata_id"),
}


def write(folder: Path, *records: Any, name: str = "kb.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def read(path: Path, found: Contents) -> tuple[list[Record], list[Rejected]]:
    rejected: list[Rejected] = []
    return list(read_records(found.items(), path, Path("/pictures"), rejected.append)), rejected


def opened(name: str, path: Path) -> Contents:
    found: Contents = infoseek.wikipedia_contents(path, None) if name == "wiki6m" else (
        FORMATS[name][0].contents(path)
    )  # fmt: skip
    return found


def test_passages_of_ret_m2kr(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        PASSAGE,
        {"passage_id": 7, "passage_text": None, "passage_image_path": "b.jpg"},
        {"passage_id": "c", "passage_text": "Text alone.", "passage_image_path": None},
    )
    records, rejected = read(path, m2kr.contents(path))
    assert not rejected
    assert [(r.id, r.text, r.images, r.line) for r in records] == [
        ("WikiWeb_1", "A vase.", (Path("/pictures/a/v.jpg"),), 1),
        ("7", "", (Path("/pictures/b.jpg"),), 2),  # ids are compared as strings
        ("c", "Text alone.", (), 3),
    ]


def test_passages_of_m2kr(tmp_path: Path) -> None:
    rows = {"language": ["en"], "passage_id": ["WikiWeb_1"], "passage_content": ["A vase."]}
    for folder in ("EVQA_passages", "CC_passages"):
        (tmp_path / folder).mkdir()
        more = {"img_path": ["v.jpg"]} if folder == "CC_passages" else {}
        path = tmp_path / folder / "test_passages-00000-of-00001.parquet"
        parquet.write_table(pa.table({**rows, **more}), path)
        for given in (path, path.parent):
            ((record,), _) = read(given, m2kr.contents(given))
            assert (record.id, record.text, record.images) == ("WikiWeb_1", "A vase.", ())
            assert record.metadata["language"] == "en"


def test_candidates_of_m_beir(tmp_path: Path) -> None:
    text = {
        **CANDIDATE,
        "did": "9:2",
        "img_path": None,
        "modality": "text",
        "src_content": {"a": 1},
    }
    path = write(tmp_path, CANDIDATE, text, {**CANDIDATE, "did": "9:3", "txt": None})
    found = mbeir.contents(path)
    assert (found.metadata, found.unknown) == (("modality",), ())
    records, rejected = read(path, found)
    assert not rejected
    image = (Path("/pictures/mbeir_images/v.jpg"),)
    assert [(r.id, r.text, r.images, r.metadata) for r in records] == [
        ("6:1", "A vase.", image, {"modality": "image,text"}),
        ("9:2", "A vase.", (), {"modality": "text"}),
        ("9:3", "", image, {"modality": "image,text"}),
    ]


def test_pages_of_wiki6m(tmp_path: Path) -> None:
    summary = {**PAGE, "wikidata_id": "Q42", "wikipedia_content": ""}
    title = {"wikidata_id": "Q7", "wikipedia_title": "Title only"}
    path = write(tmp_path, PAGE, summary, title)
    packed = tmp_path / "kb.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for given in (path, packed):
        records, rejected = read(given, infoseek.wikipedia_contents(given, None))
        assert not rejected
        assert [(r.id, r.title, r.text, r.images) for r in records] == [
            ("Q806563", "Vase", "A vase. Blue.", ()),
            ("Q42", "Vase", "A vase.", ()),
            ("Q7", "Title only", "", ()),
        ]


def test_a_page_of_wiki6m_has_its_picture_if_the_file_exists(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "Q806").mkdir(parents=True)
    (images / "Q806" / "Q806563.jpg").write_bytes(b"x")
    path = write(tmp_path, PAGE, {**PAGE, "wikidata_id": "Q42"}, {**PAGE, "wikidata_id": "../x"})
    records, _ = read(path, infoseek.wikipedia_contents(path, images))
    pictures = [record.images for record in records]
    assert pictures == [(Path("/pictures/Q806/Q806563.jpg"),), (), ()]


@pytest.mark.parametrize("name", FORMATS)
def test_bad_lines_and_unknown_fields(tmp_path: Path, name: str) -> None:
    _, good, key = FORMATS[name]
    without = {k: v for k, v in good.items() if k != key}
    bad = [without, {**good, key: None}, {**good, key: ["x"]}, [1], {**good, key: "a\0"}]
    path = write(tmp_path, good, *bad, {**good, key: "z", "new": 1})
    with path.open("ab") as file:
        file.write(b'{"' + key.encode() + b'": "y", "x": NaN}\n{"cut')
    found = opened(name, path)
    assert found.unknown == ("new", "x")
    records, rejected = read(path, found)
    assert [record.id for record in records] == [good[key], "z", "y"]
    assert [r.line for r in rejected] == [2, 3, 4, 5, 6, 9]
    said = [f"the id, {key}, is missing", f"the id, {key}, is missing", "not a text",
            "not an object", "NUL", "last line is cut"]  # fmt: skip
    assert all(part in r.reason for part, r in zip(said, rejected, strict=True))
    with pytest.raises(BadInput, match=r"kb\.jsonl, line 2: "):
        list(read_records(opened(name, path).items(), path, Path("/pictures")))
