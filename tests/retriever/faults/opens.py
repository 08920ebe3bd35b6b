"""python opens.py FOLDER: prints what is opened of a database otherwise than by SQLite.

Python tells an audit hook of all files that it opens itself, see PEP 578.
"""

import sys
from pathlib import Path

import motions

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Query


def look(event: str, values: tuple[object, ...]) -> None:
    if event == "open" and ".sqlite" in str(values[0]):
        print(values[0])


sys.addaudithook(look)
folder = Path(sys.argv[1])
with motions.open_or_create(folder / "part.kb") as part:
    part.add([motions.document(9, 1)])
with motions.open_or_create(folder / "x.kb") as kb:
    kb.add([motions.document(n, 1) for n in range(6)])
    kb.delete("d1")
    kb.merge([folder / "part.kb"])
    kb.sync([motions.document(n, 2) for n in range(7)], force=True)
    kb.compact()
    kb.search([Query("Document 3, version 2.")], 3)
    kb.snapshot(folder / "copy.kb")
    with KnowledgeBase.open(folder / "x.kb") as other:
        assert other.verify() == ()
for old in folder.glob("old*.kb"):  # of format 1, or damaged
    try:
        KnowledgeBase.open(old).close()
    except CorruptKnowledgeBase as error:
        assert old.name in str(error)
