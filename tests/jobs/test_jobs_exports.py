"""The jobs that `rag_vqa.jobs` offers: all there, and the same for type checkers."""

import ast
from pathlib import Path

import pytest

from rag_vqa import jobs


@pytest.mark.parametrize("name", jobs.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(jobs, name).__name__ == name


def test_type_checkers_see_the_same_names(root: Path) -> None:
    tree = ast.parse((root / "rag_vqa" / "jobs" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = [alias.asname for node in block.body for alias in node.names]  # type: ignore[attr-defined]
    assert names and sorted(names, key=str) == sorted(jobs.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jobs.nothing
