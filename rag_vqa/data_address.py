"""`data:` addresses: pictures that are written out as text within a record or a request.

Knows the scheme (RFC 2397), base64, and what exporters make of both: wrapped lines, blanks, missing
padding, the alphabet for URLs, percent signs. Does not know pictures: images.py opens the bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from rag_vqa.errors import BadImage

_SCHEME: Final = re.compile(r"""[\s"'<(]*data:""", re.IGNORECASE)
# Its type and its parameters end at the first comma outside quotes: name="left, top.png".
_HEAD: Final = re.compile(
    r"""[\s"'<(]*data:(?P<type>[^;,"]{0,200})(?P<parameters>(?:"[^"]{0,500}"|[^,"]){0,1000}),""",
    re.IGNORECASE,
)
_BASE64: Final = re.compile(r";\s*base64\s*(?:;|$)", re.IGNORECASE)
# Types under which programs send pictures; the bytes say what it is.
_PICTURE_TYPE: Final = re.compile(
    r"|image/.*|img/.*|image|(?:application|binary)/(?:octet-stream|binary|x-binary|unknown)", re.I
)
_LETTERS: Final = re.compile(r"[A-Za-z0-9+/]*")
# What a picture's first bytes are in base64: JPEG, PNG, GIF, WebP, TIFF, HEIC and AVIF, JPEG XL.
_BARE: Final = re.compile(
    r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|AAAA[A-Za-z0-9+/]{2}Z0eX|AAAADEpYTCA)"
    r"[A-Za-z0-9+/\s_=-]{52}"
)


def is_data_address(text: str) -> bool:
    """True for a `data:` address, and for a picture in base64 without one.

    A name of a file holds a full stop or is shorter, so it is never taken for base64.

    >>> is_data_address("Data:image/png;base64,iVBO"), is_data_address("database.png")
    (True, False)
    """
    return bool(_SCHEME.match(text)) or (_BARE.match(text) is not None and "." not in text[:4096])


def decode_data_address(text: str) -> bytes:
    r"""The bytes that a `data:` address holds, or base64 without its head. They are not checked.

    >>> decode_data_address("data:image/gif;base64,R0lG\n ODlh")
    b'GIF89a'

    Raises:
        BadImage: its type is no picture's, it is cut short, or it is not base64; one line.
    """
    if not _SCHEME.match(text):
        return _decode_base64(text)
    head = _HEAD.match(text)
    if head is None:
        raise BadImage("the data: address is cut short: no comma ends its type")
    kind, body = head["type"].strip(), text[head.end() :]
    if not _PICTURE_TYPE.fullmatch(kind):
        raise BadImage(f"the data: address holds {ascii(kind)[1:-1]}, no picture")
    if _BASE64.search(head["parameters"]):
        return _decode_base64(body)
    data = unquote_to_bytes(body.encode("utf-8", "surrogatepass"))
    if not data:
        raise BadImage("the data: address is empty: nothing follows its comma")
    try:  # some programs forget to write ";base64"
        return data if data.lstrip()[:1] == b"<" else _decode_base64(body)
    except BadImage:
        return data


def describe_data_address(text: str) -> str:
    """A short name of a `data:` address for lists and errors; it may be megabytes long.

    >>> describe_data_address("data:image/png;base64,iVBORw0KGgo=")
    'data:image/png (34 characters)'
    """
    head = _HEAD.match(text)
    kind = f"data:{ascii(head['type'].strip())[1:-1][:60]}" if head else "data:"
    return f"{kind if _SCHEME.match(text) else 'base64'} ({len(text):,} characters)"


def _decode_base64(text: str) -> bytes:
    """Bytes from base64 as programs write it. Letters of other alphabets are no blanks."""
    if "%" in text:
        text = unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("ascii", "replace")
    if "\\" in text:  # JSON or a string of a program, written out twice
        text = text.replace("\\n", "").replace("\\r", "").replace("\\/", "/")
    text = _restore_plus(text.strip(" \t\r\n\"'>)"))
    text = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if not text:
        raise BadImage("the data: address is empty: no base64 in it")
    letters = _LETTERS.match(text)
    at = 0 if letters is None else letters.end()
    if at < len(text):
        raise BadImage(f"not valid base64: {text[at]!a} at letter {at + 1:,} of {len(text):,}")
    if len(text) % 4 == 1:
        raise BadImage("the base64 of the data: address is cut short")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage(f"not valid base64 ({error})") from error


def _restore_plus(text: str) -> str:
    """Puts back each `+` that a web form turned into a blank; blanks that wrap lines stay."""
    if " " not in text or "+" in text or len(text) % 4 or "\n" in text or "\t" in text:
        return text
    lengths = [len(piece) for piece in text.split(" ")]
    wrapped = len(set(lengths[:-1])) == 1 and sum(lengths) % 4 == 0
    return text if wrapped else text.replace(" ", "+")
