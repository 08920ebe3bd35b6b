"""The README and the book in docs/ do what they say. By what stands before or in a snippet:

- python and console blocks of a page run in order in one folder, python in one namespace, with the
  embedded models; `rag-vqa …` goes through the command line in this process, and must end with 0.
- `<!-- file: NAME -->` before a block: its text is that file.
- `<!-- needs a download -->` before a block: it runs like the others, with stand-ins of the models
  that it names: small ones of the true classes, from a hub on loopback (stand_ins.py).
- `<!-- not run: WHY -->` before a block: what it names must be there, as of the next.
- `<!-- run: FILE -->` before a block: that file of tests runs it; `tree:` says what wrote it.
- `<!-- output: rag-vqa … -->` before a block: the command prints these lines.
  Text has one of these, or says why it is not run.
- Output that a page shows is asserted: lines below the commands of a console block, comments at the
  end of Python, and code in "This prints `…`" behind a block.
- `make …`, `python …` and `curl …` are not run: their targets, variables, files, options and routes
  must exist.
"""

import re
import runpy
import shlex
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from book_snippets import (
    BLOCK,
    Snippet,
    anchors,
    check_command,
    check_shown,
    command,
    leaves,
    snippets,
    walk,
)
from stand_ins import serving, write_stand_ins

from rag_vqa.cli.app import run

DOWNLOAD, FILE, NOT_RUN, RUN = "needs a download", "file: ", "not run: ", "run: "
OUTPUT, TREE = "output: ", "tree: "
README_BYTES = 16_384  # at most
# Five pages begin with it, and it takes longest.
SHARED = shlex.split("rag-vqa demo --kb flags.kb --photo flag.png")
ROOT = Path(__file__).resolve().parents[1]
_ROW = re.compile(r"^\| `rag-vqa ([^`]+)` \|", re.M)


def docs(root: Path) -> list[Path]:
    return sorted((root / "docs").glob("*.md"))


def documents_not_run(root: Path) -> list[Path]:
    return [root / "CONTRIBUTING.md", root / "benchmarks" / "README.md"]


def documents(root: Path) -> list[Path]:
    return [root / "README.md", *documents_not_run(root), *docs(root)]


WRITTEN = ("json", "csv", "yaml", "html", "markdown")  # kinds of files that a page writes


@pytest.fixture
def readme(root: Path) -> Path:
    return root / "README.md"


def test_every_kind_of_snippet_has_a_rule(root) -> None:
    for file in documents(root):
        for snippet in snippets(file):
            assert snippet.kind in ("console", "python", "text", *WRITTEN), snippet.place
            assert snippet.kind != "console" or snippet.commands, f"{snippet.place}: no `$ ` line"
            if snippet.kind in WRITTEN:
                assert snippet.mark.startswith((FILE, NOT_RUN)), snippet.place
            if snippet.kind == "text" and file.name != "reference.md":  # docstrings
                assert snippet.mark.startswith((RUN, NOT_RUN, OUTPUT, TREE, FILE)), (
                    f"{snippet.place}: say who runs it, or why it is not run"
                )
            if snippet.mark.startswith(RUN):
                tests = (root / snippet.mark.removeprefix(RUN)).read_text("utf-8")
                assert f'"{file.name}"' in tests and snippet.mark in tests, snippet.place


def test_what_the_reference_points_to_has_an_entry(root) -> None:
    text = (root / "docs" / "reference.md").read_text("utf-8")
    entries = set(re.findall(r"^#{3,4} `([\w.]+)`$", text, re.M))
    named = set(re.findall(r"[Ss]ee\s+`([A-Z]\w+\.\w+)`", text))
    assert named and named <= entries, named - entries
    # Of those, the classes that signatures of others hand over.
    handed = {"Retriever", "Explanation", "PairMatch", "Span", "Patch", "AddReport", "SyncReport"}
    assert handed <= entries, handed - entries


def pages(root: Path) -> list[Path]:
    """What is run: the README, and the pages of the book but for the generated one."""
    return [root / "README.md", *(file for file in docs(root) if file.name != "reference.md")]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first page that runs SHARED leaves what it writes; the others copy it."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("stand-ins"))


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.stem)
def test_the_snippets_run_in_order(page, root, tmp_path, monkeypatch, capsys, shared, stand_ins):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the command line sets its own
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    space: dict[str, Any] = {"__name__": "readme"}
    for snippet in snippets(page):
        if snippet.mark.startswith(RUN):
            continue
        if snippet.mark.startswith(NOT_RUN):
            check_shown(snippet, root)
        elif snippet.mark.startswith(OUTPUT):
            assert run(shlex.split(snippet.mark.removeprefix(OUTPUT))[1:]) == 0
            check_printed(snippet, capsys)
        elif snippet.mark.startswith(FILE):
            file = Path(snippet.mark.removeprefix(FILE))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(snippet.body, "utf-8")
        elif snippet.kind == "python":
            code = compile(snippet.body, snippet.place, "exec")
            capsys.readouterr()
            with models_of(snippet, stand_ins):
                exec(code, space)
            check_printed(snippet, capsys)
        elif snippet.kind == "console":
            with models_of(snippet, stand_ins):
                run_console(snippet, root, capsys, shared)


def models_of(snippet: Snippet, stand_ins: Path) -> AbstractContextManager[Any]:
    """The models that a snippet needs: those of a hub, or only the embedded ones."""
    home = Path.cwd().parent / f"{Path.cwd().name}-home"
    return serving(stand_ins, home) if snippet.mark == DOWNLOAD else nullcontext()


def run_console(
    snippet: Snippet, root: Path, capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    for words in snippet.commands:
        if words[0] != "rag-vqa":
            check_command(words, root, snippet.place)
            continue
        if words == SHARED and any(shared.iterdir()):
            shutil.copytree(shared, Path.cwd(), dirs_exist_ok=True)
            continue
        capsys.readouterr()
        code = run(words[1:])
        shown = capsys.readouterr()
        told = f"{snippet.place}: {shlex.join(words)} ended with {code}: {shown.err}"
        assert code == 0, told
        assert (shown.out + shown.err).strip(), f"{told}nothing printed"
        if words == SHARED:
            shutil.copytree("flags.kb", shared / "flags.kb")
            shutil.copy("flag.png", shared)
        print(shown.out, shown.err, sep="\n")
    check_printed(snippet, capsys)


def check_printed(snippet: Snippet, capsys: pytest.CaptureFixture[str]) -> None:
    """What the page shows as printed was printed, line by line."""
    shown = capsys.readouterr()
    printed = [line.rstrip() for line in (shown.out + shown.err).splitlines()]
    missing = [line for line in snippet.printed if line.rstrip() not in printed]
    assert not missing, f"{snippet.place}: {missing} is not in {printed}"


def test_no_page_shows_output_that_nothing_asserts(root) -> None:
    for file in documents(root):
        for snippet in snippets(file):
            is_run = file not in documents_not_run(root) and file.name != "reference.md"
            if not is_run or snippet.mark.startswith(NOT_RUN):
                assert not snippet.printed, f"{snippet.place}: {snippet.printed}"


@pytest.mark.parametrize("page", documents_not_run(ROOT), ids=lambda page: page.name)
def test_what_the_other_documents_name_is_there(page, root) -> None:
    for snippet in snippets(page):
        check_shown(snippet, root)


def test_the_readme_is_short(readme) -> None:
    assert len(readme.read_bytes()) <= README_BYTES


def test_every_verb_stands_in_the_table(root) -> None:
    table = (root / "docs" / "commands.md").read_text("utf-8")
    assert sorted(_ROW.findall(table)) == sorted(leaves("", command()))


def test_every_option_named_is_one(readme, root) -> None:
    known = {name for _, verb in walk("", command()) for p in verb.params for name in p.opts}
    commands = (root / "docs" / "commands.md").read_text("utf-8")
    text = BLOCK.sub("", readme.read_text("utf-8") + commands)
    named = set(re.findall(r"`(--?[a-z][a-z-]*)", text))
    assert named - known - {"--help"} == set()


def test_the_presets_are_those_of_the_program(readme) -> None:
    from rag_vqa.formatting import format_bytes
    from rag_vqa.presets import PRESETS

    rows = [
        f"| `{preset.name}` | {preset.about} | {preset.retriever.rpartition('/')[2]} "
        f"| {preset.reader.rpartition('/')[2]} | {preset.quantization} "
        f"| {format_bytes(preset.download) if preset.download else 'none'} "
        f"| {format_bytes(preset.memory)} |"
        for preset in PRESETS.values()
    ]
    text = readme.read_text("utf-8")
    assert "\n".join(rows) in text, "the README's table of presets should read:\n" + "\n".join(rows)


def test_the_tree_names_every_module(root) -> None:
    generator = runpy.run_path(str(root / ".ci" / "tree.py"))
    text = (root / "docs" / "layout.md").read_text("utf-8")
    assert generator["placed"](text, generator["tree"]()) == text, "out of date: make readme"


def test_the_reference_says_what_the_docstrings_say(root) -> None:
    generator = runpy.run_path(str(root / ".ci" / "reference.py"))
    text = (root / "docs" / "reference.md").read_text("utf-8")
    assert generator["page"]() == text, "out of date: make readme"


def test_every_page_stands_in_the_book(root) -> None:
    contents = (root / "docs" / "README.md").read_text("utf-8")
    for page in docs(root):
        assert page.name == "README.md" or f"({page.name})" in contents, page.name


def test_links_lead_somewhere(root) -> None:
    for file in documents(root):
        prose = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)]+)\)", prose):
            if not link.startswith(("http", "#")):
                place, _, anchor = link.partition("#")
                target = file.parent / place
                assert target.exists(), f"{file.name}: {link}"
                assert not anchor or anchor in anchors(target), f"{file.name}: {link}"
