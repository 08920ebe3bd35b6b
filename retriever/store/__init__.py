"""What a knowledge base is on disk: rows in SQLite, tokens in segments, pictures by content.

store.py      documents, passages and their rows of tokens: what a commit writes
database.py   the SQLite file; commit.py, tables.py, journal.py, manifest.py
segments.py   tokens and codes; blocks.py says which rows are whose
files.py      every write beside SQLite's; lock.py the one writer
compact.py, collect.py, verify.py, copying.py, migrate.py
"""

from __future__ import annotations

from rag_vqa.retriever.store.collect import FILE, foreign
from rag_vqa.retriever.store.content import Content, Encoded, content_of
from rag_vqa.retriever.store.manifest import Manifest
from rag_vqa.retriever.store.pictures import FOLDER as IMAGES
from rag_vqa.retriever.store.store import Store

__all__ = ["FILE", "IMAGES", "Content", "Encoded", "Manifest", "Store", "content_of", "foreign"]
