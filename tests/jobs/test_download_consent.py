"""Nothing is downloaded before its size and licence are shown and someone agrees."""

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_hub import Fault, Hub, running, use_hub, write_model

from rag_vqa.cli.context import CommandContext
from rag_vqa.errors import Missing, RagVqaError, UsageError
from rag_vqa.hub.model_cache import is_available
from rag_vqa.jobs import download_consent
from rag_vqa.jobs.download_consent import ask_before_download, pull_models, resolve_names

NON_COMMERCIAL = "Qwen/Qwen2.5-VL-3B-Instruct"
MODELS = [(NON_COMMERCIAL, None)]
RET, CLIP = "aimagelab/ReT-CLIP-ViT-L-14", "openai/clip-vit-large-patch14"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for id in (NON_COMMERCIAL, RET, CLIP):
        write_model(
            tmp_path / "served", id, config__json=b"{}", model__safetensors=b"w" * 3_000_000,
            tokenizer_config__json=b"{}", preprocessor_config__json=b"{}",
        )  # fmt: skip
    with running(tmp_path / "served") as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def ask(monkeypatch, says: str, *, yes: bool = False, quiet: bool = False) -> str:
    err = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(says))
    monkeypatch.setattr(sys, "stderr", err)
    ask_before_download(MODELS, CommandContext(quiet=quiet), offline=False, yes=yes)
    return err.getvalue()


def test_asks_once_and_says_size_and_non_commercial_first(hub: Hub, monkeypatch) -> None:
    said = ask(monkeypatch, "y\n")
    assert said.index("3 MB") < said.index("[y/N]")
    assert said.index("NON-COMMERCIAL") < said.index("[y/N]")
    assert said.count("[y/N]") == 1
    assert is_available(NON_COMMERCIAL)


def test_no_is_no(hub: Hub, monkeypatch) -> None:
    for says in ("n\n", "\n", ""):
        with pytest.raises(Missing, match="not downloaded"):
            ask(monkeypatch, says)
    assert hub.sent("/cdn/*") == 0


def test_yes_still_says_the_terms(hub: Hub, monkeypatch) -> None:
    said = ask(monkeypatch, "", yes=True)
    assert "NON-COMMERCIAL" in said
    assert "[y/N]" not in said


def test_quiet_and_yes_print_nothing(hub: Hub, monkeypatch) -> None:
    assert ask(monkeypatch, "", yes=True, quiet=True) == ""
    assert is_available(NON_COMMERCIAL)


def test_nobody_to_ask_names_the_command(hub: Hub, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(Missing, match="--yes"):
        ask_before_download(MODELS, CommandContext(), offline=False, yes=False)
    assert "3 MB" in capsys.readouterr().err


def test_offline_is_missing_even_with_yes(hub: Hub, monkeypatch) -> None:
    with pytest.raises(Missing, match="network is off"):
        ask_before_download(MODELS, CommandContext(), offline=True, yes=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Missing, match="network is off"):
        ask_before_download(MODELS, CommandContext(), offline=False, yes=True)
    assert hub.log == []


def test_a_hub_that_does_not_answer_is_named_before_any_question(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.append(Fault("status", status=503))
    with pytest.raises(Missing, match="The hub is out of order"):
        ask(monkeypatch, "y\n")


def test_a_preset_is_all_of_its_models_and_the_towers_processor() -> None:
    assert [model for model, _ in resolve_names(["laptop", "demo"])] == [
        RET,
        CLIP,
        "Qwen/Qwen3-VL-2B-Instruct",
    ]
    assert resolve_names(["owner/model@v1", "owner/model@v1"]) == [("owner/model", "v1")]


@pytest.mark.parametrize("name", ["nix", "a/b/c", "../x", "", "a/b@", "/tmp"])
def test_what_is_neither_preset_nor_model_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        resolve_names([name])


def test_a_retriever_brings_its_tokenizer_and_no_weights_of_it(hub: Hub) -> None:
    pulled = pull_models([RET])
    assert [(each.model, each.downloaded) for each in pulled] == [
        (RET, 3_000_006),
        (CLIP, 6),
    ]
    assert is_available(RET)
    assert is_available(CLIP)
    assert [each.downloaded for each in pull_models([RET])] == [0, 0]


def test_a_disk_without_room_is_named_before_the_download(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr(download_consent, "free_bytes", lambda folder: 202_000_000)
    with pytest.raises(RagVqaError, match=r"no room: 3 MB .* 1 MB are missing.*HF_HOME="):
        pull_models([NON_COMMERCIAL], yes=True)
    assert hub.sent("/cdn/*") == 0


def test_what_is_here_is_not_asked_about(tmp_path) -> None:
    ask_before_download(
        [("demo", None), (str(tmp_path), None)], CommandContext(), offline=True, yes=False
    )


def cached(model: str) -> Path:
    folder = Path(os.environ["HF_HUB_CACHE"]) / f"models--{model.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_cached_model_counts_only_when_all_its_shards_are_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = cached("a/b")
    assert not is_available("a/b")
    (folder / "config.json").write_text("{}")
    (folder / "one.safetensors").write_text("")
    assert is_available("a/b")
    index = {"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_available("a/b")
    (folder / "two.safetensors").write_text("")
    assert is_available("a/b")


def test_of_a_retrievers_clip_only_tokenizer_and_image_processor_are_wanted(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = cached(CLIP)
    (folder / "tokenizer_config.json").write_text("{}")
    assert not is_available(CLIP)
    (folder / "preprocessor_config.json").write_text("{}")
    assert is_available(CLIP)
    assert not is_available(RET)


def test_a_retrievers_tokenizer_is_asked_for_with_it(monkeypatch) -> None:
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
