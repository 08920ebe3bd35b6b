"""Damaged tables: no error but ours, no hang, little memory."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mutation import check_mutations, mutate_zip

from rag_vqa.errors import BadInput, UsageError
from rag_vqa.formats.source import open_source

pytestmark = pytest.mark.nightly

FRAME = pd.DataFrame(
    {
        "id": [f"id-{number}" for number in range(40)],
        "text": [f'Größe {number}, "quoted"\nand more; ünd | so' for number in range(40)],
        "n": range(40),
        "x": [number / 7 for number in range(40)],
        "day": pd.date_range("1998-05-01", periods=40),
        "tags": [["a", "b"], None] * 20,
    }
)
ROWS = FRAME.assign(day=FRAME.day.astype(str)).to_dict("records")
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def workbook() -> bytes:
    buffer = io.BytesIO()
    FRAME.drop(columns="tags").to_excel(buffer)
    return buffer.getvalue()


FILES: dict[str, list[bytes]] = {
    "csv": [
        FRAME.to_csv().encode(),
        FRAME.to_csv(sep=";").encode("cp1252"),
        FRAME.to_csv(sep="\t").encode("utf-16"),
    ],
    "json": [
        json.dumps(ROWS).encode(),
        json.dumps({"data": ROWS}, indent=1, ensure_ascii=False).encode(),
        FRAME.to_json().encode(),
        FRAME.to_json(orient="split").encode(),
    ],
    "jsonl": [LINES.encode(), LINES.encode("utf-16")],
    "xlsx": [workbook()],
    "parquet": [FRAME.to_parquet(row_group_size=10), FRAME.to_parquet(compression=None)],
}
TOKENS = (b'"', b"\\", b"\0", b"[" * 50, b"{", b",", b"\r", b"1e999", b"\xff\xfe", b"9" * 5_000)


def reading(folder: Path, kind: str) -> Callable[[bytes], None]:
    def work(data: bytes) -> None:
        path = folder / f"a.{kind}"
        path.write_bytes(data)
        for _ in open_source(path, on_reject=lambda _: None).records():
            pass

    return work


@pytest.mark.parametrize("kind", FILES)
def test_mutated_files(tmp_path: Path, kind: str) -> None:
    ends = check_mutations(
        reading(tmp_path, kind),
        FILES[kind],
        1_000,
        (BadInput, UsageError),
        tokens=TOKENS,
        mutator=mutate_zip if kind == "xlsx" else None,
    )
    assert ends["done"] > 100
