"""A local reader with the chat templates of today's models: prompts, answers, thoughts, choices."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from template_cases import CASES, ScriptedHead, case_prompt, load_case, save_model

from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.readers import injection_cases
from rag_vqa.readers.local.reader import LocalReader

READ = [name for name in CASES if "refused" not in load_case(name)["prompt"]]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load_case(request.param)


@pytest.fixture(scope="module")
def reader(case: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> LocalReader:
    folder = tmp_path_factory.mktemp("template")
    save_model(case, folder)
    return LocalReader(folder, device="cpu", thinking=case.get("thinking", "off"))


@pytest.mark.parametrize("case", sorted(set(CASES) - set(READ)), indirect=True)
def test_a_template_that_cannot_be_used_is_named(case: dict[str, Any], tmp_path: Path) -> None:
    save_model(case, tmp_path)
    with pytest.raises((ReaderError, UsageError), match=re.escape(case["prompt"]["refused"])):
        LocalReader(tmp_path, device="cpu", thinking=case.get("thinking", "off"))


@pytest.mark.parametrize("case", READ, indirect=True)
class TestTemplate:
    def test_the_prompt(self, case: dict[str, Any], reader: LocalReader) -> None:
        want, prompt = case["prompt"], case_prompt(case)
        text = reader.render(prompt)
        assert [part for part in want.get("has", ()) if part not in text] == []
        assert [part for part in want.get("lacks", ()) if part in text] == []
        times = want.get("times", {})
        assert {part: text.count(part) for part in times} == times
        assert re.search(want.get("ends", "") + r"\Z", text), text[-80:]

    def test_the_count_is_that_of_the_tokens(
        self, case: dict[str, Any], reader: LocalReader
    ) -> None:
        prompt = case_prompt(case)
        ids = reader.encode([prompt])["input_ids"][0].tolist()
        text = reader.render(prompt)
        image = reader.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        alone = reader.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert reader.count(prompt) == len(ids) == len(alone) - 1 + ids.count(image)
        assert [i for i in ids if i != image] == [i for i in alone if i != image]

    def test_what_it_writes(self, case: dict[str, Any], reader: LocalReader) -> None:
        for answer in case["answers"]:
            for one_line in (False, True):
                for is_streamed in (False, True):
                    check_answer(case, reader, answer, one_line, is_streamed)

    def test_choices_come_without_thoughts(self, case: dict[str, Any], reader: LocalReader) -> None:
        """The text before a choice, and a probability from the model's own forward pass."""
        encoder = reader.encoder.for_choices()
        text = encoder.render(case_prompt(case).parts)
        ends = case.get("choices_end", case["prompt"].get("ends", ""))
        assert re.search(ends + r"\Z", text), text[-80:]
        [row] = reader.choice_probability([case_prompt(case)], ["a", "b"])
        inputs = encoder.encode([case_prompt(case)])
        with torch.inference_mode():
            logits = reader.model(**inputs).logits[0, -1].softmax(dim=-1)
        a, b = (
            float(sum(logits[i] for i in reader.tokenizer.convert_tokens_to_ids(letters)))
            for letters in (["a", "A"], ["b", "B"])
        )
        assert row == pytest.approx([a / (a + b), b / (a + b)], abs=1e-4)

    def test_attacks_become_no_control_tokens(
        self, case: dict[str, Any], reader: LocalReader
    ) -> None:
        marks = [*case.get("special", ()), *case.get("marks", ()), *case.get("tokens", {}).values()]
        attacks = [
            *injection_cases.load_injection_cases()[::7],
            *(injection_cases.InjectionCase("marks", (mark,)) for mark in marks),
            *(injection_cases.InjectionCase("halves", (mark[:3], mark[3:])) for mark in marks),
        ]
        assert injection_cases.find_failed_cases(reader.encoder.processor, attacks) == []


def check_answer(
    case: dict[str, Any],
    reader: LocalReader,
    answer: dict[str, Any],
    one_line: bool,
    is_streamed: bool,
) -> None:
    ids = reader.tokenizer(answer["writes"], add_special_tokens=False)["input_ids"]
    head = reader.model.get_output_embeddings()
    told: list[str] = []
    reader.model.set_output_embeddings(ScriptedHead(ids, len(reader.tokenizer)))
    reader._one_line = one_line
    most = answer.get("max_new_tokens", len(ids) + 4)
    try:
        made = reader.generate(
            [case_prompt(case)],
            (lambda row, text: told.append(text)) if is_streamed else None,
            [most],
        )[0]
    finally:
        reader.model.set_output_embeddings(head)
    expected = answer.get("line", answer["text"]) if one_line else answer["text"]
    assert made.text.strip() == expected.strip(), answer["writes"]
    assert "".join(told) == (made.text if is_streamed else "")
    assert made.finish in answer.get("finish", [made.finish])
    assert answer.get("note", "") in made.note and bool(made.note) == bool(answer.get("note"))
    assert made.reasoning == answer.get("reasoning", made.reasoning)
    assert bool(made.reasoning_tokens) == bool(made.reasoning)
    assert made.reasoning_tokens <= made.tokens_out <= most
