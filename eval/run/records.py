"""Examples and answers as the JSON that a ledger keeps, and digests of what they depend on.

Knows fields. Does not know tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_vqa import images
from rag_vqa.errors import BadInput, Missing, UsageError
from rag_vqa.types import Answer, Example, ImagePart, ImageSource, Prompt, Query, TextPart

UNREADABLE = "unreadable"  # in place of the digest of a picture
_TUPLES = ("answers", "relevant", "oracle", "references")


def dumps(value: Any) -> str:
    """JSON with one form for one value: what is compared byte by byte."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """Of any JSON value: 32 hex digits."""
    data = dumps(value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def example_json(example: Example) -> dict[str, Any]:
    """What `example_of` reads back.

    Raises:
        UsageError: its picture is not a file, so that a run could not go on with it later.
    """
    image = example.query.image
    if image is not None and not isinstance(image, str | Path):
        raise UsageError(f"question {example.id}: its picture is no file. Save it first.")
    query = {
        "text": example.query.text,
        "image": None if image is None else str(Path(image).absolute()),
        "instruction": example.query.instruction,
    }
    fields = {name: getattr(example, name) for name in Example.__slots__ if name != "query"}
    fields |= {name: list(fields[name]) for name in _TUPLES}
    given = {name: value for name, value in fields.items() if value not in ("", [], False)}
    return {**given, "query": query}


def example_of(fields: Mapping[str, Any]) -> Example:
    """An Example that `example_json` wrote."""
    tuples = {name: tuple(fields[name]) for name in _TUPLES if name in fields}
    return Example(**{**fields, **tuples, "query": Query(**fields["query"])})


def answer_json(answer: Answer) -> dict[str, Any]:
    """What is kept of an Answer beside its prompt; nothing of it is a clock."""
    kept: dict[str, Any] = {
        "prediction": _sound(answer.text),
        "documents": [hit.document.id for hit in answer.hits],
        "kept": [hit.document.id for hit in answer.prompt.kept],
        "dropped": dict(answer.prompt.dropped),
        "citations": list(answer.citations),
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "finish": answer.finish,
    }
    if answer.model:
        kept["model"] = answer.model
    scores = [dict(hit.scores) for hit in answer.hits]
    if any(set(stages) - {"retrieve"} for stages in scores):
        kept["scores"] = scores
    return kept


def _sound(text: str) -> str:
    """Without halves of characters, which a server's JSON may hold and no file can."""
    return text.encode("utf-8", "replace").decode()


def prompt_digest(prompt: Prompt) -> str:
    """Of all that a reader is shown: texts, whom they are from, and the bytes of pictures."""
    return digest([_part(part) for part in prompt.parts])


def _part(part: TextPart | ImagePart) -> list[Any]:
    if isinstance(part, TextPart):
        return ["text", part.role, part.trusted, part.text]
    return ["image", image_digest(part.image)]


def image_digest(image: ImageSource | None) -> str:
    """Of a picture's bytes; "" of none, "unreadable" of one that cannot be read."""
    if image is None:
        return ""
    if not isinstance(image, str | Path | bytes):
        raise UsageError("A run takes pictures as files: save them first.")
    try:
        return images.content_hash(images.read_bytes(image))
    except (BadInput, Missing):
        return UNREADABLE
