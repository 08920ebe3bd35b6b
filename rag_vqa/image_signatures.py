"""Names what a file is that is no picture of a supported format, by its first bytes.

Knows signatures. Opens nothing, and does not know the supported formats (image_formats.py). People
find under a picture's name: pointers of Git LFS, error pages, videos, notes of their system.
"""

from __future__ import annotations

import re
from typing import Final

from rag_vqa.data_address import is_data_address
from rag_vqa.image_boxes import read_brands

_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"
_HEAD: Final = 4096  # bytes that are looked at
# Pictures that have to be converted.
_PICTURES: Final = tuple(
    (re.compile(magic, re.DOTALL | re.IGNORECASE), name)
    for magic, name in (
        (rb"%PDF", "PDF"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
        (rb"8BPS", "PSD"),
        (rb"SIMPLE  =", "FITS"),
        (rb"\0\0[\x01\x02]\0[^\0]\0", "ICO"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"<!doctype\s+svg|<(?:\w+:)?svg\b", "SVG"),
        (rb"(?:II\x2b\0|MM\0\x2b)", "BigTIFF"),
        (rb"II\x2a\0....CR\x02\0|IIRO|IIRS|MMOR|IIU\0|FUJIFILMCCD-RAW|....ftypcrx ",
         "a camera's raw file"),
        (rb"II\xbc\x01", "JPEG XR"),
        (rb"P[1-7]\s+[#\d]", "PNM"),
        (rb"\n[\0-\x05]\x01[\x01-\x08]", "PCX"),
        (rb"DDS ", "DDS"),
        (rb"icns", "ICNS"),
        (rb"\x01\xda[\0\x01][\x01\x02]", "SGI"),
        (rb"gimp xcf", "GIMP's XCF"),
        (rb"v/1\x01", "OpenEXR"),
        (rb"#\?(?:RADIANCE|RGBE)", "Radiance HDR"),
        (rb"qoif", "QOI"),
        (rb".{128}DICM", "DICOM"),
        (rb"AT&TFORM", "DjVu"),
        (rb"BPG\xfb", "BPG"),
        (rb"[\x8a\x8b][MJ]NG", "MNG"),
        (rb"\xd7\xcd\xc6\x9a|\x01\0\x09\0\0[\x01\x03]", "WMF"),
        (rb"\x01\0\0\0.{36} EMF", "EMF"),
        (rb"/\* XPM|#define \w+_width", "XPM"),
        (rb"\x89PNG\r\n\x1a\n.{4}CgBI", "PNG as Xcode packs it"),
    )
)  # fmt: skip
# What is no picture: the whole reason.
_OTHERS: Final = tuple(
    (re.compile(magic, re.DOTALL | re.IGNORECASE), reason)
    for magic, reason in (
        (rb"version https://git-lfs|version https://hawser",
         "a Git LFS pointer, not the picture itself: run git lfs pull"),
        (rb"\S*[/\\]annex[/\\]objects[/\\]", "a git-annex pointer, not the picture itself: run "
         "git annex get"),
        (rb"(?:\xef\xbb\xbf)?outs:\s*- (?:md5|hash|etag):", "a DVC pointer, not the picture "
         "itself: run dvc pull"),
        (rb"<(?:!doctype\s+html|html|head|body|title|meta|script|div|center|h1|p)\b",
         "HTML is not supported: this is a web page, often a server's error page"),
        (rb"HTTP/[\d.]+ \d{3}", "a web server's answer with its headers, not a picture"),
        (rb"<(?:\w+:)?Error\b", "an error message in XML, not a picture: load it again"),
        (rb"\x1a\x45\xdf\xa3.{0,60}webm", "a WebM video, not a picture"),
        (rb"\x1a\x45\xdf\xa3", "a Matroska video, not a picture"),
        (rb"RIFF....AVI ", "an AVI video, not a picture"),
        (rb"RIFF....WAVE", "a WAV sound file, not a picture"),
        (rb"\0\0\x01[\xb3\xba]|G.{187}G.{187}G", "an MPEG video, not a picture"),
        (rb"FLV\x01", "a Flash video, not a picture"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file, not a picture"),
        (rb"OggS", "an Ogg video or sound file, not a picture"),
        (rb"ID3[\x02-\x04]|fLaC|#!AMR|\xff[\xfb\xf3\xf2]", "a sound file, not a picture"),
        (rb"\0...(?:moov|mdat|wide|skip|pnot)", "a QuickTime video, not a picture"),
        (rb"PK\x03\x04.{26,400}(?:word|ppt|xl|docProps|_rels)/|PK\x03\x04.{26}\[Content_Types\]",
         "an Office document, not a picture"),
        (rb"PK\x03\x04.{26}mimetypeapplication/epub", "an EPUB book, not a picture"),
        (rb"PK\x03\x04|PK\x05\x06", "a zip archive, not a picture: unpack it"),
        (rb"\x1f\x8b|BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar",
         "an archive, not a picture: unpack it"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file or Thumbs.db, not a picture"),
        (rb"\0\x05\x16[\x07\0]\0\x02\0\0", "a Mac's note on a file (AppleDouble), not the picture"),
        (rb"\0\0\0\x01Bud1", "a Mac's .DS_Store, not a picture"),
        (rb"bplist0", "a Mac's property list, not a picture"),
        (rb"\x4c\0\0\0\x01\x14\x02\0|\[InternetShortcut\]", "a shortcut, not the picture itself"),
        (rb"SQLite format 3\0|PAR1|\x89HDF", "a database or table, not a picture"),
        (rb"\x7fELF|MZ.\0", "a program, not a picture"),
        # What is left of PNG and JPEG after their bytes were read as text, and written again.
        (rb"\x89PNG\s*\x1a?\n|\xef\xbf\xbdPNG|\xc2\x89PNG|(?:\xef\xbf\xbd){3,4}|\xc3\xbf\xc3\x98\xc3\xbf",
         "a picture that a transfer as text has damaged: copy it again in binary mode"),
    )
)  # fmt: skip
UNKNOWN: Final = "not a picture of a known format"
_CONTROLS: Final = "\t\n\r\f"  # of a text


def name_picture_format(data: bytes) -> str | None:
    """The name of a picture format that is not supported, by a file's first bytes; or None.

    >>> name_picture_format(b"%PDF-1.7")
    'PDF'
    """
    head = data[:_HEAD]
    if head.lstrip(_BLANKS)[:1] == b"<":
        head = _skip_comments(head)
    return next((name for magic, name in _PICTURES if magic.match(head)), None)


def describe_file(data: bytes) -> str:
    """What a file is that is no picture, in a few words, by its first bytes.

    >>> describe_file(b"RIFF\\0\\0\\0\\0AVI LIST")
    'an AVI video, not a picture'
    """
    head = data[:_HEAD]
    markup = _skip_comments(head) if head.lstrip(_BLANKS)[:1] == b"<" else head
    for magic, reason in _OTHERS:
        if magic.match(markup):
            return reason
    if head.lstrip(_BLANKS)[:5] == b"<?xml":
        return "XML, not a picture"
    if brands := read_brands(data):
        return _describe_brand(brands[0])
    if not head.strip(b"\0"):
        whole = not data.strip(b"\0")
        return (
            "nothing but zeros, not a picture: copy it again"
            if whole
            else ("not a picture: it begins with zeros; copy it again")
        )
    return _describe_text(head) or UNKNOWN


def _skip_comments(head: bytes) -> bytes:
    """Markup from its first element on: without the declaration and comments before it."""
    head = head.lstrip(_BLANKS)
    for opening, closing in ((b"<?xml", b"?>"), *[(b"<!--", b"-->")] * 20):
        if head.startswith(opening):
            head = head.partition(closing)[2].lstrip(_BLANKS)
    return head


def _describe_brand(brand: bytes) -> str:
    if brand[:2] == b"M4" and brand[2:3] in (b"A", b"B", b"P"):
        return "a sound file, not a picture"
    return f"{'a QuickTime' if brand == b'qt  ' else 'an MP4'} video, not a picture"


def _describe_text(head: bytes) -> str | None:
    """Text as what it looks like; None if it is none. Its first words often say what happened."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "not a picture, but text"
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    if text.count("\ufffd") > len(text) // 10:  # more than Latin-1 has of letters beyond ASCII
        return None
    if not all(letter.isprintable() or letter in _CONTROLS for letter in text):
        return None
    if is_data_address(text):
        return "a picture written out as base64, not decoded"
    if text.lstrip()[:1] in ("{", "["):
        return "JSON, not a picture: often a server's error message"
    words = " ".join(text.split())
    shown = words if len(words) <= 60 else f"{words[:60]}…"
    return f'not a picture, but text ("{shown}")' if shown else "not a picture, but blanks"
