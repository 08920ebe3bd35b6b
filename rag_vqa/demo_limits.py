"""Limits of the built-in models: when to warn, what not to combine, and why an answer is unknown.

Knows that they only know national flags, which models of the settings are they, and which command
helps. Does not know how documents are recognised (retriever/flag_world.py), nor how models load.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from rag_vqa.checkpoints import EMBEDDED, model_source
from rag_vqa.errors import DemoLimits, Mismatch, UsageError
from rag_vqa.formatting import format_bytes, one_line
from rag_vqa.presets import find_preset
from rag_vqa.progress import LOG, Reporter
from rag_vqa.readers.factory import QUOTE

if TYPE_CHECKING:
    from rag_vqa.readers.base import Reader
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.settings_schema import Settings

PRESET = "laptop"  # for other documents; the smallest one of real models
_UNKNOWN = re.compile(r"(?:\[\d+\]\s*)*unknown\.?", re.I)  # how the built-in reader says it
_REBUILD = f"rag-vqa kb build SOURCE --out NEW.kb --preset {PRESET}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPair:
    """The models of a pipeline.

    Attributes:
        retriever: the model that the knowledge base was built with.
        reader: folder, hub id or name; None: nobody reads.
        is_remote: the reader runs on servers, which may call it as they like.
        names_retriever: the user named the retriever with this command or call, not by a preset.
        called: by which name, if that is still to be checked.
    """

    retriever: str
    reader: str | None
    is_remote: bool = False
    names_retriever: bool = False
    called: str | None = None

    @classmethod
    def from_parts(
        cls,
        kb: KnowledgeBase,
        reader: Reader | str | Path | None,
        retriever: str | None = None,
        is_remote: bool = False,
    ) -> Self:
        """The models of a pipeline. One given as an open reader was chosen for this retriever.

        Args:
            retriever: what the user calls the retriever, if he does.
        """
        is_open = not isinstance(reader, str | Path | None)
        if isinstance(reader, str | Path | None):
            name = None if reader is None else str(reader)
        else:
            name = EMBEDDED if _is_built_in_name(reader.name) else reader.name
        return cls(
            retriever=kb.manifest.source,
            reader=name,
            is_remote=is_remote,
            names_retriever=is_open or retriever is not None,
            called=retriever,
        )

    @property
    def has_demo_retriever(self) -> bool:
        """The knowledge base was built with the built-in retriever."""
        return is_built_in(self.retriever, "retriever")

    @property
    def has_demo_reader(self) -> bool:
        """The built-in reader answers."""
        return not self.is_remote and is_built_in(self.reader, "reader")

    def check(self, retrieves: bool = True) -> None:
        """Refuse to combine a built-in model with a real one, unless the user named both.

        A knowledge base of another retriever was built with one that the user named.

        Args:
            retrieves: False: nothing is retrieved, so any reader may answer.

        Raises:
            UsageError: with the command that helps, and the one that combines them anyway.
            Mismatch: the user calls the retriever by another name than it has.
        """
        self._check_name()
        if not retrieves:
            return
        shown = one_line(self.reader or EMBEDDED)
        is_other = not self.has_demo_reader and self.reader != QUOTE
        if self.has_demo_retriever and is_other and not self.names_retriever:
            raise UsageError(
                "This knowledge base was built with the built-in retriever, which only knows "
                f"national flags, so {shown} would read the wrong documents. Build it with a real "
                f"one ({download_size()} download): {_REBUILD}. To combine them anyway, name both: "
                f"--retriever {EMBEDDED} --reader {shown}"
            )

    def _check_name(self) -> None:
        if (retriever := self.called) is None:
            return
        if model_source(retriever, "retriever") != model_source(self.retriever, "retriever"):
            raise Mismatch(
                f"The knowledge base was built with {one_line(self.retriever)}, but "
                f"retriever={retriever!r}. Leave it out, or rebuild: rag-vqa kb build SOURCE "
                f"--out NEW.kb --retriever {one_line(retriever)}"
            )

    def describe_limits(self) -> str:
        """One line on what these models do not know, for documents other than flags; "" if none."""
        preset = f"--preset {PRESET} ({download_size()} download)"
        if not self.has_demo_retriever:
            if not self.has_demo_reader or self.reader is None:
                return ""
            return (
                "The built-in reader only knows national flags. For these documents use "
                f"--reader MODEL, or {preset}."
            )
        both = self.has_demo_reader
        subject = "The built-in models only know" if both else "The built-in retriever only knows"
        return (
            f"{subject} national flags. For these documents use {preset}: {_REBUILD}. Searching by "
            f"words, by the same picture, and --reader {QUOTE} work meanwhile."
        )


def default_reader(kb: KnowledgeBase | None) -> str:
    """The reader that answers if nobody names one.

    The built-in one knows the flag world alone, together with the built-in retriever. Other
    documents are quoted. Without documents (None, or an empty knowledge base) it is the built-in
    one, too.
    """
    if kb is None or not len(kb):
        return EMBEDDED
    is_demo = is_built_in(kb.manifest.source, "retriever") and kb.is_flag_world
    return EMBEDDED if is_demo else QUOTE


def is_built_in(model: str | None, role: Literal["retriever", "reader"]) -> bool:
    """True for the model in this package, by name, by its folder, or because none is named."""
    if model in (None, EMBEDDED):
        return True
    return (
        Path(model).is_dir() and Path(model).resolve() == Path(model_source(None, role)).resolve()
    )


def _is_built_in_name(name: str) -> bool:
    """True for the name in the records of the built-in reader: "demo@…+nf4"."""
    return name.partition("+")[0].partition("@")[0] == EMBEDDED


def is_unknown_to_demo(text: str, reader: str) -> bool:
    """True if the reader with this name in records is the built-in one, and found no answer.

    >>> is_unknown_to_demo("unknown", "demo@0f+nf4"), is_unknown_to_demo("unknown", "Qwen/X+nf4")
    (True, False)
    """
    return _UNKNOWN.fullmatch(text.strip()) is not None and _is_built_in_name(reader)


def explain_unknown(is_flag_world: bool) -> str:
    """Why the built-in reader answers "unknown", for people."""
    if not is_flag_world:
        return (
            "No answer found. The built-in demo reader only understands questions about flags; "
            f"use --preset {PRESET} for these documents."
        )
    return (
        "No answer found. The built-in demo reader knows questions about the country of a flag: "
        "its geography, people, government, economy, travel and flag, for instance "
        '"What is the currency of this country?"'
    )


def download_size() -> str:
    """Size of the download of the preset for other documents, as "6.3 GB"."""
    return format_bytes(find_preset(PRESET).download)


@cache
def warn_once(limits: str) -> None:
    """Give the Python warning DemoLimits, once a process."""
    warnings.warn(limits, DemoLimits, stacklevel=4)


def check_pair(
    settings: Settings,
    kb: KnowledgeBase,
    reporter: Reporter = LOG,
    read: bool = True,
    is_default: bool = False,
) -> None:
    """Refuse models that do not go together, and report the limits of the embedded ones.

    Args:
        read: False: no reader is needed.
        is_default: the reader is the default one (`name_reader`), which is reported.

    Raises:
        UsageError: see `ModelPair.check`.
    """
    pair = make_pair(settings, kb.manifest.source, read)
    if settings.k and read:
        pair.check()
    limits = pair.describe_limits() if settings.k or read else ""
    if limits and len(kb) and not kb.is_flag_world:
        reporter.note(limits)
    if is_default:
        what = "embedded model" if pair.has_demo_reader else f"reader {QUOTE}: it quotes sentences"
        reporter.note(f"Reading with the {what}. Choose another: --reader, or --preset")


def name_reader(settings: Settings, kb: KnowledgeBase | None) -> Settings:
    """The settings with the default reader in them, if they name none."""
    if settings.reader.model is not None or settings.reader.servers:
        return settings
    name = default_reader(kb if settings.k else None)
    reader = settings.reader.model_copy(update={"model": name})
    return settings.model_copy(update={"reader": reader})


def make_pair(settings: Settings, retriever: str, read: bool = True) -> ModelPair:
    """The retriever of a knowledge base and the settings' reader; `read`: False: without one."""
    return ModelPair(
        retriever=retriever,
        reader=settings.reader.model if read else None,
        is_remote=read and bool(settings.reader.servers),
        names_retriever=names_retriever(settings),
    )


def report_retriever_limits(model: str, texts: Sequence[str], reporter: Reporter = LOG) -> None:
    """Report what the retriever cannot do with the first texts of a source, if it is embedded."""
    from rag_vqa.retriever.flag_world import are_flag_texts

    if is_built_in(model, "retriever"):
        limits = ModelPair(retriever=model, reader=EMBEDDED).describe_limits()
        own = "Encoding with the embedded retriever. Choose another: --retriever, or --preset"
        reporter.note(own if are_flag_texts(texts) else limits)


def names_retriever(settings: Settings) -> bool:
    """True if the user named the retriever, and not only a preset."""
    return "model" in settings.retriever.model_fields_set
