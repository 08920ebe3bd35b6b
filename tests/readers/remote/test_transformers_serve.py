"""RemoteReader against `transformers serve` with the embedded reader: what LocalReader answers.

It needs what the server needs, fastapi and uvicorn, which nothing else here does.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from rag_vqa.checkpoints import embedded_model
from rag_vqa.errors import ReaderError
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import Prompt

pytestmark = pytest.mark.slow
FOLDER = str(embedded_model("reader"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", FOLDER, "--device", "cpu",
               "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=dict(os.environ))
    try:
        _await(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _await(health: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urlopen(health, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def local() -> LocalReader:
    return LocalReader(FOLDER, device="cpu", max_new_tokens=48, max_images=8)


@pytest.fixture(scope="module")
def prompts(local: LocalReader, tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Flags, each with a question and three documents, as `rag-vqa demo` puts them."""
    from rag_vqa.demo.gallery import build_knowledge_base, embedded_models_dir, example_questions
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.modeling.encoder import Encoder

    encoder = Encoder.load(embedded_models_dir() / "retriever")
    folder = tmp_path_factory.mktemp("flags") / "flags.kb"
    with build_knowledge_base(folder, encoder) as kb:
        rag = RagVqa(kb, local, k=3)
        queries = [example.query for example in example_questions("dev")[::30]][:8]
        return [rag.prompt(*pair) for pair in zip(queries, rag.retrieve(queries), strict=True)]


def test_the_same_answers_as_on_this_machine(
    address: str, local: LocalReader, prompts: list[Prompt]
) -> None:
    reader = RemoteReader(FOLDER, [address], max_new_tokens=48, max_images=8, tokenizer=FOLDER)
    here, there = local.generate(prompts), reader.generate(prompts)
    assert len({completion.text for completion in here}) > 4
    assert [each.text for each in there] == [each.text for each in here]
    assert [each.tokens_in for each in there] == [each.tokens_in for each in here]
    assert [reader.count(prompt) for prompt in prompts] == [each.tokens_in for each in here]
    heard = [""] * len(prompts)

    def on_text(row: int, piece: str) -> None:
        heard[row] += piece

    assert [each.text for each in reader.generate(prompts, on_text)] == heard
    assert heard == [each.text for each in here]


def test_it_tells_no_log_probabilities(address: str, prompts: list[Prompt]) -> None:
    reader = RemoteReader(FOLDER, [address], max_images=8)
    with pytest.raises(ReaderError, match="log probabilities"):
        reader.choice_probability(prompts[:1], ["yes", "no"])
