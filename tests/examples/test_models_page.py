"""The commands of "Download models" in docs/models.md, against a hub on loopback.

The embedded models stand in for those of preset `laptop`: small, and they do read and answer.
"""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
from book_snippets import Snippet, snippets
from model_hub import running, use_hub

from rag_vqa.checkpoints import CHECKPOINTS, embedded_model
from rag_vqa.cli.app import run
from rag_vqa.presets import PRESETS

PAGE, MARK = "models.md", "run: tests/examples/test_models_page.py"
DOCUMENT = '{"id": "puffin", "title": "Atlantic puffin", "text": "It nests in burrows."}'


@pytest.fixture
def page(root: Path) -> list[Snippet]:
    return [each for each in snippets(root / "docs" / PAGE) if each.mark == MARK]


def serve_stand_ins(root: Path) -> dict[str, str]:
    """Folders for the models of the preset; returns the commits that the preset pins."""
    preset = PRESETS["laptop"]
    for model in preset.models:
        role = "reader" if model.id == preset.reader else "retriever"
        shutil.copytree(embedded_model(role), root / model.id)
    return {each.id: CHECKPOINTS[each.id].revision or "" for each in preset.models}


def test_the_commands_run(page, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("rag_vqa.cli.context.CommandContext.confirm", lambda self, question: True)
    Path("documents.jsonl").write_text(DOCUMENT + "\n")
    commits = serve_stand_ins(tmp_path / "served")
    first, to_folder, from_folder = page

    def run_all(snippet: Snippet) -> str:
        for words in snippet.commands:
            monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # --offline sets it for good
            assert run(words[1:]) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
        return capsys.readouterr().out

    with running(tmp_path / "served", commits={k: v for k, v in commits.items() if v}) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        assert "deleted Qwen/Qwen3-VL-2B-Instruct" in run_all(first)
        run_all(to_folder)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other machine"))  # the hub is gone
    assert "puffin" in run_all(from_folder).lower()
    assert (tmp_path / "other machine" / "models--Qwen--Qwen3-VL-2B-Instruct").is_dir()
