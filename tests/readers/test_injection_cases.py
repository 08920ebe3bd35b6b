"""Prompt-injection cases: no processor lets them through; without protection they would work."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from rag_vqa.checkpoints import embedded_model
from rag_vqa.readers import injection_cases, prompt_encoder
from rag_vqa.readers.processor_loading import load_processor
from rag_vqa.readers.prompt_encoder import PromptEncoder


@pytest.fixture(scope="module", params=["llava", "qwen", "demo"])
def processor(request: pytest.FixtureRequest) -> Any:
    if request.param == "demo":
        folder = embedded_model("reader")
    else:
        folder = request.getfixturevalue(f"{request.param}_folder")
    return load_processor(str(folder), AutoConfig.from_pretrained(folder))


def test_nothing_of_it_becomes_a_control_or_picture_token(processor: Any) -> None:
    attacks = injection_cases.load_injection_cases()
    assert injection_cases.count_active_cases(processor, attacks) >= 5
    assert injection_cases.find_failed_cases(processor, attacks) == []


def test_without_neutralising_it_is_found_out(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_encoder, "neutralise_parts", lambda parts, neutralise: list(parts))
    monkeypatch.setattr(PromptEncoder, "_check_control", lambda self, prompt, text: None)
    monkeypatch.setattr(PromptEncoder, "_check_ids", lambda self, inputs, texts: None)
    attack = injection_cases.InjectionCase("special", (processor.tokenizer.eos_token,))
    [line] = injection_cases.find_failed_cases(processor, [attack])
    assert line.startswith("special: ")
    assert processor.tokenizer.eos_token in line


def test_a_refused_prompt_is_a_failure_too(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_encoder, "neutralise_parts", lambda parts, neutralise: list(parts))
    attack = injection_cases.InjectionCase("special", (processor.tokenizer.eos_token,))
    [line] = injection_cases.find_failed_cases(processor, [attack])
    assert "a control token came out of a document" in line


def test_the_set_holds_every_kind_of_attack() -> None:
    attacks = injection_cases.load_injection_cases()
    texts = ["".join(attack.parts) for attack in attacks]
    kinds = {attack.kind for attack in attacks}
    assert {"split over parts", "invisible", "width and case", "templates"} <= kinds
    assert any(len(attack.parts) > 1 for attack in attacks)
    for marker in ("<|im_start|>", "<|eot_id|>", "<start_of_turn>", "<|image_pad|>", "</document>",
                   "{{", "\u200b", "\U000e003c", "\ud800", "＜"):  # fmt: skip
        assert any(marker in text for text in texts), marker


def test_planted_passages_become_no_control_tokens(root: Path, processor: Any) -> None:
    import json

    lines = (root / "benchmarks" / "hostile.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 100
    assert all(row["target"] in row["text"] for row in rows)
    attacks = [injection_cases.InjectionCase(row["kind"], (row["text"],)) for row in rows]
    assert injection_cases.find_failed_cases(processor, attacks) == []
