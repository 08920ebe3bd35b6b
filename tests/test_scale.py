"""docs/scale.md tells servers what the presets say."""

import json
import re
from pathlib import Path

import pytest

from rag_vqa.presets import PRESETS

SCALE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "demo"])
def test_the_command_for_vllm_has_the_limits_of_the_preset(name: str) -> None:
    found = re.search(rf"^# {name}\b.*\nvllm serve (\S+)(.*)$", SCALE, re.MULTILINE)
    assert found
    model, flags = found.groups()
    context = re.search(r"--max-model-len (\d+)", flags)
    images = re.search(r"--limit-mm-per-prompt '(.*?)'", flags)
    assert context and images
    preset = PRESETS[name]
    told = (model, int(context[1]), json.loads(images[1]))
    assert told == (preset.reader, preset.max_context, {"image": preset.max_images})
