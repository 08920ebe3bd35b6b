"""The preview of a build: what the first documents would be read as, and how they would be cut.

Knows what is shown and how many lines it takes. Does not know how a source is surveyed (build.py)
or how documents are cut (retriever/). Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from rag_vqa.errors import BadImage, Missing
from rag_vqa.formatting import format_bytes, format_value, one_line, shorten_line
from rag_vqa.jobs import models
from rag_vqa.jobs.build import MOST_SURVEY_LINES, BuildOptions, PreparedBuild, prepare_build
from rag_vqa.jobs.build_estimate import passages_of
from rag_vqa.jobs.document_source import describe_source
from rag_vqa.progress import LOG, Reporter

if TYPE_CHECKING:
    from rag_vqa.formats.document import Record
    from rag_vqa.formats.source_statistics import SourceStatistics
    from rag_vqa.retriever.modeling import TokenEncoder
    from rag_vqa.settings_schema import Settings
    from rag_vqa.types import ImageSource, Passage

MOST_LINES = 40  # of a dry run, with the survey and other notes
_OTHER_NOTES = 4  # which retriever, which shard, what is shown
_DOCUMENTS, _PASSAGES, _REASONS, _FIELD_LINES = 6, 3, 3, 4


def preview_build(
    options: BuildOptions,
    settings: Settings | None = None,
    reporter: Reporter = LOG,
    width: int = 79,
) -> list[str]:
    """Lines that show the first documents as they would be encoded and read; builds nothing.

    Together with what is reported, they are at most MOST_LINES.

    Args:
        width: characters of a line; longer ones are cut.

    Raises: as `build_knowledge_base`.
    """
    prepared = prepare_build(options, settings, reporter, dry_run=True)
    survey = sum(1 for _ in describe_source(prepared.reader.source, prepared.found))
    most = MOST_LINES - min(survey, MOST_SURVEY_LINES) - _OTHER_NOTES
    encoder = models.load_encoder(prepared.settings, *prepared.retriever, prepared.built_with)
    lines = [*_problem_lines(prepared.found), *_field_lines(prepared, options.source.text, width)]
    for record in islice(prepared.reader, _DOCUMENTS):
        more = list(_record_lines(record, encoder, options.split or "window"))
        if len(lines) + len(more) > most:
            break
        lines += more
    return [shorten_line(line, width) for line in lines[:most]]


def _problem_lines(found: SourceStatistics) -> Iterator[str]:
    """The first reasons of refusals, and the first missing pictures."""
    for reason in found.refusals[:_REASONS]:
        yield f"refused: {reason}"
    for name in found.missing[:_REASONS]:
        yield f"missing picture: {name}"


def _field_lines(prepared: PreparedBuild, template: str | None, width: int) -> list[str]:
    """Which columns the fields of a table are read from."""
    fields = {name: ", ".join(columns) for name, columns in prepared.reader.source.fields.items()}
    if template is not None:
        fields["text"] = template
    parts = (f"{name} ← {columns}" if columns != name else name for name, columns in fields.items())
    whole = f"fields: {one_line(' · '.join(parts))}"
    return wrap(whole, width, subsequent_indent="  ")[:_FIELD_LINES] if fields else []


def _record_lines(record: Record, encoder: TokenEncoder, split: str) -> Iterator[str]:
    """A document: heading, text, metadata, and its passages with their pictures."""
    heading = [record.id, record.title, record.section]
    yield " · ".join(part for part in heading if part.strip())
    yield f"  text: {record.text}" if record.text.strip() else "  no text"
    if record.metadata:
        values = (f"{name}={format_value(value)}" for name, value in record.metadata.items())
        yield f"  metadata: {' · '.join(values)}"
    passages = passages_of(record, encoder, split)
    if not passages:
        yield "  refused: it has neither text nor image"
    for passage in passages[:_PASSAGES]:
        yield f"  {_passage_line(passage, encoder, record.folder)}"
    if len(passages) > _PASSAGES:
        yield f"  … and {len(passages) - _PASSAGES:,} more passages"


def _passage_line(passage: Passage, encoder: TokenEncoder, folder: Path) -> str:
    tokens = encoder.count_tokens(passage.text)
    picture = "" if passage.image is None else f" · {describe_picture(passage.image, folder)}"
    return f"passage {passage.position} · {tokens} tokens{picture}: {passage.text}"


def describe_picture(image: ImageSource, folder: Path | None = None) -> str:
    """A picture in a few words: the beginning of its hash, its pixels and its bytes.

    Args:
        folder: the folder that a file must lie in.
    """
    from rag_vqa import images
    from rag_vqa.formats.picture_files import find_picture

    if not isinstance(image, str | Path | bytes):
        return "a picture"
    name = image.name if isinstance(image, Path) else "picture"
    if isinstance(image, Path):
        image = find_picture(image, folder)
    try:
        data = images.read_bytes(image, folder, name)
        width, height = images.load(data, name=name).size
    except (BadImage, Missing) as error:
        return f"a picture that cannot be read ({one_line(str(error))})"
    size = f"{width} × {height}, {format_bytes(len(data))}"
    return f"picture {images.content_hash(data)[:8]}, {size}"
