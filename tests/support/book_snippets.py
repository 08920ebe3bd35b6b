"""Code blocks of the README and the book, and checks that what they name exists.

Knows Markdown fences and the marks before them, Makefile targets, verbs and options. Does not know
which block is run (tests/test_readme.py).
"""

import ast
import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from rag_vqa.cli.app import app

BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*?) -->\n+)?```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Snippet:
    place: str  # README.md:12
    kind: str
    mark: str
    body: str
    after: str = ""  # the paragraph behind it

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command; what a console printed is left out."""
        lines = self.body.replace("\\\n", " ").splitlines()
        return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]

    @property
    def printed(self) -> list[str]:
        """Lines that its last commands print, as the page shows them: below commands in a console,
        in comments after the last line of Python, or as code in "This prints `…`" behind it."""
        lines = self.body.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            found = [line for line in lines if line.strip() and not line.startswith("$ ")]
        elif self.kind == "python":
            comments = list(itertools.takewhile(lambda line: line.startswith("# "), lines[::-1]))
            found = [line[2:] for line in comments[::-1]]
        else:
            found = lines if self.mark.startswith("output: ") else []
        told = re.match(r"(?:This|It|The last one) prints ((?:`[^`]+`[^`.]*)+)", self.after)
        return found + (re.findall(r"`([^`]+)`", told[1]) if told else [])


def snippets(file: Path) -> Iterator[Snippet]:
    text = file.read_text("utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("kind")) + 1
        after = " ".join(text[found.end() :].lstrip().partition("\n\n")[0].split())
        mark = (found["mark"] or "").strip()
        yield Snippet(f"{file.name}:{line}", found["kind"], mark, found["body"], after)


def check_shown(snippet: Snippet, root: Path) -> None:
    if snippet.kind == "python":
        compile(snippet.body, snippet.place, "exec")
        check_imports(snippet)
    for words in snippet.commands:
        check_command(words, root, snippet.place)


def anchors(page: Path) -> set[str]:
    """What headings are reached by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_command(words: list[str], root: Path, place: str) -> None:
    """What a command names is there. Raises AssertionError with its place."""
    program, rest = Path(words[0]).name, words[1:]
    if program == "accelerate":
        program, rest = "python", rest[rest.index("-m") :]
    if rest[:2] == ["-m", "rag_vqa"]:
        program, rest = "rag-vqa", rest[2:]
    makefile = (root / "Makefile").read_text("utf-8")
    if program == "make":
        targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
        assert targets is not None
        for word in rest:
            name, sign, _ = word.partition("=")
            known = re.search(rf"^{name} \?=", makefile, re.M) if sign else name in targets[1]
            assert known, f"{place}: make does not know {name}"
    elif program == "python":
        module = rest[1] if rest[0] == "-m" else rest[0]
        if module == "pytest":
            return
        found = find_spec(module) if rest[0] == "-m" else None
        source = Path(str(found.origin)) if found else root / module
        assert source.is_file(), f"{place}: there is no {module}"
        text = source.read_text("utf-8")
        for word in rest:
            if word.startswith("--"):
                assert f'"{word}"' in text, f"{place}: {module} has no {word}"
    else:
        assert program == "rag-vqa", f"{place}: no rule for {program}"
        named = (" ".join(rest[:2]), rest[0])  # kb build, or search
        verbs = dict(walk("", command()))
        verb = next((verbs[name] for name in named if name in verbs), None)
        assert verb is not None, f"{place}: rag-vqa has no verb {rest[0]}"
        options = {name for p in (*command().params, *verb.params) for name in p.opts}
        assert {word for word in rest if word.startswith("-")} <= options, place


def check_imports(snippet: Snippet) -> None:
    for node in ast.walk(ast.parse(snippet.body)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{snippet.place}: no {alias.name}"


def command() -> Any:
    return typer.main.get_command(app)


def walk(name: str, verb: Any) -> Iterator[tuple[str, Any]]:
    yield name, verb
    for word, inner in getattr(verb, "commands", {}).items():
        yield from walk(f"{name} {word}".strip(), inner)


def leaves(name: str, verb: Any) -> list[str]:
    """What can be run: a group too, where it does something by itself."""
    return [
        path
        for path, inner in walk(name, verb)
        if not hasattr(inner, "commands") or (path and inner.invoke_without_command)
    ]
