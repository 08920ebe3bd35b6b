"""RagVqa: a question travels one way. retrieve → hits, select → hits, answer → answers.

Knows the order of the steps, and wires retriever, prompts and readers, which never import one
another. Does not know how a document is encoded, how a prompt is worded, or how a model reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rag_vqa import checkpoints
from rag_vqa.answer_stream import stream_call
from rag_vqa.cited_answers import make_answer
from rag_vqa.critic import Critic, Filter
from rag_vqa.demo_limits import (
    ModelPair,
    default_reader,
    explain_unknown,
    is_unknown_to_demo,
    warn_once,
)
from rag_vqa.errors import BadImage, Missing, ReaderError, UsageError
from rag_vqa.readers.factory import check_reader_options, open_reader
from rag_vqa.types import (
    Answer,
    Completion,
    Hit,
    ImageSource,
    OnText,
    Passage,
    Prompt,
    Query,
    Where,
)

if TYPE_CHECKING:
    from rag_vqa.readers.base import Reader
    from rag_vqa.retriever.explain import Explanation
    from rag_vqa.retriever.knowledge_base import KnowledgeBase

CLOSED_BOOK = "closed-book"


class RagVqa:
    """Answers questions about images out of a knowledge base.

    Args:
        kb: a knowledge base, or the path of one.
        reader: a Reader, a model's folder or hub id, or "demo", the embedded model. It is loaded
            when it is first needed. "quote" needs no model: it quotes a sentence of the documents.
            None is "demo" over the demo's documents, or without any, and "quote" over others.
        quantization: of a reader given by name.
        servers: addresses of OpenAI-compatible servers that run the reader; none: it runs here.
        k: number of documents to retrieve; 0 asks the reader without retrieval.
        retriever: names the retriever that the knowledge base was built with. Only needed to
            combine "demo", the embedded one, with another reader, which is refused otherwise.
        template: a template of `rag_vqa.prompts`; questions without hits use "closed-book".
        language: language of the answers, e.g. "German"; "" leaves it to the reader.
        filter: chooses among the retrieved documents: "critic" (`rag_vqa.critic`, with this
            reader), or a Filter of your own. None keeps all. A question without documents left
            uses the template "closed-book".
        reader_options: options of `LocalReader` (device, dtype, max_new_tokens, …), or with
            `servers` of `RemoteReader`. None counts as not given; for defaults see `open_reader`.

    Raises:
        UsageError: k is negative, the filter is unknown, the reader does not take an option, or
            only one of retriever and reader is embedded.
        Mismatch: the knowledge base was built with another retriever than `retriever`.

    If an embedded model works on documents other than the demo's, it warns (DemoLimits) once.
    """

    def __init__(
        self,
        kb: KnowledgeBase | str | Path,
        reader: Reader | str | Path | None = None,
        *,
        quantization: Literal["nf4", "int8", "none"] | None = None,
        servers: Sequence[str] = (),
        k: int = 5,
        retriever: str | None = None,
        template: str = "answer",
        language: str = "",
        filter: Filter | Literal["critic"] | None = None,
        **reader_options: Any,
    ) -> None:
        if isinstance(filter, str) and filter != "critic":
            raise UsageError(f"filter = {filter!r}: give 'critic', a Filter, or None")
        self.k = _check_k(k)
        self.template = template
        self.language = language
        self.filter = Critic(lambda: self.reader) if isinstance(filter, str) else filter
        self._kb = kb
        self._reader = reader
        options = {"quantization": quantization, **reader_options}
        given = check_reader_options(reader, servers, options)
        self._reader_options = {"servers": servers, **given}
        self._named_retriever = retriever
        if not isinstance(kb, str | Path):
            self._check_models()
        elif (reader is not None or servers or retriever) and self._has_kb:
            self.kb  # noqa: B018  opens it

    def retrieve(
        self, queries: Sequence[Query], k: int | None = None, where: Where | None = None
    ) -> list[list[Hit]]:
        """The k best documents of each query, best first; all of them if there are fewer."""
        k = _check_k(self.k if k is None else k)
        if k == 0:
            return [[] for _ in queries]
        if not self.k:  # else checked when the knowledge base was opened
            self._models().check()
        return self.kb.search([self._add_instruction(query) for query in queries], k, where)

    def select(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The hits that the filter keeps; all of them without a filter."""
        if self.filter is None:
            return [list(found) for found in hits]
        return self.filter(queries, hits)

    def answer(
        self,
        queries: Sequence[Query],
        hits: Sequence[Sequence[Hit]],
        on_text: OnText | None = None,
    ) -> list[Answer]:
        """One answer for each query, from its own hits, in one batch of the reader.

        If a server fails for a query, that Answer has `finish` "failed".
        """
        prompts = [self.prompt(query, found) for query, found in zip(queries, hits, strict=True)]
        return self.read(queries, hits, prompts, on_text)

    def read(
        self,
        queries: Sequence[Query],
        hits: Sequence[Sequence[Hit]],
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Answer]:
        """The second half of `answer`, for prompts that are built already.

        `max_tokens`: longest answer of each query, see `Reader.generate`.
        """
        start = time.perf_counter()
        completions = self.reader.generate(prompts, on_text, max_tokens)
        seconds = {"read": time.perf_counter() - start}
        return [
            make_answer(query, found, prompt, self._add_note(completion), seconds)
            for query, found, prompt, completion in zip(
                queries, hits, prompts, completions, strict=True
            )
        ]

    def ask(
        self,
        text: str,
        image: ImageSource | None = None,
        *,
        instruction: str | None = None,
        k: int | None = None,
        where: Where | None = None,
    ) -> Answer:
        """The answer to one question, about one image or without one.

        Raises ReaderError if the reader's servers gave no answer.
        """
        return _require_answer(
            self.ask_many([Query(text, image, instruction)], k=k, where=where)[0]
        )

    def ask_many(
        self, queries: Sequence[Query], *, k: int | None = None, where: Where | None = None
    ) -> list[Answer]:
        """Answers in the order of the queries. Each stage is batched; seconds are per batch.

        Raises BadImage or Missing if an image cannot be opened; the message names its query.
        """
        if not queries:
            return []
        if any(not isinstance(query, Query) for query in queries):
            raise UsageError("queries are rag_vqa.Query: give ask_many([Query(text, image)])")
        with name_failing_query(queries):
            hits, seconds = self._retrieve_and_select(queries, k, where)
            return [_add_seconds(answer, seconds) for answer in self.answer(queries, hits)]

    def stream(
        self,
        text: str,
        image: ImageSource | None = None,
        *,
        instruction: str | None = None,
        k: int | None = None,
        where: Where | None = None,
    ) -> Iterator[tuple[Hit, ...] | str | Answer]:
        """The hits, then the answer's text piece by piece, then the Answer.

        The pieces join to the Answer's text, except for spaces at the end. Closing the iterator
        stops the reader.
        """
        query = Query(text, image, instruction)
        hits, seconds = self._retrieve_and_select([query], k, where)
        yield tuple(hits[0])

        def read(report: Callable[[str], bool]) -> Answer:
            return self.answer([query], hits, on_text=lambda row, piece: report(piece))[0]

        with closing(stream_call(read)) as events:
            has_text = False
            for event in events:
                if not isinstance(event, str):
                    yield _add_seconds(_require_answer(event), seconds)
                elif piece := event if has_text else event.lstrip():
                    has_text = True
                    yield piece

    def search(
        self,
        text: str = "",
        image: ImageSource | None = None,
        *,
        instruction: str | None = None,
        k: int | None = None,
        where: Where | None = None,
    ) -> list[Hit]:
        """Retrieves the k best documents, best first, without loading the reader.

        Raises UsageError if there is neither text nor image, or if k is 0.
        """
        k = _check_k(self.k if k is None else k, least=1)
        if not text.strip() and image in (None, ""):
            raise UsageError('nothing to look for: give a text, an image, or both: search("…")')
        return self.retrieve([Query(text, image, instruction)], k=k, where=where)[0]

    def explain(self, query: Query, passage: Passage, pairs: int | None = 5) -> Explanation:
        """Why a passage (of a hit: `hit.passage`) matches a query; see `Retriever.explain`."""
        asked = self.kb.retriever.encoded_query(self._add_instruction(query), self.kb.hybrid)
        return self.kb.retriever.explain(asked, passage, pairs)

    def prompt(self, query: Query, hits: Sequence[Hit], template: str | None = None) -> Prompt:
        """The exact prompt for one query and its hits, within the reader's limits.

        `template`: replaces the pipeline's own; without hits it is "closed-book" in any case.
        """
        from rag_vqa.prompts.builder import build_prompt

        template = (template or self.template) if hits else CLOSED_BOOK
        reader = self.reader
        return build_prompt(query, hits, reader.limits, reader.count, template, self.language)

    @property
    def filter_name(self) -> str:
        """The filter's name for records; "" without one. Loads the reader of a critic."""
        return "" if self.filter is None else self.filter.name

    @property
    def kb(self) -> KnowledgeBase:
        """The knowledge base, opened when first needed."""
        if isinstance(self._kb, str | Path):
            from rag_vqa.retriever.knowledge_base import KnowledgeBase

            self._kb = KnowledgeBase.open(self._kb)
            self._check_models()
        return self._kb

    @property
    def limits(self) -> str:
        """What the embedded models do not know of these documents, in one line; "" if nothing."""
        limits = self._models().describe_limits()
        return limits if limits and len(self.kb) and not self.kb.is_flag_world else ""

    @property
    def reader(self) -> Reader:
        """The reader, loaded when first needed."""
        if isinstance(self._reader, str | Path | None):
            if self.k and self._has_kb:
                self._models().check()
            self._reader = open_reader(self._reader_name(), **self._reader_options)
        return self._reader

    def _reader_name(self) -> str | None:
        """Name of the reader; None: the embedded one by default, or servers without a model."""
        if self._reader is not None or self._reader_options["servers"]:
            return None if self._reader is None else str(self._reader)
        name = default_reader(self.kb if self.k and self._has_kb else None)
        return None if name == checkpoints.EMBEDDED else name

    def _models(self) -> ModelPair:
        reader = self._reader_name() if self._reader is None else self._reader
        return ModelPair.from_parts(
            self.kb, reader, self._named_retriever, bool(self._reader_options["servers"])
        )

    def _check_models(self) -> None:
        """Refuse models that do not go together, and warn of the limits of embedded ones."""
        self._models().check(retrieves=self.k > 0)
        if self.kb.warns and self.limits:
            warn_once(self.limits)

    @property
    def _has_kb(self) -> bool:
        """False for a path without a knowledge base, which k = 0 never opens."""
        from rag_vqa.retriever.store.database import DATABASE_FILE

        return not isinstance(self._kb, str | Path) or (Path(self._kb) / DATABASE_FILE).is_file()

    def _add_note(self, completion: Completion) -> Completion:
        """The completion, with the reason if the embedded reader found no answer."""
        if not is_unknown_to_demo(completion.text, self.reader.name):
            return completion
        return replace(completion, note=explain_unknown(not self._has_kb or self.kb.is_flag_world))

    def _add_instruction(self, query: Query) -> Query:
        """The query with its task's instruction, if one is known for the retriever."""
        instruction = checkpoints.known_instruction(
            self.kb.manifest.source, bool(query.text), query.instruction
        )
        return replace(query, instruction=instruction)

    def _retrieve_and_select(
        self, queries: Sequence[Query], k: int | None, where: Where | None
    ) -> tuple[list[list[Hit]], dict[str, float]]:
        start = time.perf_counter()
        hits = self.retrieve(queries, k, where)
        retrieved = time.perf_counter()
        hits = self.select(queries, hits)
        selected = time.perf_counter()
        return hits, {"retrieve": retrieved - start, "select": selected - retrieved}


def _check_k(k: int, least: int = 0) -> int:
    if not isinstance(k, int) or k < least:
        raise UsageError(f"k = {k!r}: give {least or '0 (no retrieval)'} or more")
    return k


def _require_answer(answer: Answer) -> Answer:
    if answer.finish == "failed":
        raise ReaderError(answer.error)
    return answer


def _add_seconds(answer: Answer, seconds: Mapping[str, float]) -> Answer:
    return replace(answer, seconds={**seconds, **answer.seconds})


@contextmanager
def name_failing_query(queries: Sequence[Query]) -> Iterator[None]:
    """In this context, BadImage or Missing names the query, if there are several."""
    try:
        yield
    except (BadImage, Missing):
        if len(queries) > 1:
            _find_unreadable_image(queries)
        raise


def _find_unreadable_image(queries: Sequence[Query]) -> None:
    from rag_vqa import images

    for place, query in enumerate(queries):
        if query.image is not None and query.image != "":
            try:
                images.load(query.image)
            except (BadImage, Missing) as error:
                raise type(error)(f"queries[{place}]: {error}") from error
