"""Request and response bodies: what clients may send, as pydantic models, and hits as JSON.

Knows names, types and bounds; every field is either used or refused by name. Does not know what is
done with them (routes/). OpenAI's fields follow its reference of chat completions. Fields that
cannot change a greedy answer, or that only say who asks, are accepted and ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from rag_vqa.serialization import document_fields, shown_json
from rag_vqa.server import request_limits
from rag_vqa.types import Document, Hit

MODEL_NAME = "rag-vqa"  # the name for OpenAI's clients: the whole pipeline, with any reader
_Integer: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_FiniteNumber: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_ShortText: TypeAlias = Annotated[str, Field(max_length=1_000)]
_MetadataValue: TypeAlias = bool | _Integer | _FiniteNumber | _ShortText | None
_MetadataValues: TypeAlias = _MetadataValue | Annotated[list[_MetadataValue], Field(max_length=100)]
_Conditions: TypeAlias = Annotated[
    dict[Literal["=", ">", ">=", "<", "<="], _MetadataValues], Field(min_length=1)
]
# {"year": {">=": 1780}, "kind": ["cup", "plate"]}, or conditions as for --where.
_FilterValue: TypeAlias = Annotated[
    Annotated[_Conditions, Tag("conditions")] | Annotated[_MetadataValues, Tag("value")],
    Discriminator(lambda value: "conditions" if isinstance(value, dict) else "value"),
]
MetadataFilter: TypeAlias = Annotated[
    Annotated[dict[_ShortText, _FilterValue], Field(max_length=16), Tag("names")]
    | Annotated[list[_ShortText], Field(max_length=16), Tag("list")]
    | Annotated[_ShortText, Tag("text")],
    Discriminator(lambda value: {dict: "names", list: "list"}.get(type(value), "text")),
]
QuestionText: TypeAlias = Annotated[str, Field(max_length=request_limits.MAX_QUESTION)]
InstructionText: TypeAlias = Annotated[str, Field(max_length=request_limits.MAX_INSTRUCTION)]
DocumentCount: TypeAlias = Annotated[int, Field(ge=0, le=request_limits.MAX_K)]
TokenCount: TypeAlias = Annotated[int, Field(ge=1, le=request_limits.MAX_NEW_TOKENS)]
# Without it, pydantic's message covers both types: it says of a list that it is no text.
_TEXT_OR_LIST = Discriminator(lambda value: "list" if isinstance(value, list) else "text")
_StopSequence: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]


def _require_greedy(value: float | None) -> float | None:
    if value not in (None, 0):
        raise ValueError("answers are greedy: leave it out, or give 0")
    return value


def _require_one_answer(value: int | None) -> int | None:
    if value not in (None, 1):
        raise ValueError("a question has one answer: leave it out, or give 1")
    return value


def _require_absent(value: Any) -> Any:
    if value not in (None, False, [], {}, 0, "none", {"type": "text"}, ["text"]):
        raise ValueError("not supported by this server: leave it out")
    return value


def _require_no_tools(value: Any) -> Any:
    return _require_absent(None if value == "auto" else value)


_Unsupported: TypeAlias = Annotated[Any, AfterValidator(_require_absent)]


class _RequestModel(BaseModel):
    """Refuses unknown fields and converts no types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_RequestModel):
    """Text in a message."""

    type: Literal["text"]
    text: QuestionText


class ImageUrl(_RequestModel):
    """A picture as a data URL, or as an address if the server fetches pictures. `detail` is
    ignored: the reader's settings decide the size."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_RequestModel):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


_ContentPart: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class UserMessage(BaseModel):
    """A message of the user. Other fields, such as `name`, are ignored."""

    model_config = ConfigDict(strict=True)

    role: Literal["user"]
    content: Annotated[
        Annotated[QuestionText, Tag("text")]
        | Annotated[list[_ContentPart], Field(max_length=request_limits.MAX_PARTS), Tag("list")],
        _TEXT_OR_LIST,
    ]


class OtherMessage(BaseModel):
    """Any other message. It is ignored: each question stands alone."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "assistant", "tool", "function"]
    content: Any = None


Message: TypeAlias = Annotated[UserMessage | OtherMessage, Field(discriminator="role")]


class RagVqaOptions(_RequestModel):
    """Options that OpenAI's reference has no field for."""

    k: DocumentCount | None = None
    where: MetadataFilter | None = None
    retrieval: bool = True
    prompt: bool = False
    instruction: InstructionText | None = None


class StreamOptions(_RequestModel):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(_RequestModel):
    """The body of `POST /v1/chat/completions` and `/v1/prompt`."""

    model: _ShortText = MODEL_NAME
    messages: Annotated[list[Message], Field(min_length=1, max_length=request_limits.MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    stop: (
        Annotated[
            Annotated[_StopSequence, Tag("text")]
            | Annotated[
                list[_StopSequence], Field(max_length=request_limits.MAX_STOPS), Tag("list")
            ],
            _TEXT_OR_LIST,
        ]
        | None
    ) = None
    rag_vqa: RagVqaOptions = RagVqaOptions()
    temperature: Annotated[float | None, AfterValidator(_require_greedy)] = None
    n: Annotated[int | None, AfterValidator(_require_one_answer)] = None
    # These cannot change a greedy answer …
    top_p: float | None = None
    seed: int | None = None
    # … these describe the caller, or what else to do with the answer …
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None
    # … and these are accepted only with values that ask for nothing.
    presence_penalty: _Unsupported = None
    frequency_penalty: _Unsupported = None
    logit_bias: _Unsupported = None
    logprobs: _Unsupported = None
    top_logprobs: _Unsupported = None
    tools: _Unsupported = None
    tool_choice: Annotated[Any, AfterValidator(_require_no_tools)] = None
    functions: _Unsupported = None
    function_call: _Unsupported = None
    response_format: _Unsupported = None
    modalities: _Unsupported = None

    @property
    def answer_tokens(self) -> int | None:
        """Most tokens of the answer: the smaller one of two fields with the same meaning."""
        limits = [each for each in (self.max_tokens, self.max_completion_tokens) if each]
        return min(limits, default=None)

    @property
    def stop_sequences(self) -> tuple[str, ...]:
        """Texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class SearchRequest(_RequestModel):
    """The body of `POST /v1/search`."""

    text: QuestionText = ""
    image: str | None = None
    k: Annotated[int, Field(ge=1, le=request_limits.MAX_K)] | None = None
    where: MetadataFilter | None = None
    instruction: InstructionText | None = None


class ExplainRequest(_RequestModel):
    """The body of `POST /v1/explain`: why does this passage of a document match?"""

    text: QuestionText = ""
    image: str | None = None
    instruction: InstructionText | None = None
    document: _ShortText
    position: Annotated[int, Field(ge=0, lt=2**31)] = 0


class NewDocument(_RequestModel):
    """A document to add. Its pictures are data URLs, never file names."""

    id: _ShortText
    text: Annotated[str, Field(max_length=request_limits.MAX_DOCUMENT_TEXT)] = ""
    retrieval_text: Annotated[str, Field(max_length=request_limits.MAX_DOCUMENT_TEXT)] = ""
    title: _ShortText = ""
    section: _ShortText = ""
    images: Annotated[list[str], Field(max_length=request_limits.MAX_DOCUMENT_IMAGES)] = []
    parent: _ShortText = ""
    url: _ShortText = ""
    metadata: Annotated[dict[_ShortText, _MetadataValues], Field(max_length=100)] = {}


class AddDocumentsRequest(_RequestModel):
    """The body of `POST /v1/documents`."""

    documents: Annotated[list[NewDocument], Field(max_length=request_limits.MAX_DOCUMENTS)]


class FeedbackRequest(_RequestModel):
    """The body of `POST /v1/feedback`: was the answer with this id good?"""

    id: Annotated[str, Field(max_length=100)]
    good: bool


def hit_response(hit: Hit) -> dict[str, Any]:
    """A hit as JSON."""
    passage, document = hit.passage, document_response(hit.document)
    positions = [n for n, image in enumerate(hit.document.images) if image == passage.image]
    return {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "document": document,
        "shown": shown_json(hit),
        "passage": {
            "text": passage.text,
            "position": passage.position,
            "image": document["images"][positions[0]] if positions else None,
        },
    }


def document_response(document: Document) -> dict[str, Any]:
    """A document as JSON. Its pictures are addresses below the server's root, never file names.

    >>> document_response(Document("a/b", images=("kept",)))["images"]
    ['/v1/documents/a%2Fb/image?n=0']
    """
    address = f"/v1/documents/{quote(document.id, safe='')}/image?n="
    return {
        **document_fields(document),
        "text": document.text,
        "images": [f"{address}{n}" for n in range(len(document.images))],
    }
