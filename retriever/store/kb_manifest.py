"""Manifest: which retriever made the tokens of a knowledge base, as its database records it.

Knows the fields and how they are read back. Does not know encoders (compatibility is checked
above).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rag_vqa.retriever.modeling import ENCODER_OPTIONS
from rag_vqa.retriever.store.database import Database

_TEXT_FIELDS = ("source", "revision", "fingerprint", "splitting")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The retriever's document side, by name and fingerprint, and how documents are stored.

    Attributes:
        options: arguments for loading it besides its name, see TokenEncoder.
        splitting: how documents become passages, with its version, see passages.py.
        keep_tokens: whether tokens are kept in fp16 beside their codes.
    """

    source: str
    revision: str
    options: Mapping[str, str | bool]
    fingerprint: str
    splitting: str
    K: int
    D: int
    keep_tokens: bool = True


def manifest_rows(manifest: Manifest) -> dict[str, str]:
    """The manifest as rows of the table meta."""
    rows = {name: str(value) for name, value in asdict(manifest).items()}
    rows["options"] = json.dumps(dict(manifest.options), sort_keys=True)
    return rows


def read_manifest(db: Database) -> Manifest:
    """The manifest of an open database.

    Raises:
        CorruptKnowledgeBase: this program does not write such a manifest.
    """
    K, D = db.number("K"), db.number("D")
    if not (0 < K < 2**16 and 0 < D < 2**16):
        raise db.corruption_error(f"K = {K} and D = {D} are impossible")
    kept = db.meta("keep_tokens")
    if kept not in ("True", "False"):
        raise db.corruption_error(f"keep_tokens is {kept!r}")
    texts = {name: db.meta(name) for name in _TEXT_FIELDS}
    return Manifest(**texts, options=_read_options(db), K=K, D=D, keep_tokens=kept == "True")


def _read_options(db: Database) -> dict[str, str | bool]:
    try:
        options = json.loads(db.meta("options"))
    except (ValueError, RecursionError) as error:
        raise db.corruption_error("the retriever's options cannot be read") from error
    # They become arguments of a call, so only known names may pass.
    if not isinstance(options, dict) or not all(
        name in ENCODER_OPTIONS and isinstance(value, str | bool) for name, value in options.items()
    ):
        raise db.corruption_error("the retriever's options are unknown")
    return options
