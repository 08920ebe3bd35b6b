"""What a reader is called in records: two that answer differently must not share a name.

It knows folders, hub ids and commits. It does not know how a model loads.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from rag_vqa.settings import EMBEDDED, model_source

_ENDS = 2**20  # bytes of each end of a file that are read: weights of gigabytes take no minutes


def name_of(model: str, commit: str | None, quantization: str) -> str:
    """`id@commit+nf4`. Of a folder its last part, so that no path of a machine is recorded, and in
    place of the commit a digest of its files; the embedded reader is "demo".
    """
    folder = Path(model)
    if folder.is_dir():
        commit = digest_of(folder)
        embedded = folder.resolve() == Path(model_source(EMBEDDED, "reader")).resolve()
        model = EMBEDDED if embedded else folder.resolve().name
    return f"{model}@{commit}+{quantization}" if commit else f"{model}+{quantization}"


def digest_of(folder: Path) -> str:
    """Of a checkpoint: names, sizes and both ends of its files; 12 hex digits.

    Weights that were trained on differ in their ends as well; a file that was changed in its
    middle alone, at the same size, is not told apart.
    """
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"),
                        *folder.glob("*.jinja")]):  # fmt: skip
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\0".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_ENDS))
            opened.seek(max(0, size - _ENDS))
            digest.update(opened.read(_ENDS))
    return digest.hexdigest()
