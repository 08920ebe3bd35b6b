"""The choice of shown metadata in a build: what --show names, else the source's short texts.

Knows when a knowledge base gets such names: not those of benchmarks, whose prompts are as their
papers have them, nor older ones. Does not know how names are recorded (retriever/).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rag_vqa.formatting import one_line
from rag_vqa.jobs.document_source import SourceReader
from rag_vqa.progress import Reporter

if TYPE_CHECKING:
    from rag_vqa.formats.source_statistics import SourceStatistics
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.retriever.shown_metadata import ShownNames
    from rag_vqa.settings_schema import Settings

_OF_FILES = {"author", "date", "language"}
MOST_CHOSEN = 8  # names that a build chooses by itself


def choose_shown(
    reader: SourceReader,
    found: SourceStatistics,
    settings: Settings,
    kb: KnowledgeBase | None,
    reporter: Reporter,
) -> ShownNames | None:
    """The names that a knowledge base should remember; None leaves it as it is. Reports them.

    Args:
        kb: the knowledge base that the documents come into; None for a new one.
    """
    from rag_vqa.formats.benchmark import BENCHMARKS
    from rag_vqa.retriever.shown_metadata import (
        ShownNames,
        describe_unknown,
        read_record,
        resolve_names,
    )

    source, asked = reader.source, settings.metadata.show
    before = None if kb is None else read_record(kb.store.db)
    if asked is not None:
        known = list(dict.fromkeys([*source.metadata, *found.metadata_names]))
        known += [] if kb is None else [n for n in kb.store.metadata_names() if n not in known]
        names, unknown = resolve_names(asked, known)
        for line in describe_unknown(unknown, known):
            reporter.note(line)
        chosen = ShownNames((*names, *unknown), are_chosen=True)  # they may come later
    else:
        of_benchmarks = {each.name for known in BENCHMARKS.entries() for each in known.documents}
        is_settled = kb is not None and (before is None or before.are_chosen)
        if is_settled or source.kind in of_benchmarks:
            return None
        earlier = before.names if before is not None else ()
        within = _columns_of_text(reader)  # they stand in the text already
        if not source.fields:  # no table: these are of the files, not of what they are about
            within |= _OF_FILES
        columns = {name.strip(): place for place, name in enumerate(source.columns)}
        in_order = sorted(found.short_names, key=lambda name: columns.get(name, len(columns)))
        new = (name for name in in_order if name not in within)
        every = list(dict.fromkeys([*earlier, *new]))
        chosen = ShownNames(tuple(every[:MOST_CHOSEN]))
    if chosen.names and chosen != before:
        why = "" if chosen.are_chosen else " (short texts; choose with --show)"
        reporter.note(f"shown to readers: {one_line(', '.join(chosen.names))}{why}")
    return chosen


def _columns_of_text(reader: SourceReader) -> set[str]:
    """The columns that a template makes the text of, as metadata names them."""
    from rag_vqa.formats.text_template import TextTemplate

    if reader.options.text is None:
        return set()
    template = TextTemplate.parse(reader.options.text, reader.source.columns)
    return {name.strip() for name in template.columns}


def remember_shown(kb: KnowledgeBase, shown: ShownNames | None) -> None:
    """Record what was chosen."""
    if shown is not None:
        kb.remember_shown(shown.names, shown.are_chosen)


def open_existing(out: Path) -> AbstractContextManager[KnowledgeBase | None]:
    """The knowledge base at `out`, without its retriever; None if there is none yet."""
    from rag_vqa.jobs.models import open_knowledge_base
    from rag_vqa.retriever.store.database import DATABASE_FILE

    return open_knowledge_base(out) if (out / DATABASE_FILE).exists() else nullcontext()
