"""Manifest: which retriever made the tokens of a knowledge base, and whether another one fits.

Knows the fields, how the database records them, and what an error about another retriever should
advise. Does not know how an encoder works or is loaded: it compares names and fingerprints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.retriever.modeling import ENCODER_OPTIONS, TokenEncoder
from rag_vqa.retriever.passages import OLDER_SPLITTINGS, SPLITTINGS
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


def check_encoder(path: Path, manifest: Manifest, encoder: TokenEncoder) -> None:
    """Refuse an encoder whose document side is not the one that made the tokens at `path`.

    Raises:
        Mismatch: with both names.
    """
    requested = replace(
        make_manifest(encoder), splitting=manifest.splitting, keep_tokens=manifest.keep_tokens
    )
    # The fingerprint covers whatever the name and the options say, wherever the files lie now.
    renamed = replace(requested, source=manifest.source, revision=manifest.revision)
    if replace(renamed, options=manifest.options) == manifest:
        return
    pair = (manifest, requested)
    built, given = map(retriever_label, pair)
    if built == given:  # one name, other weights: tell them apart
        built, given = (f"{retriever_label(made)} ({made.fingerprint[:12]})" for made in pair)
    raise Mismatch(
        f"{path} was built with {built}, but the settings ask for {given}. "
        f"Leave out --retriever and its settings, or rebuild: rag-vqa kb build SOURCE --out {path}"
    )


def check_splitting(path: Path, manifest: Manifest) -> None:
    """Refuse passages that this version would split differently.

    Raises:
        Mismatch: with the next command.
    """
    known = (*SPLITTINGS.values(), *OLDER_SPLITTINGS)
    if manifest.splitting not in known:
        raise Mismatch(
            f"{path} was split by {manifest.splitting!r}, this rag-vqa knows "
            f"{', '.join(known)}. Rebuild: rag-vqa kb build SOURCE --out {path}"
        )


def check_build_options(
    path: Path, manifest: Manifest, split: str | None, keep_tokens: bool | None
) -> None:
    """Refuse to continue a knowledge base with options that it was not created with.

    Raises:
        UsageError: naming the option.
    """
    rules = manifest.splitting
    if split is not None and resolve_splitting(split) not in (
        rules,
        SPLITTINGS.get(OLDER_SPLITTINGS.get(rules, "")),
    ):
        raise UsageError(
            f"{path} was built with splitting {manifest.splitting!r}, which cannot change. Leave "
            "the option out, or build another: rag-vqa kb build SOURCE --out OTHER"
        )
    if keep_tokens is not None and manifest.keep_tokens != keep_tokens:
        tokens = "with fp16 tokens" if manifest.keep_tokens else "without fp16 tokens"
        raise UsageError(
            f"{path} was built {tokens}, which cannot change. Leave the option out, or build "
            "another: rag-vqa kb build SOURCE --out OTHER"
        )


def resolve_splitting(split: str) -> str:
    """The name that a manifest records for the option `split`.

    Raises:
        UsageError: there is no such splitting.
    """
    if split not in SPLITTINGS:
        known = " or ".join(SPLITTINGS)
        raise UsageError(
            f"No splitting {quote_value(split)}; give {known}.{did_you_mean(split, SPLITTINGS)}"
        )
    return SPLITTINGS[split]


def make_manifest(
    encoder: TokenEncoder, split: str = "window", keep_tokens: bool = True
) -> Manifest:
    """The manifest of a knowledge base of this encoder's tokens."""
    return Manifest(
        source=encoder.source,
        revision=encoder.revision or "",
        options=dict(encoder.options),
        fingerprint=encoder.fingerprint,
        splitting=resolve_splitting(split),
        K=encoder.K,
        D=encoder.D,
        keep_tokens=keep_tokens,
    )


def retriever_label(manifest: Manifest) -> str:
    """The name of a retriever for messages, as "ReT-CLIP-ViT-L-14@a1b2 dtype=bfloat16"."""
    name = Path(manifest.source).name or manifest.source
    name += f"@{manifest.revision[:12]}" if manifest.revision else ""
    return " ".join([name, *(f"{key}={value}" for key, value in manifest.options.items())])
