"""Files of a reader's model: its name in records, its processor, and code that is not run."""

from pathlib import Path

import pytest

from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import Missing, ReaderError
from rag_vqa.readers.model_loading import (
    checkpoint_digest,
    load_model,
    model_record_name,
)
from rag_vqa.readers.refusals import translate_loading_errors


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


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("'str' object has no attribute 'content'"),
        TypeError("'int' object is not iterable"),
        AssertionError("N must be divisible by block_n."),
        RuntimeError("size mismatch for weight"),
        IndexError(),
    ],
)
def test_no_error_of_another_library_leaves_loading(error: Exception) -> None:
    with (
        pytest.raises(ReaderError, match=r"org/model cannot be loaded") as found,
        translate_loading_errors("org/model", offline=True),
    ):
        raise error
    message = str(found.value)
    assert (str(error).rstrip(".") or "IndexError") + ". Its files" in message
    assert "--server" in message


def test_our_own_errors_pass() -> None:
    with (
        pytest.raises(Missing, match="as it was"),
        translate_loading_errors("org/model", offline=True),
    ):
        raise Missing("as it was")


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_class_without_a_language_model_of_its_own_is_not_quantised(quantization) -> None:
    import torch
    from transformers import BlipConfig

    with pytest.raises(ReaderError, match=r"blip models .* --quantization none"):
        load_model("no/folder", BlipConfig(), quantization, "cpu", torch.float32)


def test_parts_that_a_class_holds_itself_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import Llama4Config

    from rag_vqa.readers import model_loading

    small = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 1, "vocab_size": 99}
    config = Llama4Config(text_config=small, vision_config={"num_hidden_layers": 1})
    seen: list[list[str]] = []
    monkeypatch.setattr(
        model_loading, "_unpackable_layers", lambda _, skip: seen.append(skip) or []
    )
    made = model_loading._quantization_config(config, "nf4", torch.float32, "cpu")
    assert made.llm_int8_skip_modules == ["lm_head", "vision_model", "multi_modal_projector"]
