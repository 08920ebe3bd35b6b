"""What clients may send, as pydantic models: each field honoured, or refused by name.

It knows names, types and bounds. It does not know what is done with them (chat.py, search.py,
documents.py). OpenAI's fields are as in its reference of chat completions; those that cannot
change a greedy answer, and those of it that say who asks, are taken and do nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from rag_vqa.server import budgets

MODEL = "rag-vqa"  # what OpenAI's clients call it: the pipeline, whatever reader it has


def _greedy(value: float | None) -> float | None:
    if value not in (None, 0):
        raise ValueError("answers are greedy: leave it out, or give 0")
    return value


def _one(value: int | None) -> int | None:
    if value not in (None, 1):
        raise ValueError("there is one answer to a question: leave it out, or give 1")
    return value


def _absent(value: Any) -> Any:
    if value not in (None, False, [], {}, 0, "none", {"type": "text"}, ["text"]):
        raise ValueError("this server does not do that: leave it out")
    return value


def _without_tools(value: Any) -> Any:
    return _absent(None if value == "auto" else value)


_Refused: TypeAlias = Annotated[Any, AfterValidator(_absent)]
_Whole: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Text: TypeAlias = Annotated[str, Field(max_length=1_000)]
_Value: TypeAlias = bool | _Whole | _Number | _Text | None
Filter: TypeAlias = Annotated[
    dict[_Text, _Value | Annotated[list[_Value], Field(max_length=100)]], Field(max_length=16)
]
Question: TypeAlias = Annotated[str, Field(max_length=budgets.MAX_QUESTION)]
Instruction: TypeAlias = Annotated[str, Field(max_length=budgets.MAX_INSTRUCTION)]
Documents: TypeAlias = Annotated[int, Field(ge=0, le=budgets.MAX_K)]
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=budgets.MAX_NEW_TOKENS)]
# Else pydantic tells of each kind why it is none, of a list first that it is no text.
_TEXT_OR_LIST = Discriminator(lambda value: "list" if isinstance(value, list) else "text")
_Stop: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Asked):
    """A text of a message."""

    type: Literal["text"]
    text: Question


class Address(_Asked):
    """A picture as a data address, or where it is, for a server that fetches. `detail` does
    nothing: the reader's settings say how large."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class PicturePart(_Asked):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: Address


_Part: TypeAlias = Annotated[TextPart | PicturePart, Field(discriminator="type")]


class UserMessage(BaseModel):
    """What a person wrote. Further fields, such as `name`, do nothing."""

    model_config = ConfigDict(strict=True)

    role: Literal["user"]
    content: Annotated[
        Annotated[Question, Tag("text")]
        | Annotated[list[_Part], Field(max_length=budgets.MAX_PARTS), Tag("list")],
        _TEXT_OR_LIST,
    ]


class OtherMessage(BaseModel):
    """What somebody else said before. It is not read: each question stands alone."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "assistant", "tool", "function"]
    content: Any = None


Message: TypeAlias = Annotated[UserMessage | OtherMessage, Field(discriminator="role")]


class Options(_Asked):
    """What OpenAI's reference has no field for."""

    k: Documents | None = None
    where: Filter | None = None
    retrieval: bool = True
    prompt: bool = False
    instruction: Instruction | None = None


class StreamOptions(_Asked):
    """Of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(_Asked):
    """`POST /v1/chat/completions`, and `/v1/prompt`."""

    model: _Text = MODEL
    messages: Annotated[list[Message], Field(min_length=1, max_length=budgets.MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: (
        Annotated[
            Annotated[_Stop, Tag("text")]
            | Annotated[list[_Stop], Field(max_length=budgets.MAX_STOPS), Tag("list")],
            _TEXT_OR_LIST,
        ]
        | None
    ) = None
    rag_vqa: Options = Options()
    temperature: Annotated[float | None, AfterValidator(_greedy)] = None
    n: Annotated[int | None, AfterValidator(_one)] = None
    # These cannot change a greedy answer …
    top_p: float | None = None
    seed: int | None = None
    # … these say who asks, or what else is done with the answer …
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    # … and these are taken where they ask for nothing.
    presence_penalty: _Refused = None
    frequency_penalty: _Refused = None
    logit_bias: _Refused = None
    logprobs: _Refused = None
    top_logprobs: _Refused = None
    tools: _Refused = None
    tool_choice: Annotated[Any, AfterValidator(_without_tools)] = None
    functions: _Refused = None
    function_call: _Refused = None
    response_format: _Refused = None
    modalities: _Refused = None

    @property
    def limit(self) -> int | None:
        """Tokens of the answer, the smaller of two numbers that mean the same."""
        given = [each for each in (self.max_tokens, self.max_completion_tokens) if each]
        return min(given, default=None)

    @property
    def stops(self) -> tuple[str, ...]:
        """Where the answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class SearchRequest(_Asked):
    """`POST /v1/search`."""

    text: Question = ""
    image: str | None = None
    k: Annotated[int, Field(ge=1, le=budgets.MAX_K)] | None = None
    where: Filter | None = None
    instruction: Instruction | None = None


class ExplainRequest(_Asked):
    """`POST /v1/explain`: why a passage of a document matches."""

    text: Question = ""
    image: str | None = None
    instruction: Instruction | None = None
    document: _Text
    position: Annotated[int, Field(ge=0, lt=2**31)] = 0


class DocumentGiven(_Asked):
    """A document to add; pictures are data addresses, never names of files."""

    id: _Text
    text: Annotated[str, Field(max_length=budgets.MAX_DOCUMENT_TEXT)] = ""
    retrieval_text: Annotated[str, Field(max_length=budgets.MAX_DOCUMENT_TEXT)] = ""
    title: _Text = ""
    section: _Text = ""
    images: Annotated[list[str], Field(max_length=budgets.MAX_DOCUMENT_IMAGES)] = []
    parent: _Text = ""
    url: _Text = ""
    metadata: Annotated[dict[_Text, _Value], Field(max_length=100)] = {}


class DocumentsRequest(_Asked):
    """`POST /v1/documents`."""

    documents: Annotated[list[DocumentGiven], Field(max_length=budgets.MAX_DOCUMENTS)]


class FeedbackRequest(_Asked):
    """`POST /v1/feedback`: whether an answer, by its id, was good."""

    id: Annotated[str, Field(max_length=100)]
    good: bool
