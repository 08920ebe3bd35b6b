"""Small question files, field for field as the benchmarks publish them; texts are invented.

InfoSeek: README of open-vision-language/infoseek. E-VQA: google-research, encyclopedic_vqa.
"""

import csv
import json
from pathlib import Path
from typing import Any

ASKED = {"data_id": "infoseek_val_00000000", "image_id": "oven_04990048",
         "question": "Who invented it?", "answer": ["Carnot"],
         "answer_eval": ["Carnot", "Sadi Carnot"],
         "data_split": "val_unseen_question"}  # fmt: skip
NUMBER = {"data_id": "infoseek_val_00000001", "image_id": "oven_05020405",
          "question": "How long is it?", "answer": ["90"],
          "answer_eval": [{"wikidata": 90.0, "range": [81.0, 99.0]}],
          "data_split": "val_unseen_entity"}  # fmt: skip
COLUMNS = ["question", "answer", "dataset_image_ids", "dataset_name", "dataset_category_id",
           "question_type", "wikipedia_url", "wikipedia_title", "evidence", "evidence_section_id",
           "evidence_section_title", "encyclopedic_vqa_split", "question_original",
           "wikipedia_url_used_in_train"]  # fmt: skip
LANDMARK = "0a1b2c3d4e5f6789"


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"looked at by name only")
    return path


def infoseek(folder: Path, *asked: dict[str, Any]) -> Path:
    kinds = {ASKED["data_id"]: "String", NUMBER["data_id"]: "Numerical"}
    lines(folder / "infoseek_val.jsonl", *asked)
    # In another order than the questions: they are joined by id.
    lines(folder / "infoseek_val_qtype.jsonl",
          *({"data_id": k, "question_type": v} for k, v in reversed(kinds.items())))  # fmt: skip
    lines(folder / "infoseek_val_withkb.jsonl",
          *({"data_id": k, "entity_id": f"Q{n}", "entity_text": "x"}
            for n, k in enumerate(kinds)))  # fmt: skip
    return folder


def evqa(folder: Path, *changes: dict[str, str]) -> Path:
    base = dict.fromkeys(COLUMNS, "") | {
        "question": " Who built it? ", "answer": "Ann|Ann Lee",
        "dataset_image_ids": f"{LANDMARK}|x",
        "dataset_name": "landmarks", "question_type": "automatic", "evidence_section_id": "2",
        "wikipedia_url": "https://w/a", "encyclopedic_vqa_split": "test"}  # fmt: skip
    with (folder / "test.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows({**base, **change} for change in changes)
    return folder
