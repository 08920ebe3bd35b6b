"""Chat templates of today's models before a local reader: cases, and a tiny model for each.

A case is a pair of files in tests/readers/templates: NAME.jinja, the template, and NAME.json:

    why             whose template this is, and what is right
    tokens          special tokens with a name: bos_token, eos_token
    special, marks  further special tokens; tokens that are held whole without being special
    system          the text of the system message; "" for none
    thinking        the reader's option; "off" if absent
    prompt          `has`, `lacks`, `times` (text → how often), `ends` (an expression), or
                    `refused`: words of the error that loading raises
    choices_end     an expression: how a prompt ends before choices
    answers         what the model writes, and then: text, line (with stop_at_newline), finish,
                    reasoning, note, max_new_tokens
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_readers import QWEN_SPECIAL, tokenizer_of

from rag_vqa.types import ImagePart, Prompt, TextPart

FOLDER = Path(__file__).parents[1] / "readers" / "templates"
CASES = sorted(file.stem for file in FOLDER.glob("*.json"))


def load_case(name: str) -> dict[str, Any]:
    """The case of this name, with its template as `template`."""
    case: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return case | {"template": (FOLDER / f"{name}.jinja").read_text("utf-8")}


def save_model(case: dict[str, Any], folder: Path) -> None:
    """A tiny random model of the shape of Qwen3-VL with this template and these tokens."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    names = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", **case.get("tokens", {})}
    special = dict.fromkeys([*QWEN_SPECIAL, *names.values(), *case.get("special", ())])
    tokenizer = tokenizer_of(list(special), case.get("marks", []), **names)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(case["template"])
    area = 32**2
    Qwen2VLImageProcessorPil(
        size={"shortest_edge": area, "longest_edge": area * 16}, patch_size=16
    ).save_pretrained(folder)
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 3, 3],
        },
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    torch.manual_seed(0)
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)


def case_prompt(case: dict[str, Any], question: str = "\nWhich river is this?") -> Prompt:
    """One question about one picture, as the shared cases put it."""
    system = case.get("system", "Answer in a word.")
    parts = (ImagePart(Image.new("RGB", (64, 32), (9, 60, 200))), TextPart(question))
    first = (TextPart(system, trusted=True, role="system"),) if system else ()
    return Prompt((*first, *parts))


class ScriptedHead(torch.nn.Module):
    """An output layer that writes these tokens one after another, then the last one again."""

    def __init__(self, ids: Sequence[int], size: int) -> None:
        super().__init__()
        self._ids, self._size, self._at = ids, size, 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.full((*hidden.shape[:-1], self._size), -1e4)
        logits[..., self._ids[min(self._at, len(self._ids) - 1)]] = 0
        self._at += 1
        return logits
