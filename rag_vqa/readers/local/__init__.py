"""A reader on this machine: a multimodal LLM of transformers.

Importing this loads no model library: each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_vqa.readers.local.reader import LocalReader as LocalReader

_HOME = {
    "LocalReader": "rag_vqa.readers.local.reader",
}
__all__ = ["LocalReader"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
