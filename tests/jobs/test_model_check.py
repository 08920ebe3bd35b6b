"""A model is judged by its small files and the headers of its weights, before it is downloaded."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from model_hub import Fault, Hub, running, use_hub
from safetensors.torch import load_file, save_file

from rag_vqa.checkpoints import embedded_model
from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.hub.model_cache import find_snapshot, is_available
from rag_vqa.jobs.model_check import ModelCheck, check_models

READER, RETRIEVER = embedded_model("reader"), embedded_model("retriever")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(READER, root / "owner" / "reader")
    shutil.copytree(RETRIEVER, root / "owner" / "ret")
    return root


@pytest.fixture
def hub(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running(served) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded reader, to be damaged."""
    return Path(shutil.copytree(READER, tmp_path / "model"))


def check(name: object) -> ModelCheck:
    (found,) = check_models(str(name))
    return found


def problem(name: object) -> str:
    found = check(name)
    assert not found.good
    return found.findings[-1].detail


@pytest.mark.parametrize(("name", "role"), [("owner/reader", "reader"), ("owner/ret", "retriever")])
def test_a_model_of_the_hub_by_its_headers_alone(hub: Hub, name: str, role: str) -> None:
    found = check(name)
    assert found.good, found.findings
    assert found.role == role
    weights = (READER if role == "reader" else RETRIEVER) / "model.safetensors"
    assert found.size == weights.stat().st_size
    assert hub.sent("/cdn/*") < found.size / 10
    assert not is_available(name)
    snapshot = find_snapshot(name)
    assert snapshot is not None
    assert not any(snapshot.glob("*.safetensors"))


def test_a_server_that_ignores_ranges_is_not_read_to_the_end(hub: Hub) -> None:
    hub.faults.append(Fault("whole", path="/cdn/*"))
    assert check("owner/reader").good


def test_an_unreachable_hub_is_no_judgement(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.append(Fault("status", status=503))
    with pytest.raises(Missing, match="out of order"):
        check("owner/reader")
    with pytest.raises(Missing, match="network is off"):
        check_models("owner/reader", offline=True)


def test_the_numbers_are_counted(folder: Path) -> None:
    found = check(folder)
    assert found.good
    numbers = sum(each.numel() for each in load_file(folder / "model.safetensors").values())
    assert f"{numbers / 1e6:,.1f} million F16" in found.findings[0].detail


def test_a_file_that_was_cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "was cut or is damaged: its header describes" in problem(folder)
    file.write_bytes(b"<html>")
    assert "is no safetensors file, or was cut: it has 6 bytes" in problem(folder)


def test_a_header_that_lies(folder: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}
    raw = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(8))
    assert "has a damaged header (the place of a)" in problem(folder)


def test_a_shard_that_is_missing(folder: Path) -> None:
    names = ["one.safetensors", "two.safetensors"]
    (folder / "model.safetensors").rename(folder / names[0])
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "1 of 2 files of weights are missing: two.safetensors" in problem(folder)


def test_tensors_that_are_missing_or_of_another_shape(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    last = max(tensors)
    rest = {name: tensor for name, tensor in tensors.items() if name != last}
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lack 1 tensors of LlavaForConditionalGeneration" in problem(folder)
    wrong = {**rest, last: torch.zeros(3, 3)}
    save_file(wrong, folder / "model.safetensors", metadata={"format": "pt"})
    assert not check(folder).good


def test_pickled_weights_and_gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Missing, match="only pickled ones"):
        check(folder)
    (folder / "pytorch_model.bin").rename(folder / "model-q4.gguf")
    with pytest.raises(Missing, match=r"as GGUF.*--server"):
        check(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "nobodys", "auto_map": {"AutoModel": "x.Y"}}, "brings code of its own"),
        ({"model_type": "nobodys"}, "no class of the installed transformers. A newer version"),
        ({"model_type": "bert"}, "bert"),
    ],
)
def test_classes_that_cannot_be_read(folder: Path, change: dict[str, object], reason: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    assert reason in problem(folder)


def test_a_model_without_a_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert "has no chat template" in problem(folder)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no config\.json"):
        check(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(RagVqaError, match="is damaged"):
        check(tmp_path)
    with pytest.raises(Missing, match="there is no such folder"):
        check(tmp_path / "nowhere")
