"""The types that flow between all rooms: frozen dataclasses and type aliases.

Knows names and fields. Does not know how anything is stored, encoded, drawn or read. Imports
nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

if TYPE_CHECKING:
    from PIL.Image import Image

# An image: a path, the bytes of a file, or a decoded image. Only images.py opens it.
ImageSource: TypeAlias = Union[str, Path, bytes, "Image"]
Scalar: TypeAlias = str | int | float | bool | None
# A value of metadata: one value, or a list of them.
MetadataValue: TypeAlias = Scalar | tuple[Scalar, ...]
# A metadata filter: {"year": {">=": 1780, "<": 1850}, "kind": ["cup", "plate"]}, or texts as for
# --where: "year>=1780", ["year>=1780", "kind=cup,plate"]. See docs/documents.md.
Where: TypeAlias = Mapping[str, Any] | str | Sequence[str]
Finish: TypeAlias = Literal["stop", "length", "cancelled", "failed"]
# (row, piece) → False cancels that row.
OnText = Callable[[int, str], bool | None]
Quantization = Literal["nf4", "int8", "none"]
# How much a reader thinks before it answers; "on" leaves the amount to the model.
Thinking = Literal["off", "on", "low", "medium", "high"]
Hybrid = bool | Literal["auto"]  # whether a search ranks by words too; see `Retriever.search`


@dataclass(frozen=True, slots=True)
class Document:
    """What a user adds, finds, cites and deletes.

    Attributes:
        id: unique in its knowledge base.
        text: the text that the reader reads; may be empty if there is an image.
        images: sources of its images, in order.
        parent: the page, object or entity that it belongs to; "" if it stands alone.
        metadata: values for the filter `where=`; a list of values matches by any of them.
        retrieval_text: the text that is searched, if not `text` (another language, codes).
    """

    id: str
    text: str = ""
    title: str = ""
    section: str = ""
    images: tuple[ImageSource, ...] = ()
    parent: str = ""
    url: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    retrieval_text: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that the retriever encodes: a window of a document's text and at most one image."""

    document: str  # id of its document
    position: int  # 0-based, within the document
    text: str
    image: ImageSource | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A question about an image. `instruction` None means the retriever's default."""

    text: str = ""
    image: ImageSource | None = None
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved document: `rank` from 1, `score` of the last stage, `scores` by stage.

    Attributes:
        scores: "retrieve", "lexical", "fused"; see `Retriever.search` for their scales.
        shown: (name, value) of the metadata that the reader and people see, written for people.
    """

    document: Document
    passage: Passage
    rank: int
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of a prompt. Untrusted text must never become a control token."""

    text: str
    trusted: bool = False
    role: Literal["system", "user"] = "user"


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image of a prompt. `source` is "question" or a document's id."""

    image: ImageSource
    source: str = "question"


Part: TypeAlias = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input of a reader.

    Attributes:
        kept: the hits shown, in order: evidence [1] is `kept[0]`.
        dropped: from the id of each hit or image that is not shown, or not whole, to the reason. A
            hit that is in `kept` as well is shown by its passage only.
        numbered: the documents have numbers, which an answer should cite.
        question: the question alone; "" if whoever made the prompt did not say.
    """

    parts: tuple[Part, ...]
    template: str = ""
    kept: tuple[Hit, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False
    question: str = ""

    @property
    def text(self) -> str:
        """The prompt for people to read, with images as `<image: source>`."""
        return "".join(
            part.text if isinstance(part, TextPart) else f"<image: {part.source}>\n"
            for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """The output of a reader.

    Attributes:
        finish: why it ended; "failed": a server gave no answer for this row, and `error` says why.
        model: the model that a server names in its response; "" for a local reader.
        reasoning: what the model wrote as its thoughts; no part of `text`, never scored or cited.
        reasoning_tokens: how many of `tokens_out` are reasoning; 0 if that is not known.
        note: what people should know about this text, for instance why it is empty; "" if nothing.
    """

    text: str
    tokens_in: int
    tokens_out: int
    finish: Finish = "stop"
    error: str = ""
    model: str = ""
    reasoning: str = ""
    reasoning_tokens: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence.

    Attributes:
        text: the reader's text, without spaces around it.
        hits: all documents retrieved and selected; the reader saw `prompt.kept`.
        citations: numbers [n] in the text that exist in the prompt.
        invalid_citations: numbers [n] in the text that do not exist in the prompt.
        seconds: by stage: "retrieve", "select", "read".
        error: why there is no answer, if `finish` is "failed".
        model, reasoning, reasoning_tokens: see `Completion`.
        notes: what people should know about this answer, for instance why it is empty.
    """

    text: str
    query: Query
    hits: tuple[Hit, ...]
    prompt: Prompt
    tokens_in: int = 0
    tokens_out: int = 0
    finish: Finish = "stop"
    citations: tuple[int, ...] = ()
    invalid_citations: tuple[int, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    model: str = ""
    reasoning: str = ""
    reasoning_tokens: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A question of an evaluation, with its right answers.

    Attributes:
        answers: right answers as texts, for people and for pseudo-recall.
        relevant: ids of the documents or parents that hold the answer, according to `level`.
        oracle: ids of the documents in the oracle condition, best first; each may name a document
            or a parent. If empty, those of `relevant`.
        references: input of the benchmark's scorer, if not `answers`: InfoSeek's `answer_eval`
            (texts, or one {"range": [low, high]}), E-VQA's answer of each annotator.
        kind, split: question type and split, in the benchmark's own words.
        group: shared by related questions (an entity, an image); intervals resample whole groups.
        unanswerable: the right answer is that the answer is unknown.
        missing: name of an image that was not found; `query.image` is then None.
    """

    id: str
    query: Query
    answers: tuple[str, ...] = ()
    relevant: tuple[str, ...] = ()
    level: Literal["document", "parent"] = "document"
    oracle: tuple[str, ...] = ()
    references: tuple[Any, ...] = ()
    kind: str = ""
    split: str = ""
    group: str = ""
    unanswerable: bool = False
    missing: str = ""


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """The most that one prompt may hold.

    Attributes:
        images: number of images, including the question's.
        context: number of tokens, including image tokens, without the answer.
    """

    images: int
    context: int
