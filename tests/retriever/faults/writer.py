"""python writer.py KB: takes the writer's lock, says so, and lets go when its input ends."""

import sys
from pathlib import Path

import motions

from rag_vqa.errors import RagVqaError


def documents():
    print("in", flush=True)
    sys.stdin.read()
    yield motions.document(1, 1)


try:
    with motions.open_or_create(Path(sys.argv[1])) as kb:
        kb.add(documents())
        print("done", flush=True)
except RagVqaError as error:
    print(error, flush=True)
