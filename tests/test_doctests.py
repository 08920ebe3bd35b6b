"""Every example in a docstring gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

FOLDERS = {
    "rag_vqa": "rag_vqa",
    "retriever": "rag_vqa.retriever",
    "prompts": "rag_vqa.prompts",
    "eval": "rag_vqa.eval",
}


def modules_with_examples() -> list[str]:
    root = Path(__file__).resolve().parents[1]
    names = []
    for folder, package in FOLDERS.items():
        for file in sorted((root / folder).rglob("*.py")):
            linked = any(parent.is_symlink() for parent in file.parents)
            if not linked and ">>> " in file.read_text("utf-8"):
                parts = file.relative_to(root / folder).with_suffix("").parts
                names.append(".".join((package, *parts)).removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
