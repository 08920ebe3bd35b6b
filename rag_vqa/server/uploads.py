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
from rag_vqa.readers.pictures import scaled
from rag_vqa.readers.wire import packing
from rag_vqa.server.budgets import MAX_UPLOAD_BYTES, SHOWN_PIXELS
from rag_vqa.server.engine import Engine
from rag_vqa.server.failures import Refused
from rag_vqa.server.service import Service
from rag_vqa.types import ImageSource

_HEAD: Final = re.compile(r"data:(?:image/[a-z0-9.+-]{1,40})?;base64,", re.IGNORECASE)
# Few at once: each picture may take 256 MB (images.MAX_PIXELS).
_OPENING: Final = ThreadPoolExecutor(2, "rag-vqa-uploads")
# Of its own: evidence is shown while uploads wait.
_SHOWING: Final = ThreadPoolExecutor(1, "rag-vqa-shown")


class Upload(NamedTuple):
    """A picture as it came, and how many pixels it is once decoded."""

    data: bytes
    pixels: int


async def picture_asked(
    service: Service, request: Request, address: str | None, field: str
) -> Upload | None:
    """The picture of a question, as `upload`; fetched, where this server does that.

    Raises:
        Refused: as `upload` and `Fetching.fetch`.
    """
    fetching = service.fetching
    if fetching is None or not address or address[:5].lower() == "data:":
        return await upload(service.engine, address, field)
    with service.engine.arriving():
        data = await fetching.fetch(address, field, request.state.hold)
        return await asyncio.get_running_loop().run_in_executor(_OPENING, _fetched, data, field)


async def upload(engine: Engine, address: str | None, field: str) -> Upload | None:
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
        return await loop.run_in_executor(_OPENING, _uploaded, address, field)


def _uploaded(address: str, field: str) -> Upload:
    head = _HEAD.match(address[:100])
    if not head:
        raise Refused(
            400, f"{field}: give the picture itself, as data:image/jpeg;base64,… Addresses are "
            "not fetched here.", "invalid_image_url",
        )  # fmt: skip
    try:
        # Without the line breaks that `base64` prints.
        text = address[head.end() :].encode("ascii").translate(None, b" \t\r\n")
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise Refused(400, f"{field}: not base64.", "invalid_base64_image") from error
    if len(data) > MAX_UPLOAD_BYTES:
        raise Refused(413, f"{field}: over {MAX_UPLOAD_BYTES // 2**20} MB.", "too_large")
    try:
        return _opened(data, field)
    except BadImage as error:
        raise Refused(400, str(error), "invalid_image") from error


def _fetched(data: bytes, field: str) -> Upload:
    try:
        return _opened(data, field)
    except BadImage as error:  # its words may be of the file, which is not the client's own
        message = f"{field}: what is at that address is no picture that is read."
        raise Refused(400, message, "invalid_image") from error


def _opened(data: bytes, field: str) -> Upload:
    width, height = images.load(data, name=field).size
    return Upload(data, width * height)


async def shown(source: ImageSource) -> tuple[bytes, str]:
    """A picture as it may be shown: a new file of bare pixels at the size of a page; its type.

    Raises:
        Refused: it cannot be opened; why would say where files of this machine lie.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(_SHOWING, _shown, source)
    except (BadImage, Missing) as error:
        raise Refused(404, "The picture cannot be opened.") from error


def _shown(source: ImageSource) -> tuple[bytes, str]:
    picture = scaled(images.load(source), SHOWN_PIXELS)
    kind = packing(picture)
    return images.encode(picture, kind), f"image/{kind.lower()}"
