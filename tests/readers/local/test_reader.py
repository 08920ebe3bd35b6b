"""LocalReader over tiny random models of the true classes: answers, choices, limits."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from reader_prompts import PROMPTS, picture

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.prompts import build_prompt
from rag_vqa.readers.base import Reader
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.types import Document, Hit, ImagePart, Passage, Prompt, PromptLimits, Query, TextPart


def test_it_is_a_reader(reader: LocalReader) -> None:
    as_protocol: Reader = reader
    assert re.fullmatch(r"tiny-(llava|qwen2_5_vl)\d+@[0-9a-f]{12}\+none", as_protocol.name)
    assert as_protocol.limits == PromptLimits(images=2, context=2048 - 24)


def test_a_batch_gives_what_single_prompts_give(reader: LocalReader) -> None:
    together = reader.generate(PROMPTS)
    alone = [reader.generate([prompt])[0] for prompt in PROMPTS]
    assert together == alone
    assert len({completion.text for completion in together}) == 3  # the prompt matters
    assert [completion.tokens_in for completion in together] == [reader.count(p) for p in PROMPTS]


def test_greedy_against_a_loop_of_forwards(reader: LocalReader) -> None:
    """No cache, no generate(): the most likely token, appended, again."""
    inputs = dict(reader.encode([PROMPTS[0]]))
    ids: list[int] = []
    with torch.inference_mode():
        for _ in range(24):
            token = int(reader.model(**_grown(inputs, ids)).logits[0, -1].argmax())
            if token in reader.end_ids:
                break
            ids.append(token)
    text = reader.tokenizer.decode(ids, skip_special_tokens=True)
    completion = reader.generate([PROMPTS[0]])[0]
    assert completion.text.rstrip("\ufffd") == text.rstrip("\ufffd")
    assert completion.tokens_out == len(ids)


def _grown(inputs: dict[str, Any], ids: list[int]) -> dict[str, Any]:
    grown = dict(inputs)
    tail = torch.tensor([ids], dtype=torch.long)
    grown["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
    grown["attention_mask"] = torch.ones_like(grown["input_ids"])
    if "mm_token_type_ids" in inputs:
        zeros = torch.zeros_like(tail)
        grown["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], dim=1)
    return grown


def test_a_row_is_cancelled_alone(reader: LocalReader) -> None:
    whole = reader.generate(PROMPTS)
    heard: dict[int, list[str]] = defaultdict(list)

    def on_text(row: int, piece: str) -> bool:
        heard[row].append(piece)
        return row != 1

    cut = reader.generate(PROMPTS, on_text)
    assert cut[1].finish == "cancelled"
    assert cut[1].text == heard[1][0]
    assert len(heard[1]) == 1
    assert whole[1].text.startswith(cut[1].text)
    assert [cut[0], cut[2]] == [whole[0], whole[2]]


def test_each_row_has_a_length_of_its_own(reader: LocalReader) -> None:
    most = [3, None, 1000]
    whole = reader.generate(PROMPTS)
    cut = reader.generate(PROMPTS, max_tokens=most)
    assert [row.tokens_out for row in cut] == [3, whole[1].tokens_out, whole[2].tokens_out]
    begun = cut[0].text.rstrip("\ufffd")  # the last token may be half a character
    assert cut[0].finish == "length" and whole[0].text.startswith(begun)
    assert cut[1:] == whole[1:]
    small = reader.batcher.size
    reader.batcher.size = 1  # each row keeps its own where the batch is split
    assert reader.generate(PROMPTS, max_tokens=most)[0].tokens_out == 3
    reader.batcher.size = small


def test_it_stops_at_an_end(reader: LocalReader, monkeypatch: Any) -> None:
    """The third token of a row is declared an end: the row has two tokens then."""
    inputs = reader.encode([PROMPTS[0]])
    with torch.inference_mode():
        new = reader.model.generate(**inputs)[0, inputs["input_ids"].shape[1] :].tolist()
    end = new[2]
    monkeypatch.setattr(reader, "end_ids", frozenset({end}))
    monkeypatch.setattr(reader.model.generation_config, "eos_token_id", [end])
    completion = reader.generate([PROMPTS[0]])[0]
    assert completion.finish == "stop"
    assert completion.tokens_out == new.index(end)


def test_choices_sum_to_one_and_equal_a_forward(reader: LocalReader) -> None:
    choices = ["yes", "no", "yellow"]
    table = reader.choice_probability(PROMPTS, choices)
    assert len(table) == 3
    for prompt, row in zip(PROMPTS, table, strict=True):
        assert sum(row) == pytest.approx(1)
        inputs = dict(reader.encode([prompt]))
        length = inputs["input_ids"].shape[1]
        logs = []
        for choice in choices:
            ids = list(choice.encode())  # one token a byte: the id is its place in the vocabulary
            ids = reader.tokenizer.convert_tokens_to_ids([chr(byte) for byte in ids])
            with torch.inference_mode():
                logits = reader.model(**_grown(inputs, ids)).logits[0].log_softmax(dim=-1)
            logs.append(sum(float(logits[length - 1 + n, i]) for n, i in enumerate(ids)))
        expected = torch.tensor(logs, dtype=torch.float64).softmax(dim=0).tolist()
        assert row == pytest.approx(expected, abs=1e-4)


def test_a_choice_counts_as_it_is_spelled(reader: LocalReader) -> None:
    """With a token a byte "y" and "Y" are one token each, and " y" is two: it would be another
    reading, and is not counted."""
    [row] = reader.choice_probability(PROMPTS[:1], ["y", "n"])
    with torch.inference_mode():
        logits = reader.model(**reader.encode(PROMPTS[:1])).logits[0, -1].softmax(dim=-1)
    y, upper_y, n, upper_n = logits[reader.tokenizer.convert_tokens_to_ids([*"yYnN"])].tolist()
    yes, no = y + upper_y, n + upper_n
    assert row == pytest.approx([yes / (yes + no), no / (yes + no)], abs=1e-5)
    assert row != pytest.approx([y / (y + n), n / (y + n)], abs=1e-3)


@pytest.mark.parametrize("choices", [[], ["yes"], ["yes", "yes"], ["yes", ""], ["y", "Y"]])
def test_invalid_choices_are_refused(reader: LocalReader, choices: list[str]) -> None:
    with pytest.raises(UsageError, match="choice"):
        reader.choice_probability(PROMPTS, choices)


def test_prompts_over_the_limits_are_refused(reader: LocalReader) -> None:
    three = Prompt(tuple(ImagePart(picture(30, 30, n)) for n in range(3)))
    with pytest.raises(ReaderError, match=r"3 images and the reader takes 2.*--max-images 3"):
        reader.generate([three])
    with pytest.raises(ReaderError, match=f"takes {2048 - 24}"):
        reader.generate([Prompt((TextPart("long " * 600),))])


def test_the_context_is_the_smaller_of_the_models_and_the_users(llava_folder: Path) -> None:
    def context(max_context: int) -> int:
        reader = LocalReader(llava_folder, device="cpu", max_new_tokens=24, max_context=max_context)
        return reader.limits.context

    assert [context(most) for most in (200, 2048, 8192)] == [200 - 24, 2048 - 24, 2048 - 24]


def test_render_shows_template_and_neutralised_text(reader: LocalReader) -> None:
    shown = reader.render(PROMPTS[0])
    image, end = {
        "llava": ("<image>", "ASSISTANT:"),
        "qwen2_5_vl": ("<|image_pad|>", "assistant\n"),
    }[re.split(r"\d+@", reader.name.split("-")[1])[0]]
    assert shown.count(image) == 1
    assert shown.endswith(end)
    assert "What is it?" in shown
    assert shown != PROMPTS[0].text


def test_built_prompts_fit(reader: LocalReader) -> None:
    documents = [Document(f"d{n}", f"{n} " * 150, title="<image>") for n in range(12)]
    hits = [Hit(d, Passage(d.id, 0, d.text), n, 1.0) for n, d in enumerate(documents, 1)]
    query = Query("What <|im_start|>?", picture(60, 40, 3))
    prompt = build_prompt(query, hits, reader.limits, reader.count)
    assert 0 < len(prompt.kept) < 12
    assert len(prompt.kept) + len(prompt.dropped) == 12
    assert reader.count(prompt) <= reader.limits.context
    assert reader.generate([prompt])[0].tokens_in == reader.count(prompt)


def test_an_answer_of_one_line(llava_folder: Path) -> None:
    plain = LocalReader(llava_folder, device="cpu", max_new_tokens=4)
    short = LocalReader(llava_folder, device="cpu", max_new_tokens=4, stop_at_newline=True)
    assert (plain.settings["stop_at_newline"], short.settings["stop_at_newline"]) == (False, True)
    # A head that writes "ab\n\n" over and over, whatever it reads.
    written = short.tokenizer("ab\n\n", add_special_tokens=False)["input_ids"]
    assert len(written) == 3

    def writes(reader: LocalReader) -> Any:
        steps = iter(written * 4)

        def logits(module: Any, args: Any, out: Any) -> Any:
            forced = torch.zeros_like(out)
            forced[..., next(steps)] = 1
            return forced

        return reader.model.lm_head.register_forward_hook(logits)

    for reader, text, finish, tokens in [(plain, "ab\n\na", "length", 4), (short, "ab", "stop", 3)]:
        hook = writes(reader)
        completion = reader.generate([PROMPTS[1]])[0]
        hook.remove()
        found = (completion.text, completion.finish, completion.tokens_out)
        assert found == (text, finish, tokens)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"max_pixels": 0},
        {"max_images": -1},
        {"max_context": 0},
        {"batch_size": 0},
        {"quantization": "int4"},
        {"dtype": "float8"},
        {"device": "gpu"},
        {"max_new_tokens": 5000},
        {"max_new_tokens": 100, "max_context": 100},
    ],
)
def test_invalid_arguments_are_refused(llava_folder: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        LocalReader(llava_folder, **wrong)
