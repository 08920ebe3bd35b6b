"""python deletes.py KB [ID ...]: deletes each, and prints the ids that are then held."""

import sys
from pathlib import Path

import motions

with motions.open_or_create(Path(sys.argv[1])) as kb:
    for identity in sys.argv[2:]:
        assert kb.delete(identity) == 1
    print(*motions.held(kb))
