"""docs/training.md has every setting of a training, with its default, and no other."""

import re
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from rag_vqa.retriever.training.training_settings import CHANGEABLE, TrainingPlan, TrainSettings
from rag_vqa.settings import setting_keys

SOURCES = ("data.train.", "data.validation.")  # told under "Data"


def default(key: str) -> Any:
    kind: type[BaseModel] = TrainSettings
    *sections, name = key.split(".")
    for section in sections:
        given = kind.model_fields[section].annotation
        kind = next(k for k in (given, *get_args(given)) if hasattr(k, "model_fields"))
    field = kind.model_fields[name]
    return "–" if field.is_required() else field.get_default(call_default_factory=True)


def test_the_table_of_the_page(root: Path) -> None:
    page = (root / "docs" / "training.md").read_text("utf-8")
    table = page.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", table, re.M))
    wanted = {
        key: str(default(key)).lower()
        for key in setting_keys(TrainSettings)
        if not key.startswith(SOURCES)
    }
    assert rows == wanted


def test_the_loop_s_plan_is_part_of_the_tree() -> None:
    assert set(TrainingPlan.__dataclass_fields__) <= set(TrainSettings.model_fields)


def test_what_no_weight_depends_on_is_no_part_of_the_identity() -> None:
    tree = {"out": "a", "start": "demo", "data": {"train": [{"format": "flags"}]}, "steps": 3}
    told = TrainSettings.model_validate(tree)
    other = {**tree, "out": "b", "save_every": 7, "data": {**tree["data"], "workers": 2}}  # type: ignore[dict-item]
    assert told.identity() == TrainSettings.model_validate(other).identity()
    changed = TrainSettings.model_validate({**tree, "steps": 4})
    assert told.identity() != changed.identity()
    assert all(key in setting_keys(TrainSettings) for key in CHANGEABLE)
