"""A server in this process, and waits between tries that take no second."""

from collections.abc import Iterator

import pytest
from openai_server import OpenAiServer


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer() as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before another try that take no second."""
    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.FIRST_WAIT", 0.01)
