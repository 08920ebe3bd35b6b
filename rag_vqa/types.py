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


# A picture: a path, the bytes of a file, or an image already decoded. Only images.py opens it.
ImageSource: TypeAlias = Union[str, Path, bytes, "Image"]
Scalar: TypeAlias = str | int | float | bool | None
# A metadata filter: the value that each name must have, or a list of values that it may have.
Where: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]
Finish: TypeAlias = Literal["stop", "length", "cancelled", "failed"]
# (row, piece) → False cancels that row.
OnText = Callable[[int, str], bool | None]
Quantization = Literal["nf4", "int8", "none"]


@dataclass(frozen=True, slots=True)
class Document:
    """What a user adds, finds, cites and deletes.

    Attributes:
        id: unique in its knowledge base.
        text: what is read; may be empty if there is an image.
        retrieval_text: what is searched, where that is not `text` (another language, codes).
        images: sources of its pictures, in order.
        parent: the page, object or entity that it belongs to; "" if it stands alone.
        metadata: what `where=` filters on.
    """

    id: str
    text: str = ""
    title: str = ""
    section: str = ""
    images: tuple[ImageSource, ...] = ()
    parent: str = ""
    url: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    retrieval_text: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """What ReT encodes and the index holds: a window of a document's text, at most one image."""

    document: str  # id of its document
    position: int  # 0-based, within the document
    text: str
    image: ImageSource | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A question about an image. `instruction` None means the retriever's default one."""

    text: str = ""
    image: ImageSource | None = None
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One document found: `rank` from 1, `score` of the last stage, `scores` by stage."""

    document: Document
    passage: Passage
    rank: int
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of a prompt. What is not trusted must never become a control token."""

    text: str
    trusted: bool = False
    role: Literal["system", "user"] = "user"


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture of a prompt; `source` says whose: "question", or a document's id."""

    image: ImageSource
    source: str = "question"


Part: TypeAlias = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a reader is given. `kept` are the hits shown, in order: evidence [1] is `kept[0]`.

    `dropped` maps the id of each hit or image that did not fit, or not whole, to the reason: one
    of `kept` whose id is in it is shown by its passage. `numbered`: its
    documents have numbers, which an answer is to cite.
    """

    parts: tuple[Part, ...]
    template: str = ""
    kept: tuple[Hit, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False

    @property
    def text(self) -> str:
        """The prompt as a person reads it, images as `<image: source>`."""
        return "".join(
            part.text if isinstance(part, TextPart) else f"<image: {part.source}>\n"
            for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """What a reader wrote.

    Attributes:
        finish: why it ended; "failed": a server gave nothing for this row, and `error` says why.
        model: what a server says that it served; "" of a reader on this machine.
    """

    text: str
    tokens_in: int
    tokens_out: int
    finish: Finish = "stop"
    error: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence.

    Attributes:
        text: as the reader wrote it, without spaces around it.
        hits: all that was retrieved and selected; `prompt.kept` are those the reader saw.
        citations: numbers [n] in the text that exist in the prompt.
        invalid_citations: those that do not.
        seconds: by stage: "retrieve", "select", "read".
        error: why there is no answer, where `finish` is "failed".
        model: see `Completion`.
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


@dataclass(frozen=True, slots=True)
class Example:
    """A question of an evaluation with what is right.

    Attributes:
        answers: right answers as texts: what people read, and what pseudo-recall looks for.
        relevant: ids of what holds the answer, at their level.
        oracle: ids of the documents given in the oracle condition, best first; each may name a
            document or a parent. Empty: those of `relevant`.
        references: what the benchmark's scorer takes, where that is not `answers`: InfoSeek's
            `answer_eval` (texts, or one {"range": [low, high]}), E-VQA's answer of each annotator.
        kind, split: question type and part of the benchmark, in its own words.
        group: what related questions share (an entity, a picture); intervals draw groups whole.
        unanswerable: the right answer is that it is not known.
        missing: name of the picture that is not there; `query.image` is then None.
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
        images: pictures in one prompt, the question's among them.
        context: tokens of one prompt, image tokens among them; room for the answer is off.
    """

    images: int
    context: int
