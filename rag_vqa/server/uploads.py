"""Pictures that come in as data addresses, or by address, and go out as new files.

It knows base64 and that a picture is opened before anything is done with it; rag_vqa.images opens.
How one is fetched, where the operator allowed that, is fetching.py's matter.
Who waits for that has a place in the engine's queue: there is no second line behind it.
What is kept of an upload is its bytes, in memory, until the answer is out: decoded, 32 waiting
questions would be gigabytes. Every way to a reader decodes them to bare pixels, without EXIF.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from fastapi import Request

from rag_vqa import images
from rag_vqa.errors import BadImage, Missing
from rag_vqa.images import choose_format, scale_down
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.error_responses import ApiError
from rag_vqa.server.request_limits import DISPLAY_PIXELS, MAX_UPLOAD_BYTES
from rag_vqa.server.service import Service
from rag_vqa.types import ImageSource

_DATA_URL_HEAD: Final = re.compile(r"data:(?:image/[a-z0-9.+-]{1,40})?;base64,", re.IGNORECASE)
# Few at once: each picture may take 256 MB (images.MAX_PIXELS).
_UPLOAD_THREADS: Final = ThreadPoolExecutor(2, "rag-vqa-uploads")
# Of its own: evidence is shown while uploads wait.
_DISPLAY_THREADS: Final = ThreadPoolExecutor(1, "rag-vqa-shown")


class UploadedImage(NamedTuple):
    """A picture as it came, and how many pixels it is once decoded."""

    data: bytes
    pixels: int


async def question_image(
    service: Service, request: Request, address: str | None, field: str
) -> UploadedImage | None:
    """The picture of a question, as `open_data_url`; fetched, where this server does that.

    Raises:
        Refused: as `open_data_url` and `Fetching.fetch`.
    """
    fetching = service.fetching
    if fetching is None or not address or address[:5].lower() == "data:":
        return await open_data_url(service.engine, address, field)
    with service.engine.arriving():
        data = await fetching.fetch(address, field, request.state.hold)
        return await asyncio.get_running_loop().run_in_executor(
            _UPLOAD_THREADS, _open_fetched, data, field
        )


async def open_data_url(engine: Engine, address: str | None, field: str) -> UploadedImage | None:
    """The picture of a data address, which was opened once; "" and None are none. Cancelled before
    its turn, it is not opened.

    Raises:
        Refused: an address of another kind, not base64, or no picture that is read.
        Busy, Closing: as `Engine.ask`.
    """
    if not address:
        return None
    with engine.arriving():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_UPLOAD_THREADS, _uploaded, address, field)


def _uploaded(address: str, field: str) -> UploadedImage:
    head = _DATA_URL_HEAD.match(address[:100])
    if not head:
        raise ApiError(
            400, f"{field}: give the picture itself, as data:image/jpeg;base64,… Addresses are "
            "not fetched here.", "invalid_image_url",
        )  # fmt: skip
    try:
        # Without the line breaks that `base64` prints.
        text = address[head.end() :].encode("ascii").translate(None, b" \t\r\n")
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise ApiError(400, f"{field}: not base64.", "invalid_base64_image") from error
    if len(data) > MAX_UPLOAD_BYTES:
        raise ApiError(413, f"{field}: over {MAX_UPLOAD_BYTES // 2**20} MB.", "too_large")
    try:
        return _open_image(data, field)
    except BadImage as error:
        raise ApiError(400, str(error), "invalid_image") from error


def _open_fetched(data: bytes, field: str) -> UploadedImage:
    try:
        return _open_image(data, field)
    except BadImage as error:  # its words may be of the file, which is not the client's own
        message = f"{field}: what is at that address is no picture that is read."
        raise ApiError(400, message, "invalid_image") from error


def _open_image(data: bytes, field: str) -> UploadedImage:
    width, height = images.load(data, name=field).size
    return UploadedImage(data, width * height)


async def display_image(source: ImageSource) -> tuple[bytes, str]:
    """A picture as it may be shown: a new file of bare pixels at the size of a page; its type.

    Raises:
        Refused: it cannot be opened; why would say where files of this machine lie.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(
            _DISPLAY_THREADS, _encode_for_display, source
        )
    except (BadImage, Missing) as error:
        raise ApiError(404, "The picture cannot be opened.") from error


def _encode_for_display(source: ImageSource) -> tuple[bytes, str]:
    picture = scale_down(images.load(source), DISPLAY_PIXELS)
    kind = choose_format(picture)
    return images.encode(picture, kind), f"image/{kind.lower()}"
