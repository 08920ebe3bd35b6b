"""Error responses: every exception as OpenAI's error shape with a status, without internal details.

Knows the exception tree and HTTP statuses. What a client can fix is explained to it. Of all other
errors the client learns only that something failed, and the log gets the kind and place: an
exception's message may contain somebody's question.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rag_vqa.errors import BadInput, RagVqaError, ReaderError, UsageError
from rag_vqa.server.engine.request_queue import ShuttingDown

LOGGER = logging.getLogger("rag_vqa.server")
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A request that is answered with an error: `status`, words for the client, a code."""

    def __init__(
        self, status: int, message: str, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.retry_after = status, message, code, retry_after

    @property
    def response(self) -> Response:
        """What is sent."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return json_response(error_body(self), self.status, headers)


def error_body(refused: ApiError) -> dict[str, Any]:
    """The error as an object, in a body or in a stream."""
    kind = _ERROR_TYPES.get(refused.status)
    kind = kind or ("invalid_request_error" if refused.status < 500 else "server_error")
    return {"error": {"message": refused.message, "type": kind, "code": refused.code}}


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON; a number that JSON cannot hold is an error of ours, not the client's."""
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(data.encode(), status, headers, "application/json")


def to_api_error(error: Exception) -> ApiError:
    """Any exception as what the client is told of it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UsageError | BadInput):
        return ApiError(400, str(error))
    if isinstance(error, ShuttingDown):
        return ApiError(503, str(error), "closing", 5.0)
    if isinstance(error, HTTPException):  # the router's own: no such route, or method
        return ApiError(
            error.status_code, _ROUTER_MESSAGES.get(error.status_code, "The request is refused.")
        )
    log_error(error)
    if isinstance(error, ReaderError):
        return ApiError(502, "The reader could not answer this question.", "reader_failed")
    if isinstance(error, RagVqaError):
        return ApiError(503, "The server cannot answer at present.", "unavailable")
    return ApiError(500, "Something went wrong in the server.", "internal_error")


_ROUTER_MESSAGES = {
    400: "The body is not JSON.",
    404: "There is no such address.",
    405: "The address does not take this method.",
}


def log_error(error: BaseException) -> None:
    """Kind and place of an error, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    LOGGER.error("%s at %s", type(error).__name__, " < ".join(reversed(places)) or "?")


def validation_error(errors: list[Any]) -> ApiError:
    """The first thing wrong with a body, by its place; what was sent there is not repeated."""
    first = errors[0]
    place = ".".join(str(part)[:40] for part in first["loc"] if part != "body")
    if first["type"] == "json_invalid":
        return ApiError(400, "The body is not JSON.", "invalid_json")
    if first["type"] == "value_error":  # our own validators' words
        reason = str(first["ctx"]["error"])
    elif first["type"] == "extra_forbidden":
        reason = "there is no such field"
    elif first["type"] == "union_tag_invalid":  # pydantic's words repeat what was sent
        reason = f"{first['ctx']['discriminator']} is one of {first['ctx']['expected_tags']}"
    else:
        reason = str(first["msg"])
    return ApiError(400, f"{place or 'body'}: {reason}", "invalid_value")


async def handle_error(request: Request, error: Exception) -> Response:
    """The exception handler of the application."""
    return to_api_error(error).response
