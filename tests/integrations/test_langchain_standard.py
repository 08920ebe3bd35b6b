"""LangChain's own tests of a retriever and a chat model, with fakes for both models.

What does not apply (tools, structured output, addresses of pictures, models by name) is declared
by the suite's own properties. Constructor arguments that would be ignored are refused, so that the
suite's standard ones (timeout, retries, a key) are not given.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests, RetrieversIntegrationTests
from langchain_tests.integration_tests import chat_models as suite
from langchain_tests.unit_tests import ChatModelUnitTests
from PIL import Image

from rag_vqa.integrations.langchain import ChatRagVqa, ReTRetriever
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def opened(self, birds: Path, encoder: Any) -> Iterator[None]:
        with KnowledgeBase.open(birds, encoder) as self.kb:
            yield

    @property
    def retriever_constructor(self) -> type[ReTRetriever]:
        return ReTRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"kb": self.kb}

    @property
    def retriever_query_example(self) -> str:
        return "Where do puffins nest?"


class ChatModel:
    """How both suites make and describe the chat model."""

    @pytest.fixture(autouse=True)
    def opened(
        self, birds: Path, encoder: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(picture, "PNG")
        answer = SimpleNamespace(content=picture.getvalue())
        monkeypatch.setattr(suite.httpx, "get", lambda url, timeout: answer)
        with KnowledgeBase.open(birds, encoder) as kb:
            self.rag = RagVqa(kb, reader, k=2)
            yield

    @property
    def chat_model_class(self) -> type[ChatRagVqa]:
        return ChatRagVqa

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"rag": self.rag}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "stop": []}

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False

    @property
    def supports_image_urls(self) -> bool:
        return False


class TestChatModel(ChatModel, ChatModelIntegrationTests):
    pass


class TestChatModelUnits(ChatModel, ChatModelUnitTests):
    pass
