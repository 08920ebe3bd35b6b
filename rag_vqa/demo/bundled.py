"""The embedded default as users meet it: where its models lie, its knowledge base, its photos.

Knows the real countries. Does not know how anything was trained (retriever.yaml, train_reader).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from rag_vqa import images
from rag_vqa.demo.entities import real_entities
from rag_vqa.demo.flag import draw
from rag_vqa.demo.photo import photograph
from rag_vqa.demo.real_flags import REAL
from rag_vqa.demo.texts import documents
from rag_vqa.retriever.encoding import TokenEncoder
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.settings import embedded_model
from rag_vqa.types import Document

PHOTO = (320, 240)


def models_dir() -> Path:
    """The folder that holds "retriever" and "reader". Raises Missing where they are absent."""
    return embedded_model("retriever").parent


def countries() -> list[str]:
    """ISO codes of the countries of the demo: those with facts and a flag that can be drawn."""
    return sorted(REAL.keys() & real_entities().keys())


def real_documents() -> list[Document]:
    """All documents of the demo's knowledge base: a section of a country each, with its flag."""
    found: list[Document] = []
    for code in countries():
        picture = images.encode(Image.fromarray(draw(REAL[code])))
        found += documents(real_entities()[code], image=picture)
    return found


def build_knowledge_base(
    path: Path, encoder: TokenEncoder, on_progress: Callable[[int], None] | None = None
) -> KnowledgeBase:
    """The flag documents as a knowledge base at `path`, or the one that is there, completed."""
    kb = KnowledgeBase.create(path, encoder, exist_ok=True)
    kb.add(real_documents(), strict=True, on_progress=on_progress)
    return kb


def sample_photo(code: str, seed: int = 0) -> Image.Image:
    """An imitated photograph of a real flag; the same seed gives the same picture."""
    rng = np.random.default_rng([seed, *code.encode()])
    return Image.fromarray(photograph(draw(REAL[code], PHOTO[0]), rng, *PHOTO))
