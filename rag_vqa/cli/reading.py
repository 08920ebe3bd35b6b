"""From settings to a reader: on this machine, or behind servers.

It knows which settings go to which kind, and refuses the other kind's before anything loads. It
does not know how either is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_vqa.cli.consent import Named
from rag_vqa.presets import revision
from rag_vqa.settings import EMBEDDED

if TYPE_CHECKING:
    from rag_vqa.pipeline import RagVqa
    from rag_vqa.retriever.knowledge_base import KnowledgeBase
    from rag_vqa.settings import Settings


def reader_models(settings: Settings) -> list[Named]:
    """The reader's model, named or embedded, as a download to agree to; none with servers.

    Raises:
        UsageError: a setting of the other kind of reader, or servers without a model.
    """
    from rag_vqa.readers.opening import check_named, check_options

    reader = settings.reader
    # --device is the retriever's as well.
    check_options([name for name in reader.model_fields_set if name != "device"], reader.servers)
    if reader.servers:
        check_named(reader.model)
        return []
    return [(reader.model or EMBEDDED, revision(reader.model, reader.revision))]


def reader_options(settings: Settings) -> dict[str, Any]:
    """What the settings say to `open_reader`, besides the model."""
    from rag_vqa.readers.opening import HERE, THERE

    other = HERE if settings.reader.servers else THERE
    own = {name: value for name, value in settings.reader if name not in ("model", *other)}
    return own | {"offline": settings.offline}


def pipeline(settings: Settings, kb: KnowledgeBase | Path) -> RagVqa:
    """A RagVqa over a knowledge base, open or by its path, as the settings say."""
    from rag_vqa.critic import Critic
    from rag_vqa.pipeline import RagVqa

    chosen = settings.filter
    rag = RagVqa(
        kb,
        settings.reader.model if settings.reader.servers else settings.reader.model or EMBEDDED,
        k=settings.k,
        template=settings.prompt.template,
        language=settings.prompt.language,
        **reader_options(settings),
    )
    if chosen.name == "critic":
        rag.filter = Critic(lambda: rag.reader, threshold=chosen.threshold, top=chosen.top)
    return rag
