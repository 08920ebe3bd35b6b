"""Checkpoints whose weights bitsandbytes quantised before: a tiny Llama, saved in 4 and 8 bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit, Linear8bitLt

from rag_vqa.errors import UsageError
from rag_vqa.jobs.memory_fit import predict_fit
from rag_vqa.jobs.model_check import check_models
from rag_vqa.readers.injection_cases import find_failed_cases, load_injection_cases
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.settings import load_settings
from rag_vqa.types import Prompt, TextPart
from tests.support.tiny_readers import CHATML, tokenizer_of

LAYERS = {"nf4": Linear4bit, "int8": Linear8bitLt}


@pytest.fixture(scope="module", params=["nf4", "int8"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kind of quantization, and a folder with weights stored in it."""
    whole, folder = (tmp_path_factory.mktemp(name) for name in ("whole", request.param))
    tokenizer = tokenizer_of(["<pad>", "<|im_end|>"], [], pad_token="<pad>", eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(whole)
    wanted = transformers.BitsAndBytesConfig(
        load_in_4bit=request.param == "nf4",
        load_in_8bit=request.param == "int8",
        bnb_4bit_quant_type="nf4",
    )
    transformers.AutoModelForCausalLM.from_pretrained(
        whole, quantization_config=wanted, device_map="cpu"
    ).save_pretrained(folder)
    return request.param, folder


@pytest.mark.parametrize("asked", ["none", "same"])
def test_it_is_read_as_it_is_stored_and_recorded_so(stored: Any, asked: str) -> None:
    kind, folder = stored
    wanted = kind if asked == "same" else "none"
    reader = LocalReader(folder, quantization=wanted, device="cpu", max_new_tokens=2)
    assert reader.name.endswith(f"+{kind}")
    assert any(isinstance(layer, LAYERS[kind]) for layer in reader.model.modules())
    (answer,) = reader.generate([Prompt((TextPart("Which?"),))])
    assert answer.tokens_out >= 1


def test_another_quantization_is_refused(stored: Any) -> None:
    kind, folder = stored
    other = "int8" if kind == "nf4" else "nf4"
    with pytest.raises(UsageError, match=f"stored in {kind}.*--quantization {kind}"):
        LocalReader(folder, quantization=other, device="cpu")


def test_a_check_says_how_it_is_stored(stored: Any) -> None:
    kind, folder = stored
    (found,) = check_models(str(folder))
    assert found.good, found.findings
    assert any(f"stored in {kind}" in each.detail for each in found.findings)


def test_its_memory_is_that_of_what_is_stored(stored: Any) -> None:
    kind, folder = stored
    needs = [
        predict_fit(load_settings(flags={"reader": {"model": str(folder), "quantization": asked}}))
        for asked in ("none", kind)
    ]
    assert needs[0].total == needs[1].total


def test_the_hostile_set_needs_no_pictures(stored: Any) -> None:
    kind, folder = stored
    reader = LocalReader(folder, quantization=kind, device="cpu")
    assert find_failed_cases(reader.encoder.processor, load_injection_cases()) == []
