"""A retriever family is one entry: this file adds one, and the command line builds and searches."""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from PIL import Image

from rag_vqa import images
from rag_vqa.cli.app import run
from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.retriever.image_workers import ImageTransform
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import FAMILIES, RetrieverFamily
from rag_vqa.retriever.modeling.configuration import read_config
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.types import ImageSource, Passage, Query

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class ToySide:
    """Two tokens: how often each letter stands in the text, and the picture's mean colour."""

    num_tokens: int = 2
    token_width: int = len(LETTERS)
    reads_text: bool = True
    reads_images: bool = True

    @property
    def config(self) -> Self:
        return self

    def encode(self, inputs: Any) -> torch.Tensor:
        return torch.tensor(inputs, dtype=torch.float32) + 1e-3

    def update_digest(self, digest: Any) -> None:
        digest.update(b"letters")


@dataclass(frozen=True)
class ToyConfig:
    model_type: str = "toy-letters"
    query: ToySide = field(default_factory=ToySide)
    passage: ToySide = field(default_factory=ToySide)


class ToyModel:
    def __init__(self, config: ToyConfig) -> None:
        self.config = config

    @classmethod
    def from_pretrained(cls, source: str, *, config: ToyConfig, **options: Any) -> Self:
        return cls(config)

    def get_query_model(self) -> ToySide:
        return self.config.query

    def get_passage_model(self) -> ToySide:
        return self.config.passage

    def eval(self) -> Self:
        return self

    def to(self, device: torch.device) -> Self:
        return self


class ToyProcessor:
    window = 1000
    image_transform = ImageTransform()

    @classmethod
    def load(cls, source: str | Path, config: ToySide, **options: Any) -> Self:
        return cls()

    def count_tokens(self, text: str) -> int:
        return len(text)

    def update_digest(self, digest: Any) -> None:
        digest.update(b"lower case")

    def __call__(self, texts: Sequence[str], images_: Sequence[ImageSource | None]) -> np.ndarray:
        made = np.zeros((len(texts), 2, len(LETTERS)))
        for row, (text, image) in enumerate(zip(texts, images_, strict=True)):
            made[row, 0] = [text.lower().count(letter) for letter in LETTERS]
            if image is not None and image != "":
                made[row, 1, :3] = np.asarray(images.load(image)).mean(axis=(0, 1))
        return made


def load_config(source: str | Path, **location: Any) -> ToyConfig:
    return ToyConfig(read_config(source, **location)["model_type"])


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    family = RetrieverFamily("toy-letters", load_config, ToyModel, ToyProcessor)
    with FAMILIES.temporary_entry(family):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of the family: all that it has is its type."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").write_text(json.dumps({"model_type": "toy-letters"}))
    return tmp_path / "toy"


def test_a_knowledge_base_is_built_and_searched_with_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    Image.new("RGB", (4, 4), (250, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (4, 4), (0, 250, 0)).save(tmp_path / "green.png")
    documents = [
        {"id": "vowels", "text": "aeiou aeiou"},
        {"id": "zebras", "text": "zzz zebras"},
        {"id": "red", "image": "red.png"},
        {"id": "green", "image": "green.png"},
    ]
    source, kb = tmp_path / "docs.jsonl", str(tmp_path / "toy.kb")
    source.write_text("\n".join(map(json.dumps, documents)))
    models = ["--retriever", str(folder), "--device", "cpu"]
    assert run(["kb", "build", str(source), "--out", kb, *models]) == 0

    def first(*query: str) -> str:
        capsys.readouterr()
        assert run(["search", kb, *query, "--json"]) == 0
        return str(json.loads(capsys.readouterr().out)[0]["id"])

    assert first("Zzz!") == "zebras" and first("iaou") == "vowels"
    assert first("--image", str(tmp_path / "red.png")) == "red"
    assert first("--image", str(tmp_path / "green.png")) == "green"
    assert run(["search", kb, "zzz", "--explain"]) == 2
    assert "'toy-letters' have no attribution" in capsys.readouterr().err


def test_its_tokens_are_unit_vectors_of_its_shape(folder: Path) -> None:
    encoder = Encoder.load(folder, device="cpu")
    assert (encoder.K, encoder.D, encoder.family.name) == (2, 26, "toy-letters")
    tokens = encoder.encode_passages([Passage("1", 0, "abba"), Passage("2", 0, "z")])
    assert tokens.shape == (2, 2, 26)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=-1), 1, atol=1e-5)
    assert encoder.encode_queries([Query("abba")])[0, 0] @ tokens[0, 0] == pytest.approx(1)


def test_a_knowledge_base_of_another_family_is_refused(
    folder: Path, tmp_path: Path, checkpoint: Path
) -> None:
    KnowledgeBase.create(tmp_path / "toy.kb", Encoder.load(folder, device="cpu")).close()
    with pytest.raises(Mismatch, match="was built with toy, but the settings ask for"):
        KnowledgeBase.open(tmp_path / "toy.kb", Encoder.load(checkpoint, device="cpu"))


def test_a_type_that_no_family_has_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "toy-numbers"}))
    with pytest.raises(UsageError, match="known types: 'retriever', 'toy-letters'"):
        Encoder.load(folder, device="cpu")
