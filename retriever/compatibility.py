"""Compatibility: checks that a knowledge base and a retriever belong together.

Knows manifests and encoders by their names and fingerprints, and what an error should advise. Does
not know tokens or files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rag_vqa.errors import Mismatch, UsageError
from rag_vqa.formatting import did_you_mean, quote_value
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.passages import SPLITTINGS
from rag_vqa.retriever.store.kb_manifest import Manifest


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
        f"{path} was built with {built}, asked for {given}. "
        f"Leave out --retriever and its settings, or rebuild: rag-vqa kb build SOURCE --out {path}"
    )


def check_splitting(path: Path, manifest: Manifest) -> None:
    """Refuse passages that this version would split differently.

    Raises:
        Mismatch: with the next command.
    """
    if manifest.splitting not in SPLITTINGS.values():
        raise Mismatch(
            f"{path} was split by {manifest.splitting!r}, this rag-vqa knows "
            f"{', '.join(SPLITTINGS.values())}. Rebuild: rag-vqa kb build SOURCE --out {path}"
        )


def check_build_options(
    path: Path, manifest: Manifest, split: str | None, keep_tokens: bool | None
) -> None:
    """Refuse to continue a knowledge base with options that it was not created with.

    Raises:
        UsageError: naming the option.
    """
    if split is not None and manifest.splitting != resolve_splitting(split):
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


def load_recorded_encoder(manifest: Manifest) -> TokenEncoder:
    """The retriever that made a knowledge base, as it was then, on the best device."""
    from rag_vqa.retriever.modeling.encoder import Encoder

    options: dict[str, Any] = dict(manifest.options)
    return Encoder.load(manifest.source, revision=manifest.revision or None, **options)


def retriever_label(manifest: Manifest) -> str:
    """The name of a retriever for messages, as "ReT-CLIP-ViT-L-14@a1b2 dtype=bfloat16"."""
    name = Path(manifest.source).name or manifest.source
    name += f"@{manifest.revision[:12]}" if manifest.revision else ""
    return " ".join([name, *(f"{key}={value}" for key, value in manifest.options.items())])
