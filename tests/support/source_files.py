"""Small sources of documents, one writer for each format; texts are those of the test."""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xlsxwriter
from pyarrow import parquet

Texts = Sequence[tuple[str, str]]


def lines(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def write_csv(folder: Path, texts: Texts) -> Path:
    with io.StringIO(newline="") as text:
        csv.writer(text).writerows([("id", "text"), *texts])
        (folder / "kb.csv").write_bytes(text.getvalue().encode())
    return folder / "kb.csv"


def write_json(folder: Path, texts: Texts) -> Path:
    records = [{"id": name, "text": text} for name, text in texts]
    (folder / "array.json").write_text(json.dumps(records, indent=1), "utf-8")
    return folder / "array.json"


def write_xlsx(folder: Path, texts: Texts) -> Path:
    with xlsxwriter.Workbook(folder / "kb.xlsx") as book:
        sheet = book.add_worksheet()
        for number, row in enumerate([("id", "text"), *texts]):
            for column, cell in enumerate(row):
                if sheet.write_string(number, column, cell) < 0:
                    raise ValueError("a cell has at most 32,767 characters")
    return folder / "kb.xlsx"


def write_folder(folder: Path, texts: Texts) -> Path:
    for name, text in texts:
        (folder / "in" / f"{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / f"{name}.txt").write_bytes(text.encode())
    return folder / "in"


def write_parquet(folder: Path, texts: Texts) -> Path:
    ids, bodies = zip(*texts, strict=True)
    parquet.write_table(pa.table({"id": ids, "text": bodies}), folder / "kb.parquet")
    return folder / "kb.parquet"


def write_webdataset(folder: Path, texts: Texts) -> Path:
    with tarfile.open(folder / "kb.tar", "w") as archive:
        for number, (name, text) in enumerate(texts):
            data = json.dumps({"id": name, "text": text}).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return folder / "kb.tar"


def write_evqa(folder: Path, texts: Texts) -> Path:
    pages = {
        name: {"title": "", "section_titles": [""], "section_texts": [text], "image_urls": [],
               "image_reference_descriptions": [], "image_section_indices": [], "url": name}
        for name, text in texts
    }  # fmt: skip
    (folder / "kb.json").write_text(json.dumps(pages), "utf-8")
    return folder / "kb.json"


def renamed(identity: str, text: str, **more: object) -> Callable[[Path, Texts], Path]:
    def write(folder: Path, texts: Texts) -> Path:
        records = [{identity: name, text: body, **more} for name, body in texts]
        return lines(folder / "kb.jsonl", records)

    return write


WRITERS: dict[str, Callable[[Path, Texts], Path]] = {
    "jsonl": renamed("id", "text"),
    "csv": write_csv,
    "json": write_json,
    "xlsx": write_xlsx,
    "folder": write_folder,
    "parquet": write_parquet,
    "evqa": write_evqa,
    "webdataset": write_webdataset,
    "wiki6m": renamed("wikidata_id", "wikipedia_content", wikipedia_title=""),
    "m2kr": renamed("passage_id", "passage_text", passage_image_path=None),
    "mbeir": renamed("did", "txt", img_path=None, modality="text", src_content=None),
}
