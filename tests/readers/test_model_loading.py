"""Files of a reader's model: its name in records, its processor, and code that is not run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import ReaderError
from rag_vqa.readers.model_loading import checkpoint_digest, load_processor, model_record_name


def test_a_hub_id_has_its_commit_and_a_folder_a_digest(tmp_path: Path) -> None:
    assert model_record_name("org/model", "abc", "nf4") == "org/model@abc+nf4"
    assert model_record_name("org/model", None, "none") == "org/model+none"
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x" * 3_000_000)
    assert model_record_name(str(folder), None, "nf4") == f"mine@{checkpoint_digest(folder)}+nf4"
    assert str(tmp_path) not in model_record_name(str(folder), None, "nf4")


def test_other_weights_are_another_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    found = set()
    for data in (b"a" * 10, b"a" * 11, b"a" * 9 + b"b", b"b" + b"a" * 9):
        weights.write_bytes(data)
        found.add(checkpoint_digest(tmp_path))
    (tmp_path / "config.json").write_text('{"a": 1}')
    found.add(checkpoint_digest(tmp_path))
    assert len(found) == 5


def test_the_embedded_reader_is_called_demo() -> None:
    assert model_record_name(model_source(EMBEDDED, "reader"), None, "nf4").startswith("demo@")


def test_code_beside_a_model_is_not_run(
    qwen_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family with a video part whose configuration does not name its tokenizer's class.

    There transformers would ask whether to run the checkpoint's code, and this test answers yes.
    """
    from transformers import LlavaOnevisionConfig

    folder, ran = tmp_path / "planted", tmp_path / "ran"
    shutil.copytree(qwen_folder, folder)
    config = LlavaOnevisionConfig()
    config.save_pretrained(folder)
    code = f"open({str(ran)!r}, 'w').close()\nclass Planted: pass\n"
    (folder / "planted.py").write_text(code)
    maps: dict[str, dict[str, Any]] = {
        "tokenizer_config.json": {"AutoTokenizer": [None, "planted.Planted"]},
        "preprocessor_config.json": {"AutoImageProcessor": "planted.Planted"},
        "processor_config.json": {"AutoProcessor": "planted.Planted"},
    }
    for name, auto_map in maps.items():
        file = folder / name
        stated = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(stated | {"auto_map": auto_map}))
    tokenizer = folder / "tokenizer_config.json"
    stated = json.loads(tokenizer.read_text()) | {"tokenizer_class": "Planted"}
    tokenizer.write_text(json.dumps(stated))
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    with pytest.raises(ValueError, match="custom code"):
        load_processor(str(folder), config)
    assert asked == []
    assert not ran.exists()


def test_a_text_only_model_has_no_processor(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    with pytest.raises(ReaderError, match=r"llama.*image-text-to-text"):
        load_processor(str(tmp_path), LlamaConfig())


def test_a_model_without_chat_template_is_refused(qwen_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(qwen_folder, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ReaderError, match="no chat template"):
        load_processor(str(bare), AutoConfig.from_pretrained(bare))
