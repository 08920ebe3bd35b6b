"""The table of classes: the page says what the record holds, and the record what can be seen."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import transformers
from tiny_readers import FAMILIES
from transformers.models.auto import modeling_auto

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGE = (ROOT / "docs/model-classes.md").read_text("utf-8")
FOUND: dict[str, Any] = json.loads((BENCHMARKS / "results/model_classes.json").read_text("utf-8"))
SIGHTED, TEXTS = FOUND["image"], FOUND["text"]
sys.path.append(str(BENCHMARKS))
try:
    from model_classes_page import page, reason
finally:
    sys.path.remove(str(BENCHMARKS))


def test_the_page_is_made_from_the_record() -> None:
    assert page(FOUND) == PAGE


def test_every_class_stands_on_the_page_once_for_each_model_type() -> None:
    table, _, lists = PAGE.partition("## Text alone")
    rows = Counter(re.findall(r"^\| (\w+) \| (?!.*---)", table, re.M))
    del rows["class"]
    assert rows == Counter(row["class"] for row in SIGHTED.values())
    words = Counter(re.findall(r"\w+", lists))
    for name, count in Counter(row["class"] for row in TEXTS.values()).items():
        assert words[name] >= count, name


def test_the_record_holds_all_classes_that_transformers_maps() -> None:
    if FOUND["transformers"] != transformers.__version__:
        pytest.skip(f"the record is of transformers {FOUND['transformers']}")
    mapped = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    assert {kind: row["class"] for kind, row in SIGHTED.items()} == dict(mapped)
    others = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    assert set(TEXTS) == set(others) - set(mapped)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_the_book_names_were_seen(family: str) -> None:
    steps = ("loads", "one picture", "several pictures", "nf4", "int8")
    assert [SIGHTED[family].get(step) for step in steps] == [True, *["ok"] * 4]


def test_what_was_not_tried_is_not_seen() -> None:
    assert reason({"class": "A"}) == "not seen"
    assert reason({"class": "A", "images": "LookupError: needs torchvision"}) == "needs torchvision"
    assert "TypeError" in reason({"class": "A", "weights": "ok", "error": "TypeError: x"})
    empty = {"transformers": "1", "image": {"a": {"class": "A"}}, "text": {"b": {"class": "B"}}}
    assert "| A | not seen |" in page(empty)
    assert "**Not seen** (1): B." in page(empty)


@pytest.mark.slow
def test_three_classes_are_seen_again_as_the_record_says(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    chosen = {"image": ["llava", "qwen3_5"], "text": ["apertus"]}
    subprocess.run(
        [sys.executable, str(BENCHMARKS / "model_classes.py"), "--out", str(out),
         "--again", *chosen["image"], *chosen["text"]],
        check=True, timeout=500, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found = json.loads(out.read_text("utf-8"))
    for task, kinds in chosen.items():
        for kind in kinds:
            assert found[task][kind] == FOUND[task][kind]
