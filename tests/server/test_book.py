"""The shell commands in docs/serving.md do what the page says."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import running

from rag_vqa.demo.evaluation import load_demo_reader
from rag_vqa.demo.gallery import embedded_models_dir, real_documents, sample_photo
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder
from rag_vqa.server.access import read_token
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.service import Service

COUNTRIES = ("jamaica", "togo", "iraq")


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")


@pytest.fixture(scope="module")
def shell(page: str) -> list[str]:
    """The page's blocks, in order: ask without a picture and with one, search, make a token."""
    mark = "<!-- run: tests/server/test_book.py -->"
    return re.findall(rf"^{mark}\n```text\n(.*?)^```$", page, re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photo, and its documents on three countries as a knowledge base."""
    folder = tmp_path_factory.mktemp("book")
    sample_photo("JM").save(folder / "flag.png")
    with KnowledgeBase.create(folder / "flags.kb", Encoder.load("demo", device="cpu")) as kb:
        kb.add(document for document in real_documents() if document.parent in COUNTRIES)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A server of the embedded models, as `rag-vqa serve flags.kb` starts it."""
    with KnowledgeBase.open(folder / "flags.kb") as kb:
        reader = load_demo_reader(embedded_models_dir() / "reader", "nf4")
        with running(Service(Engine(RagVqa(kb, reader, k=3)))) as address:
            yield address


@pytest.fixture
def send(shell: list[str], address: str, folder: Path) -> Callable[[int], Any]:
    """Runs one of the page's blocks in a shell, with the real curl; its answer."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def send(number: int) -> Any:
        command = shell[number].replace("http://127.0.0.1:8000", address)
        assert command.count(address) == 1
        done = subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True)
        return json.loads(done.stdout)

    return send


@pytest.mark.parametrize("number", [0, 1])
def test_curl_gets_the_answer_that_the_page_shows(send, page: str, number: int) -> None:
    answer = send(number)
    content = answer["choices"][0]["message"]["content"]
    assert f"The `content` of both answers is `{content}`." in page
    assert answer["rag_vqa"]["hits"][0]["document"]["id"] == "jamaica/government"
    assert answer["rag_vqa"]["citations"] == [1]


def test_only_one_question_comes_with_a_picture(send) -> None:
    """Words are searched without a picture; the photo is recognised without words."""
    asked = [send(number)["rag_vqa"]["hits"][0]["scores"] for number in (0, 1)]
    assert ["lexical" in scores for scores in asked] == [True, False]


def test_curl_finds_the_hit_that_the_page_names(send, page: str) -> None:
    (hit,) = send(2)["hits"]
    assert f"The first hit is `{hit['document']['id']}`" in page
    assert hit["score"] == hit["scores"]["fused"] and hit["scores"]["lexical"] > 0


def test_the_token_s_line_makes_one_that_is_the_owner_s_alone(
    tmp_path: Path, shell: list[str]
) -> None:
    here = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    subprocess.run(["sh", "-c", shell[3]], cwd=tmp_path, env={"PATH": here}, check=True)
    token = tmp_path / "token.txt"
    assert re.fullmatch(r"[\w-]{43}", read_token(token, None))  # 32 bytes in base64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
