"""What a person at a terminal sees of loading: nothing."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling.encoder import Encoder


def test_no_bar_says_that_weights_load(checkpoint: Path, tmp_path: Path) -> None:
    with KnowledgeBase.create(tmp_path / "birds.kb", Encoder.load(checkpoint, device="cpu")) as kb:
        kb.add([{"id": "1", "text": "a red bird"}])
    ours, theirs = pty.openpty()
    bars = "HF_HUB_DISABLE_PROGRESS_BARS"
    plain = {name: value for name, value in os.environ.items() if name != bars}
    command = [sys.executable, "-m", "rag_vqa", "search", str(tmp_path / "birds.kb"), "bird"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=plain)
    os.write(theirs, b"end")  # so that there is something to read
    said = os.read(ours, 65_536).decode()
    os.close(ours), os.close(theirs)
    assert (done.returncode, said) == (0, "end")
    assert done.stdout.startswith(b"[1] 1 ")
