"""A new reader back end is one file: this one. Registered, it answers in Python and on the command
line, and its options are checked as those of the others are."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.cli.app import run
from rag_vqa.errors import UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.readers.factory import READER_BACKENDS, ReaderBackend, open_reader
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Completion, OnText, Prompt, PromptLimits, Scalar


class EchoReader:
    """Answers with the words after "echo:"."""

    limits = PromptLimits(images=4, context=4096)

    def __init__(self, words: str, max_new_tokens: int = 8, suffix: str = "") -> None:
        self.name = f"echo:{words}"
        self.settings: dict[str, Scalar] = {"max_new_tokens": max_new_tokens, "suffix": suffix}
        self.words = words.split()[:max_new_tokens]
        self.suffix = suffix

    def count(self, prompt: Prompt) -> int:
        return len(prompt.text.split())

    def render(self, prompt: Prompt) -> str:
        return prompt.text

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        text = " ".join(self.words) + self.suffix
        for row, _ in enumerate(prompts):
            if on_text is not None:
                on_text(row, text)
        return [Completion(text, self.count(prompt), len(self.words)) for prompt in prompts]

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        return [[1 / len(choices)] * len(choices) for _ in prompts]


ECHO = ReaderBackend(
    "echo",
    options=("max_new_tokens", "suffix"),
    accepts=lambda model, servers: str(model).startswith("echo:"),
    open=lambda model, servers, options: EchoReader(model.removeprefix("echo:"), **options),
    refusal="it repeats its name",
)


@pytest.fixture
def echo() -> Iterator[None]:
    with READER_BACKENDS.temporary_entry(ECHO):
        yield


@pytest.mark.usefixtures("echo")
def test_it_answers_in_python(birds: Path, encoder: Any) -> None:
    with KnowledgeBase.open(birds, encoder) as kb:
        rag = RagVqa(kb, "echo:In burrows [1].", suffix="!", k=1)
        answer = rag.ask("where do puffins nest")
    assert (answer.text, answer.citations) == ("In burrows [1].!", (1,))
    assert rag.reader.name == "echo:In burrows [1]."


@pytest.mark.usefixtures("echo")
def test_it_answers_on_the_command_line(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ask", str(birds), "where?", "-k", "0", "--reader", "echo:in burrows", "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "in burrows"
    assert run([*arguments, "--max-new-tokens", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "in"


@pytest.mark.usefixtures("echo")
def test_options_of_other_back_ends_are_refused(
    birds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"device cannot be combined .* it repeats its name"):
        open_reader("echo:x", device="cpu")
    with pytest.raises(UsageError, match="suffix cannot be combined"):
        open_reader("a/b", suffix="!")
    arguments = ["ask", str(birds), "where?", "-k", "0", "--reader", "echo:x"]
    assert run([*arguments, "--quantization", "int8"]) == 2
    assert "quantization cannot be combined" in capsys.readouterr().err


def test_a_back_end_that_is_not_registered_is_unknown() -> None:
    with pytest.raises(UsageError, match="suffix: no option of a reader"):
        open_reader("echo:x", suffix="!")
