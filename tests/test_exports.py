"""The public names: all there, none besides, and the same in __all__ and for type checkers."""

import ast
from pathlib import Path

import pytest

import rag_vqa


def test_every_public_name_is_there() -> None:
    for name in rag_vqa.__all__:
        assert getattr(rag_vqa, name).__name__ == name


def test_type_checkers_see_the_same_names(root: Path) -> None:
    tree = ast.parse((root / "rag_vqa" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = [alias.asname for node in block.body for alias in node.names]  # type: ignore[attr-defined]
    assert sorted(names) == sorted(rag_vqa.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = rag_vqa.Nothing
