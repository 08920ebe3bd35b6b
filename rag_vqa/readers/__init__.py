"""Readers: what turns a Prompt into a Completion.

Importing this loads no model library: each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_vqa.readers.base import Reader as Reader
    from rag_vqa.readers.factory import open_reader as open_reader
    from rag_vqa.readers.local.reader import LocalReader as LocalReader
    from rag_vqa.readers.remote.reader import RemoteReader as RemoteReader

_HOME = {
    "LocalReader": "rag_vqa.readers.local.reader",
    "Reader": "rag_vqa.readers.base",
    "RemoteReader": "rag_vqa.readers.remote.reader",
    "open_reader": "rag_vqa.readers.factory",
}
__all__ = ["LocalReader", "Reader", "RemoteReader", "open_reader"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
