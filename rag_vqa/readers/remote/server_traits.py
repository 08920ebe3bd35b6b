"""What one server takes: parameters that it refuses are renamed or left out, and remembered.

Knows how servers say that they do not take a parameter, and what to send instead. Does not know
what a request asks (completion_request.py), or what else an error means (request_failures.py).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from rag_vqa.readers.remote.server_error import ServerError

RequestBody = dict[str, Any]
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Without these a request asks something else, so that their refusal is the answer.
_REQUIRED = ("model", "messages", "logprobs")
# An error that as much as mentions one of these is about it.
_EXTRAS = ("chat_template_kwargs", "reasoning_effort", "stream_options", "top_logprobs")
_FEWER_LOGPROBS = 5  # what servers with a lower limit than OpenAI's take
_NOT_ABOUT_PARAMETERS = (401, 403, 404, 408, 409, 413, 429)  # statuses
_CONTEXT = re.compile(
    "context|window|sequence length|(?:prompt|input|total) tokens|(?:prompt|input) is too long",
    re.IGNORECASE,
)
_log = logging.getLogger("rag_vqa")

_NOT = r"(?:\bnot?\b|n't\b|\bcannot\b|\bno longer\b)"
_TAKEN = (
    r"(?:support|accept|allow|permit|recogni[sz]e|know|implement|expect|understand|use|valid|take|set"
    r"|available|exist|specified|changed|configured)\w*"
)
_UNKNOWN = (
    r"(?:\b(?:un(?:supported|known|recogni[sz]ed|expected|permitted)|invalid|extra|additional"
    rf"|forbidden|disallowed|deprecated)(?![a-z])|{_NOT}(?:\W+\w+)?\W+{_TAKEN})"
)
_KIND = (
    r"(?:parameter|argument|field|key|option|param|value|input|property|setting|attribute|name)s?"
    r"(?:\(s\))?"
)
_FILLER = (
    r"(?:the|a|an|any|of|for|in|on|with|by|this|that|model|request|body|server|keyword|sampling"
    r"|supplied|provided|found|given|named|called|setting|following)"
)
# A name is preceded by the words that refuse it, or followed.
_BEFORE = (
    rf"(?:{_UNKNOWN}|\bonly (?:support|accept|allow|take)s?|\binstead of)[\W_]+"
    rf"(?:(?:{_FILLER}|{_KIND})\W+){{0,6}}[`'\"]?"
)
_AFTER = (
    rf"[`'\"]?\W{{0,3}}(?:[0-9.]+\W+)?(?:{_KIND}\W+)?(?:\[[^\]]*\]\W+)?"
    rf"(?:(?:is|are|was|does|do|has been)\W*)?(?:{_UNKNOWN}|removed|replaced|renamed"
    r"|only the default|(?:must|should|has to|needs to|can|may)\W+(?:not\W+|only\W+)+be"
    r"|(?:must|should|has to|needs to)\W+be|should\W+not|out of range|less than|greater than"
    r"|too (?:large|small|high|low)|input should be|field required)"
)


class ServerTraits:
    """What the responses of one server have shown about it.

    Attributes:
        refused: names of parameters in the order in which the server refused them.
        opens_thoughts: answers end thoughts that they did not begin, because the chat template did.
    """

    def __init__(self) -> None:
        self.refused: tuple[str, ...] = ()
        self.opens_thoughts = False

    def remember(self, refused: tuple[str, ...], host: str) -> None:
        """Leaves these parameters out of all further requests to the server at `host`."""
        for name in refused:
            if self.refused.count(name) < refused.count(name):
                self.refused += (name,)
                _log.warning(
                    "The reader's server at %s does not take %s: further requests do without%s",
                    host,
                    name,
                    ", and answers may vary" if name == "temperature" else "",
                )


def adapt(body: RequestBody, refused: tuple[str, ...]) -> RequestBody:
    """The request as a server takes it that refused these parameters, one after the other.

    >>> adapt({"max_tokens": 9, "temperature": 0}, ("temperature", "max_tokens"))
    {'max_completion_tokens': 9}
    """
    for number, name in enumerate(refused):
        other = _OTHER_NAMES.get(name)
        if name in body:
            value = body[name]
            body = {key: body[key] for key in body if key != name}
            if other and other not in refused[:number]:
                body[other] = value
            elif name == "top_logprobs" and value > _FEWER_LOGPROBS:
                body[name] = _FEWER_LOGPROBS
            elif name == "stream":
                body.pop("stream_options", None)
    return body


def refused_parameters(error: ServerError, body: RequestBody) -> tuple[str, ...]:
    """Names of parameters in `body` that the error refuses and a request can do without.

    A server that requires a parameter under its other name refuses the name that was sent.
    """
    if error.status in _NOT_ABOUT_PARAMETERS or _CONTEXT.search(error.message):
        return ()
    optional = [name for name in body if name not in _REQUIRED]
    named = [re.split(r"[.\[]", path)[0] for path in error.parameters]
    if named:
        others = [_OTHER_NAMES.get(name, name) for name in named if name not in body]
        return tuple(name for name in optional if name in (*named, *others))
    return tuple(_named_in_words(optional, error.message))


def _named_in_words(names: list[str], message: str) -> Iterator[str]:
    """At most one name: that which the message refuses first."""
    places: dict[int, str] = {}
    for name in names:
        word = rf"(?<!\w){re.escape(name)}(?!\w)"
        refusal = word if name in _EXTRAS else rf"{_BEFORE}{word}|{word}{_AFTER}"
        if found := re.search(refusal, message, re.IGNORECASE):
            places[found.start()] = name
    if places:
        yield places[min(places)]
