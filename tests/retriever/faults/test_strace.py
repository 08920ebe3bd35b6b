"""The n-th write, sync, rename or removal of the whole process is killed or fails, SQLite's too.

By strace, which injects faults into system calls: an hour of children, hence nightly.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase

CALLS = "pwrite64,write,fsync,fdatasync,rename,unlink,ftruncate"
FAULTS = {"SIGKILL": "signal=SIGKILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import motions
from rag_vqa.errors import RagVqaError
try:
    with motions.open_or_create(Path(sys.argv[1])) as kb:
        if sys.argv[2] == "add":
            kb.add([motions.document(n, 2) for n in range(3, 9)], batch_size=3)
        elif sys.argv[2] == "delete":
            kb.delete(["d0", "d1"])
        else:
            kb.compact()
except RagVqaError as error:
    assert "\\n" not in str(error)
    sys.exit(3)
"""


def injected(path: Path, name: str, fault: str, n: int, root: Path) -> int:
    """The exit code of the operation with a fault at its n-th call."""
    # Only what happens within the folder: the interpreter's own calls are not ours.
    command = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}",
        "-e", f"inject={CALLS}:{FAULTS[fault]}:when={n}",
        *[part for inner in paths(path) for part in ("-P", str(inner))],
        sys.executable, "-B", "-c", _CHILD, str(path), name, str(Path(__file__).parent),
    ]  # fmt: skip
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True
    ).returncode


def paths(path: Path) -> list[Path]:
    """Files that are there or may come."""
    names = [f"kb.sqlite{end}" for end in ("", "-wal", "-shm", "-journal")]
    segments = [f"segments/{n:06}.{kind}" for n in (1, 2, 3) for kind in ("tokens", "codes")]
    pictures = [f.relative_to(path) for f in (path / "images").iterdir()]
    return [path, path / "segments", path / "images", path / "writer.lock",
            *(path / name for name in (*names, *segments, *pictures))]  # fmt: skip


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt)")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["add", "delete", "compact"])
def test_each_call_of_the_process(tmp_path, root, motions, name, fault) -> None:
    base = tmp_path / "base.kb"
    with motions.open_or_create(base) as kb:
        kb.add([motions.document(n, 1) for n in range(6)])
        kb.delete("d2")
        old = motions.held(kb)
    steps = {
        "add": motions.after(old, "add", [motions.document(n, 2) for n in range(3, 9)], 0),
        "delete": [old, {n: v for n, v in old.items() if n not in ("d0", "d1")}],
        "compact": [old],
    }[name]
    faults = 0
    for n in range(1, 1000):
        path = Path(shutil.copytree(base, tmp_path / "x.kb"))
        code = injected(path, name, fault, n, root)
        with KnowledgeBase.open(path, motions.Encoder()) as kb:
            found = motions.held(kb)
            assert found in steps, (n, code)
            with kb.store.hold_writer_lock():
                assert motions.unnamed(kb) == []
        shutil.rmtree(path)
        if code == 0:
            assert found == steps[-1]
            if fault == "SIGKILL" or n > faults + 10:  # past its last call
                break
        else:
            faults = n
    print(name, fault, faults)
    assert faults > 10
