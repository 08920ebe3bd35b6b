"""Loading a reader's weights: what is refused, and which layers are quantised."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_vqa import memory
from rag_vqa.errors import Missing, ReaderError, UsageError
from rag_vqa.readers import model_loading
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.readers.model_loading import weight_bytes
from rag_vqa.types import Prompt, TextPart

PROMPTS = [
    Prompt((TextPart("What is it?"),)),
    Prompt((TextPart("No picture, and a longer text. " * 3, trusted=True),)),
]


def test_a_model_that_is_not_here() -> None:
    with pytest.raises(Missing, match=r"nobody/nothing: not on this machine, and the network"):
        LocalReader("nobody/nothing", offline=True)


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there(path: str) -> None:
    with pytest.raises(Missing, match="no folder"):
        LocalReader(path)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"config\.json"):
        LocalReader(tmp_path)


def test_pickled_weights_are_refused(llava_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(llava_folder, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04not looked at")
    with pytest.raises(Missing, match=r"pickled.*run code"):
        LocalReader(folder)


def test_damaged_weights(llava_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(llava_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ReaderError, match="damaged"):
        LocalReader(folder)


def test_a_damaged_configuration(llava_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(llava_folder, folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ReaderError, match="damaged"):
        LocalReader(folder)


def test_a_model_that_does_not_see(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="image-text-to-text"):
        LocalReader(tmp_path)


@pytest.fixture(scope="module", params=["nf4", "int8"])
def quantised(request: pytest.FixtureRequest, llava_folder: Path, qwen_folder: Path) -> Any:
    return [
        LocalReader(
            folder, quantization=request.param, device="cpu", max_images=2, max_new_tokens=4
        )
        for folder in (llava_folder, qwen_folder)
    ]


def test_quantised_models_read(quantised: list[LocalReader]) -> None:
    for reader in quantised:
        completions = reader.generate(PROMPTS)
        assert [completion.tokens_in for completion in completions] == [
            reader.count(prompt) for prompt in PROMPTS
        ]
        assert sum(reader.choice_probability(PROMPTS[:1], ["a", "b"])[0]) == pytest.approx(1)


def test_bitsandbytes_says_nothing(quantised: list[LocalReader], caplog: Any) -> None:
    for reader in quantised:
        reader.generate(PROMPTS[:1])
    assert [record for record in caplog.records if record.name.startswith("bitsandbytes")] == []
    # Its request for a package is logged when it is first imported: before this test, or never.
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)


def test_only_the_language_model_is_quantised(quantised: list[LocalReader]) -> None:
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for reader in quantised:
        layers = [
            (name, isinstance(module, (Linear4bit, Linear8bitLt)))
            for name, module in reader.model.named_modules()
            if isinstance(module, torch.nn.Linear)
        ]
        inside = [done for name, done in layers if name.startswith("model.language_model.layers.")]
        outside = [
            done for name, done in layers if not name.startswith("model.language_model.layers.")
        ]
        assert len(inside) == 2 * 7  # q k v o, gate up down, in 2 layers
        assert all(inside)
        assert len(outside) > 8  # vision tower, projector, lm_head
        assert not any(outside)
        assert reader.name.endswith(("+nf4", "+int8"))


def test_nf4_is_doubly_quantised(llava_folder: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    # Asked before it reads: on some processors bitsandbytes repacks the weights at first use.
    reader = LocalReader(llava_folder, quantization="nf4", device="cpu", max_new_tokens=4)
    layers = [m for m in reader.model.modules() if isinstance(m, Linear4bit)]
    assert layers
    assert all(layer.weight.quant_state.nested for layer in layers)
    assert all(layer.weight.quant_state.quant_type == "nf4" for layer in layers)


def test_bytes_of_weights_are_what_their_shapes_say(llava_folder: Path) -> None:
    """nf4: half a byte a weight, a byte a block of 64 for its scale, 4 bytes for 256 of those."""

    def reader(quantization: Any) -> LocalReader:
        return LocalReader(llava_folder, quantization=quantization, device="cpu", max_new_tokens=4)

    plain = reader("none").model
    sizes = weight_bytes(plain)
    assert sizes["float32"] == 4 * sum(
        weight.numel()
        for weight in (*plain.parameters(), *plain.buffers())
        if weight.is_floating_point()
    )
    linear = [
        module.weight.numel()
        for name, module in plain.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith("model.language_model.")
    ]
    # What each layer has besides: the scales' mean, and two tables, of 16 and of 256 values.
    least = sum(n / 2 + n / 64 + 4 * max(1, n / 64 / 256) for n in linear)
    found = weight_bytes(reader("nf4").model)
    assert found["float32"] == sizes["float32"] - 4 * sum(linear)
    assert least <= found["nf4"] <= least + len(linear) * 4 * (16 + 256 + 1)


@pytest.mark.parametrize(("large", "told"), [(0.0, [memory.ARRAY_BYTES]), (1e9, [])])
def test_only_with_a_large_reader_freed_arrays_are_given_back(
    llava_folder: Path, monkeypatch: pytest.MonkeyPatch, large: float, told: list[int]
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(model_loading, "_LARGE_MODEL", large)
    monkeypatch.setattr(model_loading, "return_freed_memory", lambda least: seen.append(least))
    LocalReader(llava_folder, device="cpu")
    assert seen == told
