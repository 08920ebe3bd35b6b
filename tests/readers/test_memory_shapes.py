"""Shapes from configurations, against the models that these make."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from rag_vqa.errors import Missing
from rag_vqa.memory import count_parameters, model_shape


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_parameters_are_those_of_the_loaded_model(
    family: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(f"{family}_folder")
    shape = model_shape(AutoConfig.from_pretrained(folder))
    model = AutoModelForImageTextToText.from_pretrained(folder)
    total = sum(p.numel() for p in model.parameters())
    linear = sum(
        p.numel()
        for name, p in model.named_parameters()
        if "language_model.layers" in name and p.dim() == 2
    )
    assert (shape.linear, shape.whole) == (linear, total - linear)
    assert count_parameters(folder) == total
    # 2 heads of keys, 16 wide, as the fixtures say.
    assert (shape.layers, shape.hidden, shape.inner, shape.heads) == (2, 64, 128, 32)
    assert (shape.vision_hidden, shape.vision_inner) == (64, 64)


def test_what_a_picture_takes(llava_folder: Path, qwen_folder: Path) -> None:
    llava = model_shape(AutoConfig.from_pretrained(llava_folder))
    assert llava.patches == (32 // 16) ** 2 + 1
    qwen = model_shape(AutoConfig.from_pretrained(qwen_folder))
    assert (qwen.patches, qwen.patch, qwen.merged) == (0, 14, 4)


def test_tiles_of_llava_next_are_counted() -> None:
    from transformers import CLIPVisionConfig, LlavaNextConfig

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    }  # fmt: skip
    config = LlavaNextConfig(
        vision_config=vision, text_config=text, image_grid_pinpoints=[[32, 64], [64, 64]],
        image_token_index=3,
    )  # fmt: skip
    assert model_shape(config).patches == (1 + 4) * ((32 // 16) ** 2 + 1)


def test_a_folder_without_weights_and_one_with_half_of_them(
    tmp_path: Path, llava_folder: Path
) -> None:
    with pytest.raises(Missing, match="no weights in safetensors"):
        count_parameters(tmp_path)
    whole = (llava_folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:20])
    with pytest.raises(Missing, match="Fetch them again"):
        count_parameters(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(Missing, match="Fetch them again"):
        count_parameters(tmp_path)


def test_nothing_is_built_in_memory(llava_folder: Path) -> None:
    config = AutoConfig.from_pretrained(llava_folder)
    config.text_config.hidden_size = 65_536  # 2**33 numbers in one layer alone
    config.text_config.intermediate_size = 131_072
    config.text_config.num_attention_heads = 512
    assert model_shape(config).largest == 2**33
    assert torch.get_default_device() == torch.device("cpu")
