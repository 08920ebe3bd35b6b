"""Isolation and fakes that every test may use. No test touches the network or the real cache."""

import os
import shutil

# Before anything of Hugging Face is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# Before Triton is imported: without a card its kernels are interpreted.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"

# Before torch is imported: each worker of pytest-xdist has one core. Threads beyond the cores
# wait for each other, which takes several times the work.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag_vqa.types import Completion, Passage, Prompt, PromptLimits, Query, Scalar


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No settings of the machine, an empty cache, no colours."""
    for name in list(os.environ):
        if name.startswith("RAG_VQA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.getbasetemp() / "hub"))
    monkeypatch.setenv("NO_COLOR", "1")


class FakeEncoder:
    """Each word is one of D directions; K tokens hold an item's words in turn. No model.

    Two texts that share words are near each other, which is all that a search needs to be tested.
    """

    source = "fake"
    revision = None
    options: Mapping[str, str | bool] = {}
    fingerprint, query_fingerprint = "f" * 64, "9" * 64
    instruction = ""
    K, D, window = 4, 64, 77

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def encode_queries(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        return self._encode([query.text for query in queries])

    def encode_passages(
        self, passages: Sequence[Passage], on_progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        if on_progress is not None:
            on_progress(len(passages))
        return self._encode([passage.text for passage in passages])

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = np.full((len(texts), self.K, self.D), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.lower().split()):
                digest = hashlib.sha256(word.strip(".,?!").encode()).digest()
                tokens[row, place % self.K, digest[0] % self.D] += 1
        unit: NDArray[np.float32] = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
        return unit


class FakeReader:
    """Says what it is told to, word by word, and remembers what it was asked."""

    name = "fake reader"
    settings: Mapping[str, Scalar] = {"max_new_tokens": 64}
    limits = PromptLimits(images=4, context=4096)

    def __init__(self, says: str = "In burrows [1]."):
        self.says = says
        self.thinks, self.note = "", ""  # what it thought, and a note about its answer
        self.prompts: list[Prompt] = []
        self.batches: list[int] = []
        self.weighed: list[Prompt] = []
        # Text of a prompt → how likely its first choice is; what holds none of them: a half.
        self.weighs: dict[str, float] = {}

    def count(self, prompt: Prompt) -> int:
        return len(prompt.text.split())

    def render(self, prompt: Prompt) -> str:
        return f"<user>{prompt.text}</user>"

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: Callable[[int, str], bool | None] | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        self.prompts += prompts
        self.batches.append(len(prompts))
        most = max_tokens or [None] * len(prompts)
        made = [self._write(row, prompt, on_text, most[row]) for row, prompt in enumerate(prompts)]
        thoughts = {"reasoning": self.thinks, "reasoning_tokens": len(self.thinks.split())}
        return [replace(each, **thoughts, note=self.note) for each in made]

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        self.weighed += prompts
        first = [
            next((p for text, p in self.weighs.items() if text in prompt.text), 0.5)
            for prompt in prompts
        ]
        others = len(choices) - 1
        return [[p, *[(1 - p) / others] * others] for p in first]

    def _write(
        self,
        row: int,
        prompt: Prompt,
        on_text: Callable[[int, str], bool | None] | None,
        most: int | None,
    ) -> Completion:
        written = ""
        for told, piece in enumerate(self.says.split(" ")):
            if told == most:
                return Completion(written, self.count(prompt), told, "length")
            piece = f" {piece}" if written else piece
            written += piece
            if on_text is not None and on_text(row, piece) is False:
                return Completion(written, self.count(prompt), 1, "cancelled")
        return Completion(written, self.count(prompt), len(written.split()), "stop")


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[1]


@pytest.fixture
def birds(tmp_path: Path, encoder: FakeEncoder) -> Path:
    """The path of a knowledge base of three documents."""
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    texts = {
        "puffin": ("Atlantic puffin", "Breeding", "puffins nest in burrows on sea cliffs"),
        "stork": ("White stork", "Breeding", "storks nest on roofs and chimneys"),
        "swift": ("Common swift", "Flight", "swifts sleep while they fly"),
    }
    with KnowledgeBase.create(tmp_path / "birds.kb", encoder) as kb:
        kb.add(
            {"id": name, "title": title, "section": section, "text": text,
             "metadata": {"lang": "en" if name != "swift" else "de"}}
            for name, (title, section, text) in texts.items()
        )  # fmt: skip
    return tmp_path / "birds.kb"


WORDS = ["<s>", "</s>", "a", "red", "bird", "find", "where", "does", "it", "nest"]


@pytest.fixture
def finished(birds: Path, encoder: FakeEncoder, tmp_path: Path) -> Iterator[Any]:
    """Finished runs, see finished_runs.py."""
    from finished_runs import FinishedRuns

    from rag_vqa.retriever.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(birds, encoder) as kb:
        yield FinishedRuns(kb, tmp_path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever of two layers with random weights, whole: with tokenizer and image processor."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast

    from rag_vqa.retriever.modeling.configuration import RetConfig, RetrieverConfig
    from rag_vqa.retriever.modeling.encoder import INSTRUCTION_FILE
    from rag_vqa.retriever.modeling.model import RetrieverModel

    folder = tmp_path_factory.mktemp("tiny-ret")
    torch.manual_seed(0)
    text = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "_name_or_path": "/somebody/else/clip",
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    side = {
        "text_config": text,
        "vision_config": vision,
        "layer_strategy": {"text": [0, 1], "vision": [0, 1]},
        "hidden_size": 64,
        "num_queries": 4,
        "late_proj_output_size": 8,
    }
    config = RetrieverConfig(query_config=RetConfig(**side), passage_config=RetConfig(**side))
    RetrieverModel(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=8, bos_token="<s>", eos_token="</s>",
        pad_token="</s>",
    ).save_pretrained(folder)  # fmt: skip
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder)
    (folder / INSTRUCTION_FILE).write_text(json.dumps({"default": "find"}))
    return folder
