"""RagVqa: a question travels one way. retrieve → hits, select → hits, answer → answers.

Wires retriever, prompts and readers, which never import one another. Does not know how a document
is encoded, how a prompt is worded, or how a model reads.
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
from rag_vqa.critic import Critic, Filter
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
        reader: a Reader, a model's folder or hub id, or "demo", the embedded one (loaded when
            first needed); None is "demo" too, which is then logged.
        quantization: of a reader named by its id.
        k: documents to retrieve; 0 asks the reader without retrieval.
        template: of `rag_vqa.prompts`; a question without hits is put by "closed-book".
        language: of answers, e.g. "German"; "" leaves it to the reader.
        filter: chooses among what was retrieved: "critic" (`rag_vqa.critic`, judging with this
            reader), or a Filter of your own. None reads all. A question of which it leaves no
            document is put by "closed-book" too.
        reader_options: of `LocalReader` (device, dtype, max_new_tokens, …), with servers of
            `RemoteReader`; None is not given. See `open_reader` for what is taken then.
    Raises:
        UsageError: k is negative, no such filter, or an option that the reader does not take.
    """

    def __init__(
        self,
        kb: KnowledgeBase | str | Path,
        reader: Reader | str | Path | None = None,
        *,
        quantization: Literal["nf4", "int8", "none"] | None = None,
        servers: Sequence[str] = (),
        k: int = 5,
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

    def retrieve(
        self, queries: Sequence[Query], k: int | None = None, where: Where | None = None
    ) -> list[list[Hit]]:
        """The k best documents of each query, best first; all of them if there are fewer."""
        k = _check_k(self.k if k is None else k)
        if k == 0:
            return [[] for _ in queries]
        return self.kb.search([self._add_instruction(query) for query in queries], k, where)

    def select(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Those hits that are worth reading, by the filter; without one, all of them."""
        if self.filter is None:
            return [list(found) for found in hits]
        return self.filter(queries, hits)

    def answer(
        self,
        queries: Sequence[Query],
        hits: Sequence[Sequence[Hit]],
        on_text: OnText | None = None,
    ) -> list[Answer]:
        """One answer for each query, from its own hits; all are read in one batch.

        Where a server gave nothing for a row, that Answer says so: `finish` is "failed".
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
        """The second half of `answer`, for prompts that are built.

        `max_tokens`: of each answer, see `Reader.generate`.
        """
        start = time.perf_counter()
        completions = self.reader.generate(prompts, on_text, max_tokens)
        seconds = {"read": time.perf_counter() - start}
        return [
            _make_answer(query, found, prompt, completion, seconds)
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
        """The answer to one question about one image (or about none).

        Raises ReaderError where a server gave none.
        """
        return _require_answer(
            self.ask_many([Query(text, image, instruction)], k=k, where=where)[0]
        )

    def ask_many(
        self, queries: Sequence[Query], *, k: int | None = None, where: Where | None = None
    ) -> list[Answer]:
        """Answers in the order of the queries, each stage batched; seconds are of the batch.

        Raises BadImage or Missing where a picture cannot be opened: it says of which query.
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

        The pieces join to its text, but for spaces at the end. Closing the iterator stops the
        reader.
        """
        query = Query(text, image, instruction)
        hits, seconds = self._retrieve_and_select([query], k, where)
        yield tuple(hits[0])

        def read(report: Callable[[str], bool]) -> Answer:
            return self.answer([query], hits, on_text=lambda row, piece: report(piece))[0]

        with closing(stream_call(read)) as events:
            begun = False
            for event in events:
                if not isinstance(event, str):
                    yield _add_seconds(_require_answer(event), seconds)
                elif piece := event if begun else event.lstrip():
                    begun = True
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
        """Retrieval alone: the k best documents, best first. No reader is loaded.

        Raises UsageError where there is neither text nor image, or k is 0.
        """
        k = _check_k(self.k if k is None else k, least=1)
        if not text.strip() and image in (None, ""):
            raise UsageError('nothing to look for: give a text, an image, or both: search("…")')
        return self.retrieve([Query(text, image, instruction)], k=k, where=where)[0]

    def explain(self, query: Query, passage: Passage, pairs: int | None = 5) -> Explanation:
        """Why a passage (of a hit: `hit.passage`) matches a query; see `Retriever.explain`."""
        return self.kb.retriever.explain(self._add_instruction(query), passage, pairs)

    def prompt(self, query: Query, hits: Sequence[Hit], template: str | None = None) -> Prompt:
        """The exact prompt for one query and its hits, within the reader's limits.

        `template`: in place of the pipeline's own; without hits it is "closed-book" anyway.
        """
        from rag_vqa.prompts.builder import build_prompt

        template = (template or self.template) if hits else CLOSED_BOOK
        reader = self.reader
        return build_prompt(query, hits, reader.limits, reader.count, template, self.language)

    @property
    def filter_name(self) -> str:
        """For records: what chose among the hits; "" if nothing did. A critic's reader loads."""
        return "" if self.filter is None else self.filter.name

    @property
    def kb(self) -> KnowledgeBase:
        """The knowledge base, opened when first needed."""
        if isinstance(self._kb, str | Path):
            from rag_vqa.retriever.knowledge_base import KnowledgeBase

            self._kb = KnowledgeBase.open(self._kb)
        return self._kb

    @property
    def reader(self) -> Reader:
        """The reader, loaded when first needed."""
        if isinstance(self._reader, str | Path | None):
            named = None if self._reader is None else str(self._reader)
            self._reader = open_reader(named, **self._reader_options)
        return self._reader

    def _add_instruction(self, query: Query) -> Query:
        """The query with its task's instruction, where the retriever is known to have one."""
        given = checkpoints.known_instruction(
            self.kb.manifest.source, bool(query.text), query.instruction
        )
        return replace(query, instruction=given)

    def _retrieve_and_select(
        self, queries: Sequence[Query], k: int | None, where: Where | None
    ) -> tuple[list[list[Hit]], dict[str, float]]:
        start = time.perf_counter()
        hits = self.retrieve(queries, k, where)
        retrieved = time.perf_counter()
        hits = self.select(queries, hits)
        selected = time.perf_counter()
        return hits, {"retrieve": retrieved - start, "select": selected - retrieved}


def _make_answer(
    query: Query,
    hits: Sequence[Hit],
    prompt: Prompt,
    completion: Completion,
    seconds: Mapping[str, float],
) -> Answer:
    from rag_vqa.prompts.citations import parse_citations

    citations = parse_citations(completion.text, len(prompt.kept))
    return Answer(
        text=completion.text.strip(),
        query=query,
        hits=tuple(hits),
        prompt=prompt,
        tokens_in=completion.tokens_in,
        tokens_out=completion.tokens_out,
        finish=completion.finish,
        citations=citations.there,
        invalid_citations=citations.invalid,
        seconds=seconds,
        error=completion.error,
        model=completion.model,
    )


def cut_answer(answer: Answer, text: str) -> Answer:
    """The answer with its text cut to `text`, and only the citations that are left in it."""
    from rag_vqa.prompts.citations import parse_citations

    citations = parse_citations(text, len(answer.prompt.kept))
    return replace(
        answer,
        text=text.strip(),
        finish="stop",
        citations=citations.there,
        invalid_citations=citations.invalid,
    )


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
    """Within, BadImage or Missing of a picture says whose it is, where several are asked."""
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
