"""Names the format of a file that is given instead of a picture, by its first bytes.

It knows signatures, only to say what was given. What is read at all, and how, is images.py's.
"""

from __future__ import annotations

import re
from typing import Final

_SIGNATURES: Final = (
    (re.compile(rb"....ftyp(?:hev|msf1)", re.DOTALL), "a sequence of HEIC pictures"),
    (re.compile(rb"....ftypavi", re.DOTALL), "AVIF"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"SIMPLE  ="), "FITS"),
    (re.compile(rb"\0\0[\1\2]\0"), "ICO"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<.*<svg|(?:\xef\xbb\xbf)?\s*<svg", re.DOTALL | re.I), "SVG"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)", re.I), "HTML"),
)


def format_of(head: bytes) -> str | None:
    """What these first bytes begin, or None.

    >>> format_of(b"%PDF-1.7")
    'PDF'
    """
    return next((name for magic, name in _SIGNATURES if magic.match(head)), None)
