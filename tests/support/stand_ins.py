"""Stand-ins of the models that README and docs name: small, true layouts, random weights.

A hub on loopback serves them by the names and commits that the program expects.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from model_hub import BENCHMARKS, running, use_hub

from rag_vqa.checkpoints import CHECKPOINTS

sys.path.append(str(BENCHMARKS))
try:
    import rehearsal_models as models
    import rehearsal_tokenizers as tokenizers
finally:
    sys.path.remove(str(BENCHMARKS))


def write_stand_ins(root: Path) -> Path:
    """ReT-CLIP-ViT-L-14, its towers' processor and Qwen3-VL-2B-Instruct, as OWNER/NAME."""
    models.write_retriever(root / models.RETRIEVER, models.SMALL)
    tokenizers.write_clip(root / models.TOWERS, models.SMALL)
    models.write_reader(root / models.READER, models.SMALL)
    tokenizers.write_qwen(root / models.READER, models.SMALL)
    return root


@contextmanager
def serving(root: Path, home: Path) -> Iterator[Any]:
    """In this context, the hub of huggingface_hub is ours, with a cache below `home`."""
    revision = CHECKPOINTS[models.READER].revision
    with (
        running(root, commits={models.READER: revision}) as hub,
        pytest.MonkeyPatch.context() as patch,
    ):
        use_hub(patch, hub, home)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.delenv("HF_HUB_CACHE", raising=False)
        # A person at a terminal agrees to each download.
        patch.setattr("rag_vqa.cli.context.CommandContext.confirm", lambda *_: True)
        yield hub
