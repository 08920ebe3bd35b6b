"""The parts of a server, with fake models."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from held_reader import HeldReader

from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.service import Service

Make = Callable[..., Service]


@pytest.fixture
def make(birds: Path, encoder: Any, reader: Any, request: pytest.FixtureRequest) -> Make:
    """Makes services over the three birds; the reader answers `In burrows [1].`"""

    def made(*, reader: Any = reader, queue: int = 32, **parts: Any) -> Service:
        kb = KnowledgeBase.open(birds, encoder)
        request.addfinalizer(kb.close)
        return Service(Engine(RagVqa(kb, reader, k=2), queue=queue), **parts)

    return made


@pytest.fixture
def gate(reader: Any) -> Any:
    """A reader that waits until its gate is opened, then writes one word."""

    class Gated(type(reader)):  # type: ignore[misc]
        opened = threading.Event()
        begun = threading.Event()

        def _write(self, row: int, prompt: Any, on_text: Any, most: Any) -> Any:
            if on_text is None:  # the warm-up
                return super()._write(row, prompt, None, most)
            self.begun.set()
            while not self.opened.wait(0.01):
                if on_text is not None and on_text(row, "") is False:
                    break
            return super()._write(row, prompt, on_text, most)

    return Gated()


@pytest.fixture
def held() -> HeldReader:
    return HeldReader()


@pytest.fixture
def rag(birds: Path, encoder: Any, held: HeldReader) -> Iterator[RagVqa]:
    """A pipeline over the birds, with a reader that the test holds."""
    with KnowledgeBase.open(birds, encoder) as kb:
        yield RagVqa(kb, held, k=2)
