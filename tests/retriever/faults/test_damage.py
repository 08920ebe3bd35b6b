"""Files that were cut, or had a bit flipped: found, or without any effect. Never a crash."""

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import CorruptKnowledgeBase, RagVqaError
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Query


@pytest.fixture
def base(tmp_path: Path, motions) -> Path:
    """Of two segments, with rows that are gone, and pictures."""
    path = tmp_path / "base.kb"
    with motions.open_or_create(path) as kb:
        kb.add([motions.document(n, 1) for n in range(12)])
        kb.delete(["d1", "d2"])
        kb.add([motions.document(n, 2) for n in range(10, 24)], batch_size=5)
    return path


def answers(path: Path, motions) -> Any:
    """Everything that the user can get to read."""
    with KnowledgeBase.open(path, motions.Encoder()) as kb:
        documents = list(kb.documents())
        shown = [kb.show(document.id) for document in documents]
        pictures = [Path(str(i)).read_bytes() for d in documents for i in d.images]
        queries = [Query("Document 3, version 1."), Query("word word"), Query("else")]
        found = [kb.search(queries, 40), kb.search(queries, 5, {"quarter": [1, 2]})]
        return shown, pictures, found


def files(path: Path) -> list[Path]:
    """Largest last; not the lock, which holds nothing."""
    found = [f for f in path.rglob("*") if f.is_file() and f.name != "writer.lock"]
    return sorted(found, key=lambda f: (f.stat().st_size, f.name))


def test_cut_files_are_named(base, motions) -> None:
    headers = {".sqlite": 100, ".tokens": 64, ".codes": 64, "": 8}
    for file in files(base):
        whole, header = file.read_bytes(), headers[file.suffix]
        for size in (0, 1, header - 1, header, header + 1, len(whole) // 2, len(whole) - 1):
            # A new file, as a restored one would be: what others have mapped is never cut.
            file.unlink()
            file.write_bytes(whole[:size])
            if file.suffix:
                with pytest.raises(CorruptKnowledgeBase, match=file.name) as found:
                    KnowledgeBase.open(base)
                assert f"byte {size}" in str(found.value)
            else:
                with KnowledgeBase.open(base) as kb:
                    assert [damage.file for damage in kb.verify()] == [file]
            file.unlink()
            file.write_bytes(whole)
    with KnowledgeBase.open(base) as kb:
        assert kb.verify() == ()


def test_a_file_that_is_gone_is_named(base, motions) -> None:
    for file in files(base):
        kept = file.rename(base.parent / "kept")
        if file.suffix in (".tokens", ".codes"):
            with pytest.raises(CorruptKnowledgeBase, match=f"{file.name} is damaged at byte 0"):
                KnowledgeBase.open(base)
        elif not file.suffix:
            with KnowledgeBase.open(base) as kb:
                assert [damage.file for damage in kb.verify()] == [file]
        kept.rename(file)


def flips(base: Path, motions, number: int, seed: int) -> Counter[str]:
    """What became of flipped bits: half of them in the database, the others anywhere else."""
    chance, became = random.Random(seed), Counter[str]()
    good = answers(base, motions)
    *others, database = files(base)
    assert database.name == "kb.sqlite"
    for _ in range(number):
        file = chance.choice([database, chance.choice(others)])
        whole = file.read_bytes()
        place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(bytes([whole[place] ^ bit]))
        became[outcome(base, motions, good, file)] += 1
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(whole[place : place + 1])
    assert answers(base, motions) == good
    return became


def outcome(base: Path, motions, good: Any, file: Path) -> str:
    try:
        KnowledgeBase.open(base).close()
    except RagVqaError as error:
        assert file.name in str(error)
        return "found on opening"
    try:
        same = answers(base, motions) == good
    except RagVqaError:
        same = False
    with KnowledgeBase.open(base) as kb:
        damage = kb.verify()
    if damage:
        assert file in {d.file for d in damage}
        return "found by verify" if same else "found by verify, answers changed"
    assert same, "answers changed, and verify found nothing"
    assert file.name == "kb.sqlite"  # all bytes of the others are covered
    return "unused bytes"


def test_three_hundred_flipped_bits(base, motions, record_property) -> None:
    became = flips(base, motions, 300, seed=1)
    record_property("flips", dict(became))
    assert became["found by verify, answers changed"] and became["found on opening"]


@pytest.mark.nightly
def test_two_thousand_flipped_bits(base, motions, record_property) -> None:
    became = flips(base, motions, 2000, seed=2)
    record_property("flips", dict(became))
    print(dict(became))


def test_rows_of_another_commit_are_found(base, tmp_path, motions) -> None:
    """The digest: rows that are sound each by itself, but one is missing."""
    old = Path(shutil.copytree(base, tmp_path / "old.kb"))
    with KnowledgeBase.open(old) as kb:
        db = kb.store.db._db
        db.execute("DELETE FROM gone WHERE key = (SELECT max(key) FROM gone)")
        assert any("digest" in damage.what for damage in kb.verify())
