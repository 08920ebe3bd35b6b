"""What a JSON object of a response says: text, thoughts, a reason to end, token counts, an error.

Knows OpenAI's chat completions and the forms that other servers give them. Does not know whether
the object is the whole response or one of many (event_stream.py), or what becomes of it
(completion_request.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag_vqa.readers.remote.event_stream import ResponseObject
from rag_vqa.readers.remote.request_failures import (
    RequestFailure,
    RequestInfo,
    broken_answer,
    interpret_server_error,
    replace_surrogates,
)
from rag_vqa.readers.remote.server_error import parse_error

# What other servers than OpenAI's call "length".
_OUT_OF_TOKENS = ("length", "max_tokens", "max_output_tokens", "model_length", "token_limit")
_TEXT_FIELDS = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """What one object of a response adds to the answer.

    Attributes:
        reasoning: thoughts that the server keeps apart from the text.
        refusal: the model's words for not answering.
        tool: name of a tool that is called instead of an answer; "" if none.
        finish: why the answer ends, as `Completion.finish` or as the server says; "" if it goes on.
        usage: the server's count of tokens, of any type.
        model: its name in the response.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool: str = ""
    finish: str = ""
    usage: Any = None
    model: str = ""


def parse_part(found: ResponseObject, info: RequestInfo) -> AnswerPart:
    """What the object adds to the answer.

    Raises:
        RequestFailure: it reports an error, or is no chat completion.
    """
    choice = first_choice(found, info)
    delta = choice.get("delta")
    said = delta if isinstance(delta, Mapping) else choice.get("message")
    if not isinstance(said, Mapping):
        said = {}
    parts = _content_parts(said.get("content"), info)
    finish = choice.get("finish_reason")
    finish = finish.casefold() if isinstance(finish, str) else ""
    model = found.value.get("model")
    return AnswerPart(
        text="".join(text for kind, text in parts if kind == "text"),
        reasoning=_apart_reasoning(said) or "".join(t for kind, t in parts if kind == "thinking"),
        refusal=_text(said.get("refusal")) + "".join(t for kind, t in parts if kind == "refusal"),
        tool=_tool_name(said),
        finish="length" if finish in _OUT_OF_TOKENS else finish or ("stop" if found.whole else ""),
        usage=found.value.get("usage"),
        model=_text(model),
    )


def first_choice(found: ResponseObject, info: RequestInfo) -> Mapping[str, Any]:
    """The object's first choice; {} if it has none, as some objects of a stream.

    Raises:
        RequestFailure: it reports an error, or it is the whole response and no chat completion.
    """
    value = found.value
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice: Mapping[str, Any] = first if isinstance(first, Mapping) else {}
    failed = value.get("error") or value.get("object") == "error"
    if failed or (found.whole and choices is None and ("detail" in value or "message" in value)):
        raise interpret_server_error(parse_error(value), info)
    if error := choice.get("error"):  # OpenRouter's: of the provider behind it
        raise interpret_server_error(parse_error({"error": error}), info)
    if found.whole and not choice:
        if isinstance(choices, list):
            raise RequestFailure(f"{info.server} gave an empty answer, without choices", "retry")
        raise broken_answer("it has no choices", info)
    return choice


def _content_parts(content: Any, info: RequestInfo) -> list[tuple[str, str]]:
    """(type, text) of the parts of a message's `content`: a string, null, or a list of parts."""
    if isinstance(content, list):
        return [_read_part(part) for part in content]
    if content is None or isinstance(content, str):
        return [("text", _text(content))]
    raise RequestFailure(
        f"{info.server} gave a response that is not OpenAI's format: the content is no text but "
        f"{type(content).__name__}"
    )


def _read_part(part: Any) -> tuple[str, str]:
    """(type, text) of a part. Thoughts may be a list of parts themselves, as Mistral's."""
    if not isinstance(part, Mapping):
        return "text", _text(part)
    kind = str(part.get("type", "text"))
    inner = part.get("text" if kind == "text" else kind)
    if isinstance(inner, list):
        return kind, "".join(_read_part(each)[1] for each in inner)
    return kind, _text(inner or part.get("text"))


def _apart_reasoning(said: Mapping[str, Any]) -> str:
    """Thoughts in a field of their own; servers that give both fields repeat themselves."""
    return next((text for name in _TEXT_FIELDS if (text := _text(said.get(name)))), "")


def _tool_name(said: Mapping[str, Any]) -> str:
    calls = said.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else said.get("function_call")
    if not call:
        return ""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    return (_text(function.get("name")) if isinstance(function, Mapping) else "") or "a tool"


def _text(value: Any) -> str:
    return replace_surrogates(value) if isinstance(value, str) else ""


def token_count(usage: Any, *path: str) -> int:
    """A count of tokens; 0 if the server reports none or an invalid one.

    >>> token_count({"completion_tokens": 9}, "completion_tokens")
    9
    """
    for name in path:
        usage = usage.get(name) if isinstance(usage, Mapping) else None
    try:
        return max(0, int(usage))  # a server may send anything
    except (TypeError, ValueError, OverflowError):
        return 0
