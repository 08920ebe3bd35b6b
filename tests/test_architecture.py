"""Rules of the house that neither ruff, mypy nor import-linter keeps."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST = 400  # lines: a longer file is two ideas


def modules(root: Path) -> Iterator[Path]:
    for top in ("rag_vqa", "retriever", "prompts", "eval"):
        for file in (root / top).rglob("*.py"):
            if not any(parent.is_symlink() for parent in file.parents):
                yield file


def test_no_file_is_longer_than_one_idea(root) -> None:
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in modules(root)}
    assert {file: length for file, length in lengths.items() if length > LONGEST} == {}


def test_only_images_py_opens_a_picture(root) -> None:
    # photo.py unpacks the JPEG that it packed a line before: no file of anybody's.
    allowed = {root / "rag_vqa" / "images.py", root / "rag_vqa" / "demo" / "drawing" / "photo.py"}
    for file in set(modules(root)) - allowed:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            opens = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "open"
                and ast.unparse(node.func.value).split(".")[-1] == "Image"
            )
            assert not opens, f"{file}: pictures are opened by rag_vqa.images alone"


def test_what_flows_imports_nothing_of_ours(root) -> None:
    for name in ("types.py", "errors.py"):
        for node in ast.walk(ast.parse((root / "rag_vqa" / name).read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.level and not (node.module or "").startswith("rag_vqa")
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("rag_vqa") for alias in node.names)


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "misc"])
def test_every_file_is_named_after_what_it_knows(root, word) -> None:
    assert [file for file in modules(root) if file.stem == word] == []


def test_nothing_is_left_to_do(root) -> None:
    for file in modules(root):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            left = [mark for mark in ("TODO", "FIXME", "XXX", "HACK") if f"# {mark}" in line]
            assert not left, f"{file}:{number}: {left[0]}"
