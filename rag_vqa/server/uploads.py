"""Uploaded pictures: decodes and checks those of questions, and re-encodes evidence for display.

Knows that every picture is opened (by rag_vqa.images) before anything else is done with it. Does
not know how a picture is fetched from an address (image_fetch.py), nor base64 (data_address.py).

A question whose picture is being opened holds a place in the engine's queue, so that no second
queue forms. Until the answer is out, memory holds the undecoded bytes: decoded, the pictures of 32
waiting questions would take gigabytes. Every reader decodes them to pixels without EXIF.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from fastapi import Request

from rag_vqa import images
from rag_vqa.data_address import decode_data_address
from rag_vqa.errors import BadImage, Missing
from rag_vqa.images import choose_format, scale_down
from rag_vqa.server.engine.engine import Engine
from rag_vqa.server.error_responses import ApiError
from rag_vqa.server.request_limits import DISPLAY_PIXELS, MAX_UPLOAD_BYTES
from rag_vqa.server.service import Service
from rag_vqa.types import ImageSource

# Only two: each picture may take 256 MB (images.MAX_PIXELS).
_UPLOAD_THREADS: Final = ThreadPoolExecutor(2, "rag-vqa-uploads")
# A thread of its own, so that evidence is displayed while uploads wait.
_DISPLAY_THREADS: Final = ThreadPoolExecutor(1, "rag-vqa-shown")


class UploadedImage(NamedTuple):
    """The bytes of a picture as they came, and its number of pixels."""

    data: bytes
    pixels: int


async def question_image(
    service: Service, request: Request, address: str | None, field: str
) -> UploadedImage | None:
    """The picture of a question: from a data URL, or fetched if this server fetches pictures.

    Raises:
        ApiError: as `open_data_url` and `ImageFetcher.fetch`.
    """
    fetcher = service.fetcher
    if fetcher is None or not address or address[:5].lower() == "data:":
        return await open_data_url(service.engine, address, field)
    with service.engine.reserve_place():
        data = await fetcher.fetch(address, field, request.state.reserve_bytes)
        return await asyncio.get_running_loop().run_in_executor(
            _UPLOAD_THREADS, _open_fetched, data, field
        )


async def open_data_url(engine: Engine, address: str | None, field: str) -> UploadedImage | None:
    """The picture of a data URL, after opening it once; None for "" and None. `field` names the
    request's field in errors. Cancelled before its turn, the picture is not opened.

    Raises:
        ApiError: another kind of address, not base64, or not a readable picture.
        QueueFull, ShuttingDown: as `Engine.ask`.
    """
    if not address:
        return None
    with engine.reserve_place():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_UPLOAD_THREADS, _decode_data_url, address, field)


def _decode_data_url(address: str, field: str) -> UploadedImage:
    if not address[:5].lower() == "data:":
        raise ApiError(
            400, f"{field}: addresses are not fetched here. Give the picture itself, as "
            "data:image/jpeg;base64,…", "invalid_image_url",
        )  # fmt: skip
    try:
        data = decode_data_address(address)
    except BadImage as error:
        raise ApiError(400, f"{field}: {error}.", "invalid_base64_image") from error
    if len(data) > MAX_UPLOAD_BYTES:
        raise ApiError(
            413, f"{field}: the picture is larger than {MAX_UPLOAD_BYTES // 2**20} MB.", "too_large"
        )
    try:
        return _open_image(data, field)
    except BadImage as error:
        raise ApiError(400, str(error), "invalid_image") from error


def _open_fetched(data: bytes, field: str) -> UploadedImage:
    try:
        return _open_image(data, field)
    except BadImage as error:  # its message may describe the file, which is not the client's own
        message = f"{field}: the file at that address is not a readable picture."
        raise ApiError(400, message, "invalid_image") from error


def _open_image(data: bytes, field: str) -> UploadedImage:
    width, height = images.load(data, name=field).size
    return UploadedImage(data, width * height)


async def display_image(source: ImageSource) -> tuple[bytes, str]:
    """A picture scaled down and encoded anew, without metadata, and its media type.

    Raises:
        ApiError: it cannot be opened. The reason is left out: it may name files of this machine.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(
            _DISPLAY_THREADS, _encode_for_display, source
        )
    except (BadImage, Missing) as error:
        raise ApiError(404, "The picture cannot be opened.") from error


def _encode_for_display(source: ImageSource) -> tuple[bytes, str]:
    image = scale_down(images.load(source), DISPLAY_PIXELS)
    image_format = choose_format(image)
    return images.encode(image, image_format), f"image/{image_format.lower()}"
