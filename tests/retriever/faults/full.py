"""python full.py FOLDER OFFSETS: the disk is full after a number of bytes of any file.

Each round forks a child whose files may not grow beyond a limit (RLIMIT_FSIZE). It adds until it
is refused, and looks whether all that was there can still be read.
"""

import json
import os
import resource
import shutil
import sys
from pathlib import Path

import motions

from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.knowledge_base import KnowledgeBase

NEW = [motions.document(number, 2) for number in range(5, 30)]


def child(path: Path, limit: int) -> str:
    """The error message of the refused operation; "" if there was room."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with motions.open_or_create(path) as kb:
            kb.add(NEW, batch_size=8)
    except RagVqaError as error:
        with KnowledgeBase.open(path, motions.Encoder()) as reader:
            motions.held(reader)
        return str(error)
    return ""


def one_round(path: Path, limit: int) -> str:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writing, child(path, limit).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    return said


def main(folder: Path, offsets: int) -> None:
    base = folder / "base.kb"
    with motions.open_or_create(base) as kb:
        kb.add([motions.document(number, 1) for number in range(10)])
        old = motions.held(kb)
    allowed = motions.after(old, "add", NEW, 0)
    largest, refused = 2**20, 0
    for number in range(offsets):
        path = Path(shutil.copytree(base, folder / f"{number}.kb"))
        said = one_round(path, largest * number // offsets)
        assert "\n" not in said
        refused += bool(said)
        with motions.open_or_create(path) as kb:
            found = motions.held(kb)
            assert found in allowed
            assert said or found == allowed[-1]
            kb.add(NEW, batch_size=8)  # there is room again
            assert motions.held(kb) == allowed[-1]
            assert motions.unnamed(kb) == []
        shutil.rmtree(path)
    print(json.dumps({"offsets": offsets, "refused": refused}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
