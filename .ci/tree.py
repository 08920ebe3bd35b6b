"""Writes the tree of files in docs/layout.md, each module with the first sentence of its docstring.

Knows the folders of modules and the two marks in the page. Does not know what the modules do.
`make readme` runs it; tests/test_readme.py fails if the page is out of date.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rag_vqa", "retriever", "prompts", "eval")
BEGIN, END = "<!-- tree: make readme -->", "<!-- /tree -->"
WIDTH = 26  # of the column of names


def tree(root: Path = ROOT) -> str:
    """A line for each module; a folder comes before its files, names in alphabetical order."""
    return "\n".join(line for name in FOLDERS for line in _folder(root / name, 0))


def placed(page: str, lines: str) -> str:
    """The page with `lines` between its two marks. Raises ValueError if they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/layout.md holds no {BEGIN} … {END}")
    return f"{before}{begin}\n```text\n{lines}\n```\n{end}{after}"


def _folder(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", _about(folder / "__init__.py"), depth)
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            yield _line(file.name, _about(file), depth + 1)
    for inner in sorted(folder.iterdir()):
        # Links lead to the three folders beside rag_vqa; those have a tree of their own.
        if (inner / "__init__.py").is_file() and not inner.is_symlink():
            yield from _folder(inner, depth + 1)


def _line(name: str, about: str, depth: int) -> str:
    return f"{'  ' * depth}{name}".ljust(WIDTH) + f" {about}"


def _about(file: Path) -> str:
    said = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def main() -> None:
    """Writes docs/layout.md."""
    page = ROOT / "docs" / "layout.md"
    page.write_text(placed(page.read_text("utf-8"), tree()), "utf-8")


if __name__ == "__main__":
    main()
