"""LangChain: a retriever, a chat model and a chain over a knowledge base. Needs rag-vqa[langchain].

Knows langchain-core's interfaces. Does not know how documents are found or read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rag_vqa.answer_stream import StopSequenceFilter, stream_call
from rag_vqa.cited_answers import cut_answer
from rag_vqa.errors import Missing, ReaderError, UsageError
from rag_vqa.integrations import MODEL_LOCK
from rag_vqa.pipeline import RagVqa
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.serialization import answer_fields, decode_base64_image, hit_fields
from rag_vqa.types import Answer, Hit, ImageSource, Query, Where

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForLLMRun,
        CallbackManagerForRetrieverRun,
    )
    from langchain_core.documents import Document
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import Runnable, RunnableLambda, run_in_executor
    from pydantic import ConfigDict, Field, PrivateAttr
except ImportError as error:
    raise Missing(
        "langchain-core is not installed. Install it: pip install 'rag-vqa[langchain]'"
    ) from error


class ReTRetriever(BaseRetriever):
    """Retrieves documents of a knowledge base by text, image, or both.

    `invoke("…", k=3, image="photo.jpg", where={"lang": "en"})`; arguments left out there are those
    of the constructor. Each Document has the text that the reader would get, its id, and as
    metadata the fields of `serialization.hit_fields`: title, score, passage, pictures, and the
    document's own metadata.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    kb: KnowledgeBase | str | Path
    k: int = 5
    where: Where | None = None
    _rag: RagVqa = PrivateAttr()
    _searched_kb: KnowledgeBase | str | Path = PrivateAttr()  # the `kb` that _rag searches

    def model_post_init(self, context: Any) -> None:
        """Checks k; the knowledge base opens at the first search."""
        super().model_post_init(context)
        self._rag, self._searched_kb = RagVqa(self.kb, k=self.k), self.kb

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        image: ImageSource | None = None,
        where: Where | None = None,
        **unknown: Any,
    ) -> list[Document]:
        _reject_unknown(unknown, "k, image and where")
        with MODEL_LOCK:
            if self.kb is not self._searched_kb:  # a field was set, or changed in a copy
                self._rag, self._searched_kb = RagVqa(self.kb), self.kb
            where = self.where if where is None else where
            k = self.k if k is None else k
            return to_documents(self._rag.search(query, image, k=k, where=where))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        # LangChain's own version drops the keywords.
        search, manager = self._get_relevant_documents, run_manager.get_sync()
        return await run_in_executor(None, search, query, run_manager=manager, **options)


class ChatRagVqa(BaseChatModel):
    """A chat model that answers from a knowledge base.

    The last human message is the question: its text, and its picture if it has one (base64 or a
    data URL; addresses are not fetched). Earlier messages, including system messages, are ignored:
    each question stands alone. Readers are greedy: `temperature` is 0. `invoke(…, k=3, where={…},
    stop=[…], max_tokens=64)`; `where` filters on metadata.

    The answer's evidence (`serialization.answer_fields`) is in `response_metadata["rag_vqa"]`, in a
    stream that of the last chunk. Answers never come from LangChain's cache, because the knowledge
    base can change.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    rag: RagVqa = Field(exclude=True, repr=False)
    stop: list[str] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: Literal[0] = 0
    streaming: bool = False
    cache: Any = False

    @property
    def _llm_type(self) -> str:
        return "rag-vqa"

    @property
    def model_name(self) -> str:
        """The reader's name."""
        return self.rag.reader.name

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        for event in self._events(messages, stop, **kwargs):
            if not isinstance(event, str):
                message = AIMessage(event.text, **self._metadata(event))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with closing(self._events(messages, stop, **kwargs)) as events:
            for event in events:
                chunk = self._chunk(event)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _chunk(self, event: str | Answer) -> ChatGenerationChunk:
        if isinstance(event, str):
            return ChatGenerationChunk(message=AIMessageChunk(content=event))
        last = AIMessageChunk(content="", chunk_position="last", **self._metadata(event))
        return ChatGenerationChunk(message=last)

    def _events(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        *,
        k: int | None = None,
        where: Where | None = None,
        max_tokens: int | None = None,
        temperature: float | None = 0,
        **unknown: Any,
    ) -> Generator[str | Answer, None, None]:
        """Pieces of the text, then the Answer. Closing it stops the reader."""
        _reject_unknown(unknown, "k, where, stop, max_tokens and temperature")
        if temperature:
            raise UsageError(
                f"temperature = {temperature}: readers are greedy. Give 0, or leave it out."
            )
        if max_tokens is not None and max_tokens < 1:
            raise UsageError(f"max_tokens = {max_tokens}: give 1 or more.")
        query, stop_sequences = to_query(messages), stop or self.stop or []
        max_tokens = self.max_tokens if max_tokens is None else max_tokens

        def read(report: Callable[[str], bool]) -> Answer:
            is_wanted = True

            def emit(piece: str) -> None:
                nonlocal is_wanted
                is_wanted = report(piece)

            text = StopSequenceFilter(emit, stop_sequences)
            with MODEL_LOCK:
                start = time.perf_counter()
                hits = self.rag.select([query], self.rag.retrieve([query], k, where))
                seconds = {"retrieve": time.perf_counter() - start}
                answer = self.rag.read(
                    [query],
                    hits,
                    [self.rag.prompt(query, hits[0])],
                    lambda row, piece: text.feed(piece) and is_wanted,
                    [max_tokens],
                )[0]
            return _finish(replace(answer, seconds={**seconds, **answer.seconds}), text)

        return stream_call(read)

    def _metadata(self, answer: Answer) -> dict[str, Any]:
        tokens = {"input_tokens": answer.tokens_in, "output_tokens": answer.tokens_out}
        return {
            "usage_metadata": {**tokens, "total_tokens": sum(tokens.values())},
            "response_metadata": {
                "model_name": answer.model or self.model_name,
                "finish_reason": answer.finish,
                "rag_vqa": answer_fields(answer),
            },
        }


def rag_chain(rag: RagVqa) -> Runnable[dict[str, Any], dict[str, Any]]:
    """A chain from {"question", "image"} (optionally "k", "where") to {"answer", "documents",
    "citations"}: the text, all documents found, and the numbers [n] in the text."""

    def ask(inputs: dict[str, Any]) -> dict[str, Any]:
        names = set(inputs) if isinstance(inputs, dict) else set()
        if "question" not in names or names - {"question", "image", "k", "where"}:
            raise UsageError(
                'Give {"question": "…", "image": …}, and optionally "k" and "where"; '
                f"this {f'has {sorted(names)}' if names else f'is {inputs!r:.80}'}."
            )
        with MODEL_LOCK:
            answer = rag.ask(
                inputs["question"],
                inputs.get("image"),
                k=inputs.get("k"),
                where=inputs.get("where"),
            )
        return {
            "answer": answer.text,
            "documents": to_documents(answer.hits),
            "citations": list(answer.citations),
        }

    return RunnableLambda(ask, name="rag-vqa")


def to_documents(hits: list[Hit] | tuple[Hit, ...]) -> list[Document]:
    """Hits as LangChain's Documents."""
    return [
        Document(hit.document.text, id=hit.document.id, metadata=hit_fields(hit)) for hit in hits
    ]


def to_query(messages: list[BaseMessage]) -> Query:
    """The last human message as a Query.

    Raises:
        UsageError: there is no such message, it has several pictures, or a block that is neither
            text nor picture.
        BadImage: the picture is an address, or not base64.
    """
    message = next((each for each in reversed(messages) if isinstance(each, HumanMessage)), None)
    if message is None:
        raise UsageError("There is no question. Give a human message with it.")
    texts: list[str] = []
    images: list[bytes] = []
    for block in message.content_blocks:
        if block["type"] == "text":
            texts.append(block["text"])
        elif block["type"] == "image":
            images.append(decode_base64_image(block.get("base64") or block.get("url") or ""))
        else:
            raise UsageError(f"A question is text and a picture; this one holds {block['type']!r}.")
    if len(images) > 1:
        raise UsageError(f"A question has one picture; this one has {len(images)}.")
    return Query("\n".join(texts), images[0] if images else None)


def _reject_unknown(unknown: Mapping[str, Any], known: str) -> None:
    if unknown:
        raise UsageError(f"{', '.join(sorted(unknown))}: unknown. Known are {known}.")


def _finish(answer: Answer, text: StopSequenceFilter) -> Answer:
    """The answer up to its stop sequence, after the text that was held back is passed on."""
    if answer.finish == "failed":
        raise ReaderError(answer.error)
    text.flush()
    return cut_answer(answer, text.text) if text.stopped else answer
