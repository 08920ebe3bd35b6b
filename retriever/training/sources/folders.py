"""Where a source's packed folder lies: found again while its files are the same, made once.

It knows settings, files by their sizes and times, and that a kill leaves nothing half. It does not
know what is in the folder (packing.py).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from rag_vqa.formats.questions.rows import Benchmark
from rag_vqa.retriever.store.lock import writing
from rag_vqa.retriever.training.sources.packing import Packing, find
from rag_vqa.retriever.training.sources.settings import SourceSettings

FORMAT = 1  # of the folder: another number, another folder
SCRATCH = ".packing-"


def pack(settings: SourceSettings, folder: Path) -> Path:
    """The folder, below `folder`, of a source's rows and documents; written if it is not there.

    Then those go that were written for the same source before its files changed, and what a kill
    left.

    Raises:
        BadInput: a row that is refused, where the settings say stop; nothing that is left.
        UsageError, Missing: see `find`.
        RagVqaError: another process is writing into `folder`.
    """
    found = find(settings)
    source, state = _signatures(settings, found)
    stem = f"{found.name.replace('/', '-')}-{source}-"
    target = folder / f"{stem}{state}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder):
        _remove(folder, SCRATCH)
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
        try:
            Packing(settings, found, scratch).write()
            scratch.rename(target)
            _remove(folder, stem, but=target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _remove(folder: Path, prefix: str, but: Path | None = None) -> None:
    """Folders that `pack` made: nobody else gives such names."""
    for path in [*folder.iterdir()]:
        if path.name.startswith(prefix) and path != but:
            shutil.rmtree(path)


def _signatures(settings: SourceSettings, found: Benchmark) -> tuple[str, str]:
    """Of which source a folder is, by its settings; and of which state of its files, by their
    names, sizes and times."""
    files = [*found.files.values()]
    for path in (settings.documents, settings.negatives):
        if path is not None:
            files += sorted(path.rglob("*")) if path.is_dir() else [path]
    told = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    drawn = {"weight", "hard", "instructions"}  # change nothing of what is written
    said = [FORMAT, settings.model_dump_json(exclude=drawn), str(found.images.resolve())]
    source, state = (sha256(json.dumps(one).encode()).hexdigest() for one in (said, told))
    return source[:8], state[:16]
