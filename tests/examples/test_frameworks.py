"""The examples of frameworks, run as they stand with the embedded models on four documents."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from served import running
from transformers.utils.logging import enable_progress_bar

from rag_vqa.demo.gallery import real_documents, sample_photo
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.service import Service

Example = Callable[..., str]


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a knowledge base of two countries and the photo of one's flag."""
    folder = tmp_path_factory.mktemp("flags")
    wanted = [(title, section) for title in ("Jamaica", "Iceland") for section in
              ("government", "people")]  # fmt: skip
    encoder = Encoder.load("demo", device="cpu")
    with KnowledgeBase.create(folder / "flags.kb", encoder) as kb:
        kb.add([one for one in real_documents() if (one.title, one.section) in wanted])
        assert len(kb) == 4
    sample_photo("JM").save(folder / "flag.png")
    return folder


@pytest.fixture
def example(
    root: Path, flags: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Example:
    def run(name: str, *args: str) -> str:
        monkeypatch.chdir(root)  # so that a program that it starts finds the package as well
        given = [str(flags / "flags.kb"), str(flags / "flag.png")]
        monkeypatch.setattr(sys, "argv", [name, *(args or given)])
        capfd.readouterr()
        enable_progress_bar()
        runpy.run_path(str(root / "examples" / name), run_name="__main__")
        said = capfd.readouterr()
        assert "Loading weights" not in said.err
        return said.out

    return run


def test_langchain(example: Example) -> None:
    retriever, chain, chat = example("langchain_rag.py").split("==")[1:]
    assert "government: The capital is Kingston." in retriever.splitlines()[1]
    assert "Kingston" in chain.splitlines()[1] and "government'" in chain.splitlines()[1]
    assert "Kingston" in chat.splitlines()[1] and "evidence:" in chat.splitlines()[2]


def test_llamaindex(example: Example) -> None:
    lines = example("llamaindex_search.py").splitlines()
    assert len(lines) == 3
    assert "government (with a picture): The capital is Kingston." in lines[0]


def test_mcp(example: Example) -> None:
    tools, *found, answer = example("mcp_client.py").splitlines()
    assert tools == "tools: ['search', 'ask']" and len(found) == 3
    assert "Kingston" in found[0] and answer == "[1] Kingston cites [1]"


def test_mcp_says_why_its_server_does_not_start(root: Path, flags: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/mcp_client.py", "nope.kb", str(flags / "flag.png")],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: nope.kb: no such knowledge base")
    assert len(done.stderr.splitlines()) == 1


def test_http(example: Example, flags: Path) -> None:
    with KnowledgeBase.open(flags / "flags.kb") as kb:
        service = Service(Engine(RagVqa(kb, "demo")))
        with running(service) as address:
            *found, answer, cites = example(
                "http_client.py", address, str(flags / "flag.png")
            ).splitlines()
    assert len(found) == 3 and found[0].endswith("government")
    assert "Kingston" in answer and cites == "cites [1]"


async def test_the_book_s_mcp_json_starts_from_any_folder(root: Path, flags: Path) -> None:
    page = (root / "docs" / "integrations.md").read_text("utf-8")
    [written] = re.findall(r"<!-- file: mcp.json -->\n```json\n(.*?)```", page, re.S)
    here = {
        "/home/you/rag-vqa/.venv/bin/rag-vqa": str(Path(sys.executable).with_name("rag-vqa")),
        "/home/you/flags.kb": str(flags / "flags.kb"),
        "/home/you/photos": str(flags),
    }
    server = json.loads(written)["mcpServers"]["flags"]
    command, *args = (here.get(word, word) for word in [server["command"], *server["args"]])
    # Of this process's environment a client hands on little: no PATH of a virtual environment.
    started = StdioServerParameters(
        command=command, args=args, cwd="/", env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)}
    )
    async with Client(started) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == ["search", "ask"]


@pytest.mark.parametrize(
    "name", ["http_client", "langchain_rag", "llamaindex_search", "mcp_client"]
)
@pytest.mark.parametrize("given", [[], ["flags.kb"], ["a", "b", "c"]])
def test_without_its_two_arguments_an_example_says_how_it_is_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *given])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "examples" / f"{name}.py"), run_name="__main__")
    assert f"\npython examples/{name}.py " in str(ended.value)
