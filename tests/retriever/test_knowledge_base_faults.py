"""Faults: kills, failed commits, damaged and foreign files, a second writer."""

import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from rag_vqa.errors import CorruptKnowledgeBase, RagVqaError
from rag_vqa.images import encode
from rag_vqa.retriever.encoding import TokenEncoder
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.types import Document, Query


def png() -> bytes:
    return encode(Image.new("RGB", (3, 2), "red"))


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        yield base


_CHILD = """
import sys
import numpy as np
from rag_vqa.retriever.knowledge_base import KnowledgeBase

class Encoder:
    source, revision, fingerprint, instruction = "fake", None, "f" * 64, ""
    options = {}
    K, D, window = 4, 64, 77
    def count_tokens(self, text):
        return 5
    def encode_passages(self, passages):
        return np.full((len(passages), 4, 64), 0.125, np.float32)

kb = KnowledgeBase.create(sys.argv[1], Encoder(), exist_ok=True)
documents = ({"id": str(n), "text": f"Text {n}.", "image": sys.argv[2]} for n in range(100_000))
kb.add(documents, batch_size=5, on_progress=lambda done: print(done, flush=True))
"""


def test_killed_at_any_time_it_holds_what_was_acknowledged(
    tmp_path: Path, encoder: TokenEncoder, root: Path
) -> None:
    picture, path, moment = tmp_path / "p.png", tmp_path / "k.kb", random.Random(0)
    picture.write_bytes(png())
    command = [sys.executable, "-c", _CHILD, str(path), str(picture)]
    acknowledged = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:
            assert child.stdout is not None
            lines = [int(child.stdout.readline())]
            while lines[-1] <= acknowledged:  # unchanged ones are told too
                lines.append(int(child.stdout.readline()))
            time.sleep(moment.uniform(0, 0.2))
            child.send_signal(signal.SIGKILL)
            lines += [int(line) for line in child.stdout if line.endswith("\n")]
        assert lines[-1] > acknowledged
        acknowledged = lines[-1]
        started = time.monotonic()
        with KnowledgeBase.open(path, encoder) as kb:
            assert time.monotonic() - started < 2
            held = len(kb)
            assert held - acknowledged in (0, 5)  # the commit may precede its line
            assert {document.id for document in kb.documents()} == {str(n) for n in range(held)}
            assert kb.stats().passages == held
            assert len(kb.search([Query("Text")], held)[0]) == held
            assert kb.store.db.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_failed_commit_leaves_the_old_state(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add([{"id": "a", "text": "One."}])
    monkeypatch.setattr("rag_vqa.retriever.store.digest", lambda document: None)  # NOT NULL fails
    with pytest.raises(RagVqaError):
        kb.add([{"id": "a", "text": "Two."}])
    assert kb.get("a") == Document("a", text="One.")
    assert kb.stats().passages == 1


def test_a_cut_or_foreign_file_is_named(tmp_path: Path, kb: KnowledgeBase) -> None:
    kb.add([{"id": str(n), "text": f"Text {n}."} for n in range(50)])
    kb.close()
    file = kb.path / "kb.sqlite"
    whole = file.read_bytes()
    foreign = tmp_path / "foreign"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE meta (name, value)")
    database.close()
    damaged = [whole[:cut] for cut in (0, 1, 99, 100, 101, 4096, len(whole) // 2, len(whole) - 1)]
    damaged += [b"garbage" * 1000, pickle.dumps("x"), foreign.read_bytes()]
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises(CorruptKnowledgeBase, match=r"kb\.sqlite is damaged"):
            KnowledgeBase.open(kb.path)


@pytest.mark.parametrize("offset", [0, 15, 68, 71])  # SQLite's magic string, application_id
def test_a_flipped_bit_of_the_file_s_header_is_found(kb: KnowledgeBase, offset: int) -> None:
    kb.close()
    data = bytearray((kb.path / "kb.sqlite").read_bytes())
    data[offset] ^= 1
    (kb.path / "kb.sqlite").write_bytes(data)
    with pytest.raises(CorruptKnowledgeBase, match=r"kb\.sqlite is damaged"):
        KnowledgeBase.open(kb.path)


def test_flipped_bits_anywhere_raise_errors_of_ours_only(
    kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    """Most flips are not found yet: rows carry no checksums. None may crash."""
    kb.add([{"id": str(n), "text": f"T {n}.", "metadata": {"a": n}} for n in range(30)])
    kb.close()
    file, chance = kb.path / "kb.sqlite", random.Random(0)
    whole = file.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        data[chance.randrange(chance.choice([len(data), 6000]))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        with suppress(RagVqaError), KnowledgeBase.open(kb.path, encoder) as again:
            list(again.documents())
            again.search([Query("T")], 40, where={"a": 3})
            again.search([Query("T")], 40)


def test_another_format_is_refused_untouched(kb: KnowledgeBase) -> None:
    kb.close()
    file = kb.path / "kb.sqlite"
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 2")
    database.close()
    before = file.read_bytes()
    with pytest.raises(RagVqaError, match=r"format 2, .* reads up to 1\. Upgrade"):
        KnowledgeBase.open(kb.path)
    assert file.read_bytes() == before


def test_an_image_name_in_the_file_cannot_lead_elsewhere(
    kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    kb.add([{"id": "a", "text": "One.", "image": png()}])
    database = sqlite3.connect(kb.path / "kb.sqlite")
    database.execute("UPDATE passages SET image = '../../secret'")
    database.commit()
    database.close()
    with pytest.raises(CorruptKnowledgeBase, match="not the name of a stored image"):
        kb.search([Query("One")], 1)


def test_a_second_writer_waits_then_is_told(
    kb: KnowledgeBase, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_vqa.retriever.database._BUSY_SECONDS", 0.1)
    with (
        KnowledgeBase.open(kb.path, encoder) as second,
        kb.store.db.commit(),
        pytest.raises(RagVqaError, match="Another process is writing"),
    ):
        second.add([{"id": "a", "text": "One."}])


def test_it_can_be_copied_and_read_where_nothing_can_be_written(
    tmp_path: Path, kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    kb.add([{"id": "a", "text": "One."}])
    copy = Path(shutil.copytree(kb.path, tmp_path / "copy.kb"))
    assert sorted(file.name for file in copy.iterdir()) == ["images", "kb.sqlite"]
    (copy / "kb.sqlite").chmod(0o400)
    copy.chmod(0o500)
    try:
        with KnowledgeBase.open(copy, encoder) as read:
            assert [hit.document.id for hit in read.search([Query("One")], 1)[0]] == ["a"]
    finally:
        copy.chmod(0o700)
