"""Nothing is downloaded before its size and licence are shown and someone agrees."""

import io
import json
import sys

import pytest
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import Missing
from rag_vqa.jobs.download_consent import ask_before_download, is_available

MODELS = [("Qwen/Qwen2.5-VL-3B-Instruct", None)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def ask(monkeypatch, says: str, *, yes: bool = False) -> str:
    err = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(says))
    monkeypatch.setattr(sys, "stderr", err)
    ask_before_download(MODELS, CommandContext(), offline=False, yes=yes)
    return err.getvalue()


def test_asks_once_and_says_size_and_non_commercial_first(online, monkeypatch) -> None:
    said = ask(monkeypatch, "y\n")
    assert said.index("7.5 GB") < said.index("[y/N]")
    assert said.index("NON-COMMERCIAL") < said.index("[y/N]")
    assert said.count("[y/N]") == 1


def test_what_downloads_shows_bars(online, monkeypatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    bars = sys.modules["huggingface_hub.utils.tqdm"]  # its package has a class of this name
    monkeypatch.setattr(bars, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    disable_progress_bars()
    try:
        with pytest.raises(Missing):
            ask(monkeypatch, "n\n")
        assert are_progress_bars_disabled()
        ask(monkeypatch, "y\n")
        assert not are_progress_bars_disabled()
    finally:
        enable_progress_bars()


def test_no_is_no(online, monkeypatch) -> None:
    for says in ("n\n", "\n", ""):
        with pytest.raises(Missing, match="not downloaded"):
            ask(monkeypatch, says)


def test_yes_still_says_the_terms(online, monkeypatch) -> None:
    said = ask(monkeypatch, "", yes=True)
    assert "NON-COMMERCIAL" in said
    assert "[y/N]" not in said


def test_nobody_to_ask_names_the_command(online, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(Missing, match="--yes"):
        ask_before_download(MODELS, CommandContext(), offline=False, yes=False)
    assert "7.5 GB" in capsys.readouterr().err


def test_offline_is_missing_even_with_yes(online, monkeypatch) -> None:
    with pytest.raises(Missing, match="network is off"):
        ask_before_download(MODELS, CommandContext(), offline=True, yes=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Missing, match="network is off"):
        ask_before_download(MODELS, CommandContext(), offline=False, yes=True)


def test_what_is_here_is_not_asked_about(tmp_path) -> None:
    ask_before_download(
        [("demo", None), (str(tmp_path), None)], CommandContext(), offline=True, yes=False
    )


def test_a_cached_model_counts_only_when_all_its_shards_are_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: str(tmp_path))
    assert not is_available("a/b")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "one.safetensors").write_text("")
    assert is_available("a/b")
    index = {"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_available("a/b")
    (tmp_path / "two.safetensors").write_text("")
    assert is_available("a/b")


def test_of_a_retrievers_clip_only_tokenizer_and_image_processor_are_wanted(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert not is_available("openai/clip-vit-large-patch14")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert is_available("openai/clip-vit-large-patch14")
    assert not is_available("aimagelab/ReT-CLIP-ViT-L-14")


def test_a_retrievers_tokenizer_is_asked_for_with_it(online, monkeypatch) -> None:
    from rag_vqa.jobs.models import check_models
    from rag_vqa.settings import load_settings

    ret = ("aimagelab/ReT-OpenCLIP-ViT-H-14", None)
    clip = ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", None)
    asked = []
    monkeypatch.setattr(
        "rag_vqa.jobs.models.ask_before_download",
        lambda models, reporter, **_: asked.append(models),
    )
    check_models([ret], load_settings(environment={}))
    one = {"tokenizer": "a/b"}
    check_models([ret], load_settings({"retriever": one}, environment={}))
    both = {"tokenizer": "a/b", "image_processor": "a/b"}
    check_models([ret], load_settings({"retriever": both}, environment={}))
    check_models([ret], load_settings(environment={}), built_with=both)
    check_models([("demo", None)], load_settings(environment={}))
    assert asked == [[ret, clip], [ret, clip], [ret], [ret], [("demo", None)]]


def test_a_name_that_is_neither_folder_nor_id() -> None:
    assert not is_available("not a valid/hub/id")
    assert not is_available("nobody/nothing")
