"""Opens what the settings name: one source, or a mixture of several.

It knows which format is read by whom. It does not know files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rag_vqa.errors import UsageError
from rag_vqa.retriever.training.batch import Source
from rag_vqa.retriever.training.mixture import Mixture
from rag_vqa.retriever.training.sources.files import FileSource
from rag_vqa.retriever.training.sources.folders import pack
from rag_vqa.retriever.training.sources.settings import SourceSettings

Others = Mapping[str, Callable[[SourceSettings], Source]]


def open_source(
    settings: SourceSettings,
    others: Others | None = None,
    folder: Path | None = None,
    instruction: str = "",
) -> Source:
    """One source, checked as a whole: every row and document that it names was read once.

    Args:
        others: what makes sources of formats that are no files, by their names.
        folder: where it is packed, and found again by the next run with the same files: a folder
            of the training run. None: a temporary one, which ends with this process.
        instruction: of files, before questions that bring none.

    Raises:
        UsageError: no such format, or settings that it does not have.
        Missing: a file is not there.
        BadInput: a row that is refused, where the settings say stop; no row at all.
    """
    others = others or {}
    if settings.format in others:
        return others[settings.format](settings)
    if folder is None:
        folder = _temporary()
    packed = pack(settings, folder)
    name = "" if settings.questions is None else settings.questions.name
    return FileSource(
        packed,
        name,
        instructions=settings.instructions,
        instruction=instruction,
        hard=settings.hard,
        on_bad=settings.on_bad,
    )


def open_mixture(
    all_of: Sequence[SourceSettings],
    others: Others | None = None,
    folder: Path | None = None,
    instruction: str = "",
) -> Mixture:
    """The sources as one, each by its weight times its rows; see `open_source`.

    Raises:
        UsageError: none, or different numbers of negatives, which no batch can hold.
    """
    if not all_of:
        raise UsageError("there is nothing to train on: name a source in data.train.")
    if len({settings.hard for settings in all_of}) > 1:
        raise UsageError("the sources differ in `hard`: a batch needs the same number of each.")
    sources = [open_source(settings, others, folder, instruction) for settings in all_of]
    rows = [len(one) if isinstance(one, FileSource) else 1 for one in sources]
    shares = [settings.weight * count for settings, count in zip(all_of, rows, strict=True)]
    return Mixture(sources, shares)


_temporaries: list[tempfile.TemporaryDirectory[str]] = []


def _temporary() -> Path:
    """A folder that is deleted as the process ends."""
    made = tempfile.TemporaryDirectory(prefix="rag-vqa-")
    _temporaries.append(made)
    return Path(made.name)
