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
    """An error response: status, message for the client, code, and seconds for Retry-After."""

    def __init__(
        self, status: int, message: str, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.retry_after = status, message, code, retry_after

    @property
    def response(self) -> Response:
        """The HTTP response."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return json_response(error_body(self), self.status, headers)


def error_body(error: ApiError) -> dict[str, Any]:
    """The error in OpenAI's shape, for a body or a stream."""
    default = "invalid_request_error" if error.status < 500 else "server_error"
    error_type = _ERROR_TYPES.get(error.status, default)
    return {"error": {"message": error.message, "type": error_type, "code": error.code}}


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON response. Raises ValueError for NaN and infinity, which JSON cannot hold."""
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(data.encode(), status, headers, "application/json")


def to_api_error(error: Exception) -> ApiError:
    """Turn any exception into the error that the client gets; log what the client cannot fix."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UsageError | BadInput):
        return ApiError(400, str(error))
    if isinstance(error, ShuttingDown):
        return ApiError(503, str(error), "closing", 5.0)
    if isinstance(error, HTTPException):  # from the router: unknown route or method
        return ApiError(
            error.status_code, _ROUTER_MESSAGES.get(error.status_code, "The request was refused.")
        )
    log_error(error)
    if isinstance(error, ReaderError):
        return ApiError(502, "The reader could not answer this question.", "reader_failed")
    if isinstance(error, RagVqaError):
        return ApiError(503, "The server cannot answer at present.", "unavailable")
    return ApiError(500, "Internal server error.", "internal_error")


_ROUTER_MESSAGES = {
    400: "The body is not JSON.",
    404: "There is no such route.",
    405: "This route does not accept this method.",
}


def log_error(error: BaseException) -> None:
    """Log the kind and place of an error, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    LOGGER.error("%s at %s", type(error).__name__, " < ".join(reversed(places)) or "?")


def validation_error(errors: list[Any]) -> ApiError:
    """The first fault of a request body, by its field. The value sent there is not repeated."""
    first = errors[0]
    place = ".".join(str(part)[:40] for part in first["loc"] if part != "body")
    if first["type"] == "json_invalid":
        return ApiError(400, "The body is not JSON.", "invalid_json")
    if first["type"] == "value_error":  # the message of our own validator
        reason = str(first["ctx"]["error"])
    elif first["type"] == "extra_forbidden":
        reason = "unknown field"
    elif first["type"] == "union_tag_invalid":  # pydantic's message would repeat the value
        reason = f"{first['ctx']['discriminator']} must be one of {first['ctx']['expected_tags']}"
    else:
        reason = str(first["msg"])
    return ApiError(400, f"{place or 'body'}: {reason}", "invalid_value")


async def handle_error(request: Request, error: Exception) -> Response:
    """The exception handler of the application."""
    return to_api_error(error).response
