from pathlib import Path

import pytest

from rag_vqa.checkpoints import CHECKPOINTS
from rag_vqa.settings import load_settings

FOLDER = Path(__file__).parents[2] / "examples" / "reproduce"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_row_of_a_published_table_is_a_file_of_settings(file: Path) -> None:
    settings = load_settings(file=file, environment={})
    assert settings.retriever.model in CHECKPOINTS
    assert settings.retriever.index == "exact"
    assert (
        f"examples/reproduce/{file.name}" in (FOLDER.parents[1] / "docs/reproduce.md").read_text()
    )


def test_answers_are_short_ones_of_the_reader_that_was_published() -> None:
    settings = load_settings(file=FOLDER / "qwen2.5-vl-7b.yaml", environment={})
    assert settings.reader.model == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert (settings.reader.quantization, settings.reader.stop_at_newline) == ("none", True)
    assert settings.prompt.template == "short"
