"""python changes.py KB COMPACTIONS: states that follow each other, each told once it is there.

A state is one version of ten documents, written by one commit; every other one is compacted.
"""

import sys
from pathlib import Path

import motions

with motions.open_or_create(Path(sys.argv[1])) as kb:
    for version in range(2, 2 + 2 * int(sys.argv[2])):
        kb.add([motions.document(n, version) for n in range(10)], batch_size=1000)
        if version % 2:
            kb.compact()
        print(version, flush=True)
        sys.stdin.readline()  # until the readers have looked around
