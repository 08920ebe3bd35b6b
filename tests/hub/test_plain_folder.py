"""Models travel as a plain folder to a machine without network, where every byte is checked."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_hub import Hub, running, use_hub, write_model

from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.hub.model_cache import find_snapshot, is_available
from rag_vqa.jobs.download_consent import read_models, write_models

ID = "owner/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = tmp_path / "served"
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "odd.safetensors"}}
    folder = write_model(
        served, ID, config__json=b"{}", tokenizer_config__json=b'{"a": 1}', pytorch_model__bin=b"p"
    )
    for name in index["weight_map"].values():
        (folder / name).write_bytes(name.encode() * 10_000)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_model(served, "owner/other", config__json=b"{}", model__safetensors=b"other")
    with running(served) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


@pytest.fixture
def stick(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder; from now on this is another machine, without network."""
    write_models([ID], tmp_path / "stick")
    write_models(["owner/other@main"], tmp_path / "stick")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other_home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.log.clear()
    return tmp_path / "stick"


def test_the_folder_holds_what_is_needed_and_serves_as_it_is(stick: Path) -> None:
    assert {path.name for path in (stick / ID).iterdir()} == {
        "config.json", "tokenizer_config.json", "model.safetensors.index.json",
        "model-00001-of-00002.safetensors", "odd.safetensors",
    }  # fmt: skip
    assert not any(path.is_symlink() for path in stick.rglob("*"))


def test_the_other_machine_finds_its_models(stick: Path, hub: Hub) -> None:
    assert not is_available(ID)
    pulled = read_models([], stick)
    assert [each.model for each in pulled] == [ID, "owner/other"]
    assert is_available(ID)
    assert is_available("owner/other")
    folder = find_snapshot(ID)
    assert folder is not None
    assert (folder / "odd.safetensors").read_bytes() == b"odd.safetensors" * 10_000
    assert (folder / "odd.safetensors").is_symlink()
    assert [each.downloaded for each in read_models([], stick)] == [0, 0]
    assert hub.log == []


def test_one_of_several_models(stick: Path) -> None:
    read_models(["owner/other"], stick)
    assert is_available("owner/other")
    assert not is_available(ID)
    with pytest.raises(Missing, match=r"has no owner/third\. It holds: owner/model, owner/other"):
        read_models(["owner/third"], stick)


def test_a_damaged_file_is_named_and_not_taken(stick: Path) -> None:
    file = stick / ID / "odd.safetensors"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(RagVqaError, match=r"odd\.safetensors is damaged: its hash"):
        read_models([], stick)
    assert not is_available(ID)


def test_a_file_that_was_not_copied_is_named(stick: Path) -> None:
    (stick / ID / "odd.safetensors").unlink()
    with pytest.raises(Missing, match=r"odd\.safetensors is missing\. Copy the whole folder"):
        read_models([], stick)


def test_a_folder_of_somebody_else(tmp_path: Path, stick: Path) -> None:
    with pytest.raises(Missing, match=r"has no models\.json.*--reader"):
        read_models([], tmp_path)
    shutil.copytree(stick, tmp_path / "cut")
    (tmp_path / "cut" / "models.json").write_text('{"models": [')
    with pytest.raises(RagVqaError, match=r"models\.json is damaged"):
        read_models([], tmp_path / "cut")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "../../out"), ("model", 3), ("commit", "../" * 13 + "x"), ("revision", "../x"),
        ("revision", "/etc/x"), ("files", [{"name": "a", "size": 1, "digest": "../x", "large": 1}]),
        ("files", [{"name": "../a", "size": 1, "digest": "0" * 64, "large": True}]),
    ],
)  # fmt: skip
def test_names_that_lead_out_of_the_cache_are_refused(stick: Path, name: str, value) -> None:
    content = json.loads((stick / "models.json").read_text())
    content["models"][0][name] = value
    (stick / "models.json").write_text(json.dumps(content))
    before = {path for path in stick.parent.rglob("*") if "other_home" not in path.parts}
    with pytest.raises(RagVqaError, match=r"damaged|outside of itself"):
        read_models([], stick)
    assert {p for p in stick.parent.rglob("*") if "other_home" not in p.parts} == before
