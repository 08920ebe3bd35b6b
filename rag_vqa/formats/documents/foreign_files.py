"""Foreign files: documents of other programs, named as what they are, with the next step.

Knows suffixes and first bytes. Reads nothing. A file that bears the name of a kind that is read may
be of another kind: a web page under the name of a PDF, an old Word document under that of a new.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from rag_vqa.formatting import quote_value

_HEAD: Final = 1024  # bytes that are looked at
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_PART: Final = 2**20  # bytes in which the names of its streams stand
_STREAMS: Final = (  # of the old Office formats, in this order
    ("EncryptedPackage", "encrypted with a password: save it without one"),
    ("WordDocument", "a document of Word 97 to 2003: open it and save it as .docx"),
    (
        "PowerPoint Document",
        "a presentation of PowerPoint 97 to 2003: open it and save it as .pptx",
    ),
    ("Workbook", "a workbook of Excel 97 to 2003: open it and save it as .xlsx"),
    ("Book", "a workbook of Excel 5: open it and save it as .xlsx"),
    ("__properties_version1.0", "a message of Outlook: save its text"),
)
_SIGNATURES: Final = (
    (re.compile(rb"\s*\{\\rtf"), "an RTF document: open it and save it as .docx"),
    (re.compile(rb"%PDF"), "a PDF: call it .pdf"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer: fetch it with `git lfs pull`"),
    (re.compile(rb"<\?xml.{0,400}(?:word/2003/wordml|Word\.Document)", re.DOTALL),
     "a document of Word 2003 as XML: open it and save it as .docx"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)", re.IGNORECASE),
     "a web page, perhaps of an error: call it .html, or load it again"),
    (re.compile(rb"PK\x03\x04.{4,26}mimetypeapplication/epub", re.DOTALL), "a book: call it .epub"),
    (re.compile(rb"PK\x03\x04.{4,26}mimetypeapplication/vnd\.(?:oasis|sun)", re.DOTALL),
     "an OpenDocument file: open it and save it as .docx, .xlsx or .pptx"),
    (re.compile(rb"PK\x03\x04"), "a zip of another kind"),
    (re.compile(rb"%!PS"), "PostScript: convert it to PDF"),
    (re.compile(rb"AT&TFORM"), "DjVu: convert it to PDF"),
    (re.compile(rb"\xffWPC"), "a document of WordPerfect: open it and save it as .docx"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*"), "a picture"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:From|Received|Return-Path|MIME-Version):"),
     "a message: save its text or its attachments"),
)  # fmt: skip
_WORD: Final = "open it and save it as .docx"
_SLIDES: Final = "open it and save it as .pptx"
_SHEET: Final = "open it and save it as .xlsx or .csv"
_SUFFIXES: Final = {
    ".doc": ("a document of Word 97 to 2003", _WORD),
    ".dot": ("a template of Word 97 to 2003", _WORD),
    ".rtf": ("an RTF document", _WORD),
    ".odt": ("an OpenDocument text", _WORD),
    ".fodt": ("an OpenDocument text", _WORD),
    ".sxw": ("a text of OpenOffice 1", _WORD),
    ".pages": ("a document of Apple Pages", "export it as .docx or .pdf"),
    ".wpd": ("a document of WordPerfect", _WORD),
    ".wps": ("a document of Works", _WORD),
    ".ppt": ("a presentation of PowerPoint 97 to 2003", _SLIDES),
    ".pps": ("a presentation of PowerPoint 97 to 2003", _SLIDES),
    ".odp": ("an OpenDocument presentation", _SLIDES),
    ".key": ("a presentation of Apple Keynote", "export it as .pptx or .pdf"),
    ".xls": ("a workbook of Excel 97 to 2003", _SHEET),
    ".xlsb": ("a binary workbook of Excel", _SHEET),
    ".ods": ("an OpenDocument spreadsheet", _SHEET),
    ".numbers": ("a spreadsheet of Apple Numbers", "export it as .xlsx or .csv"),
    ".pub": ("a publication of Publisher", "export it as .pdf"),
    ".vsdx": ("a drawing of Visio", "export it as .pdf"),
    ".vsd": ("a drawing of Visio", "export it as .pdf"),
    ".indd": ("a document of InDesign", "export it as .pdf"),
    ".one": ("a notebook of OneNote", "export it as .docx or .pdf"),
    ".xps": ("an XPS document", "print it to PDF"),
    ".oxps": ("an XPS document", "print it to PDF"),
    ".djvu": ("a DjVu document", "convert it to PDF"),
    ".ps": ("PostScript", "convert it to PDF"),
    ".mobi": ("a Kindle book", "convert it to EPUB"),
    ".azw": ("a Kindle book", "convert it to EPUB"),
    ".azw3": ("a Kindle book", "convert it to EPUB"),
    ".chm": ("compiled HTML help", "unpack it to HTML"),
    ".msg": ("a message of Outlook", "save its text"),
    ".eml": ("a message", "save its text or its attachments"),
    ".tex": ("LaTeX source", "convert it to PDF, or to Markdown with pandoc"),
    ".rst": ("reStructuredText", "convert it to Markdown with pandoc, or to HTML"),
    ".adoc": ("AsciiDoc", "convert it to HTML"),
    ".org": ("an Org file", "convert it to Markdown with pandoc"),
}  # fmt: skip


def describe_foreign_suffix(suffix: str) -> str | None:
    """What files of a suffix are, and what to do with them; None if they are no foreign documents.

    >>> describe_foreign_suffix(".DOC")
    'a document of Word 97 to 2003: open it and save it as .docx'
    """
    found = _SUFFIXES.get(suffix.lower())
    return None if found is None else f"{found[0]}: {found[1]}"


def describe_other_kind(path: Path) -> str:
    """What a file is that is not of the kind of its name: "it is a PDF: call it .pdf."."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        more = file.read(_OLE_PART) if head.startswith(_OLE) else b""
    if not head:
        return "the file is empty."
    if not head.strip(b"\0"):
        return "the file is empty: it begins with zeros. Copy it again."
    if head.startswith(_OLE):
        for stream, found in _STREAMS:
            if stream.encode("utf-16-le") in head + more:
                return f"it is {found}."
        return "it is a file of an Office program before 2007: save it in a newer format."
    for pattern, found in _SIGNATURES:
        if pattern.match(head):
            return f"it is {found}."
    return f"it is another kind of file, which begins with {quote_value(head[:8])}."
