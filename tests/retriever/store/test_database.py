"""Commits, snapshots, foreign files, and folders that nobody may write to."""

import logging
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rag_vqa.errors import CorruptKnowledgeBase, Locked, RagVqaError
from rag_vqa.images import encode
from rag_vqa.retriever.knowledge_base import KnowledgeBase
from rag_vqa.retriever.modeling import TokenEncoder
from rag_vqa.retriever.store import database
from rag_vqa.retriever.store.schema import Commit
from rag_vqa.types import Document, Query


@pytest.fixture
def kb(tmp_path: Path, encoder: TokenEncoder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.create(tmp_path / "x.kb", encoder) as base:
        yield base


def test_a_failed_commit_leaves_the_old_state(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add([{"id": "a", "text": "One."}])

    def fail(self: Commit, digest: int) -> None:
        self.db.execute("INSERT INTO gone VALUES (NULL, NULL, NULL)")

    with monkeypatch.context() as patch:
        patch.setattr(Commit, "finish", fail)
        with pytest.raises(RagVqaError):
            kb.add([{"id": "a", "text": "Two."}])
    assert kb.get("a") == Document("a", text="One.")
    assert (kb.stats().passages, kb.verify()) == (1, ())
    kb.add([{"id": "a", "text": "Two."}])
    assert (kb.stats().passages, kb.verify()) == (1, ())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_signal_within_a_commit_leaves_the_old_state(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    kb.add([{"id": "a", "text": "One."}])
    real = kb.store.segments.append

    def interrupted(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(kb.store.segments, "append", interrupted)
        with pytest.raises(stop):
            kb.add([{"id": "b", "text": "Two."}])
    assert [document.id for document in kb.documents()] == ["a"]
    kb.add([{"id": "c", "text": "Three."}])
    assert kb.verify() == ()


def test_a_foreign_file_is_named(tmp_path: Path, kb: KnowledgeBase) -> None:
    kb.add([{"id": str(n), "text": f"Text {n}."} for n in range(50)])
    kb.close()
    database = sqlite3.connect(tmp_path / "foreign")
    database.execute("CREATE TABLE meta (name, value)")
    database.close()
    foreign = [b"garbage" * 1000, pickle.dumps("x" * 9999), (tmp_path / "foreign").read_bytes()]
    for data in foreign:
        (kb.path / "kb.sqlite").write_bytes(data)
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


def test_a_manifest_that_was_changed_is_found_on_opening(kb: KnowledgeBase) -> None:
    kb.close()
    with sqlite3.connect(kb.path / "kb.sqlite") as db:
        db.execute("UPDATE meta SET value = 'other' WHERE name = 'source'")
    db.close()
    with pytest.raises(CorruptKnowledgeBase, match="manifest does not have its checksum"):
        KnowledgeBase.open(kb.path)


def test_an_image_name_in_the_file_cannot_lead_elsewhere(kb: KnowledgeBase) -> None:
    """Also where whoever wrote it made the checksum fit."""
    kb.add([{"id": "a", "text": "One.", "image": encode(Image.new("RGB", (3, 2)))}])
    with kb.store.db.commit() as commit:
        row = commit.db.execute("SELECT * FROM passages").fetchone()
        commit.remove("passages", "key", row[0])
        commit.insert("passages", *row[:4], "../../secret")
    with pytest.raises(CorruptKnowledgeBase, match="not the name of a stored image"):
        kb.search([Query("One")], 1)


def test_a_row_that_was_changed_is_not_shown(kb: KnowledgeBase) -> None:
    kb.add([{"id": "a", "text": "One."}])
    with sqlite3.connect(kb.path / "kb.sqlite") as db:
        db.execute("UPDATE documents SET body = replace(body, 'One', 'Two')")
    db.close()
    with pytest.raises(CorruptKnowledgeBase, match="document 'a' does not have its checksum"):
        kb.get("a")


def test_at_rest_it_is_one_file_beside_tokens_and_pictures(
    tmp_path: Path, kb: KnowledgeBase, encoder: TokenEncoder
) -> None:
    kb.add([{"id": "a", "text": "One."}])
    assert (kb.path / "kb.sqlite-wal").exists()  # while somebody writes, readers go on
    kb.close()
    copy = Path(shutil.copytree(kb.path, tmp_path / "copy.kb"))
    names = ["images", "kb.sqlite", "segments", "writer.lock"]
    assert sorted(file.name for file in copy.iterdir()) == names
    with KnowledgeBase.open(copy, encoder) as read:
        assert [hit.document.id for hit in read.search([Query("One")], 1)[0]] == ["a"]


_READ_ONLY = """
import sys
from pathlib import Path
from rag_vqa.errors import RagVqaError
from rag_vqa.retriever.knowledge_base import KnowledgeBase

with KnowledgeBase.open(sys.argv[1]) as kb:
    print([document.id for document in kb.documents()], kb.verify())
    try:
        kb.delete("a")
    except RagVqaError as error:
        print(error)
"""


def _read_only(path: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script above where no file of the folder can be written."""
    command = [sys.executable, "-c", _READ_ONLY, str(path)]
    if os.getuid() == 0:  # whom no permission stops, unless that power is put down
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to be stopped by permissions")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    for file in path.iterdir():
        if file.is_file():
            file.chmod(0o400)
    path.chmod(0o500)
    try:
        return subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
        )
    finally:
        path.chmod(0o700)


def test_half_a_commit_is_not_read_where_it_cannot_be_undone(
    tmp_path: Path,
    kb: KnowledgeBase,
    encoder: TokenEncoder,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "network_filesystem", lambda file: "nfs4")  # a rollback journal
    kb.add([{"id": f"d{n}", "text": f"Text {n}."} for n in range(300)])
    left = tmp_path / "left.kb"
    kb.store.db._db.execute("PRAGMA cache_size = 5")  # pages reach the file before the commit
    with kb.store.db.commit() as commit:
        for row in range(1, 251):
            commit.remove("documents", "row", row)
        shutil.copytree(kb.path, left)  # what a kill at this moment leaves
    done = _read_only(left, root)
    assert done.returncode == 1
    assert "holds half a commit, which cannot be undone here" in done.stderr
    (left / "kb.sqlite").chmod(0o600)
    (left / "kb.sqlite-journal").chmod(0o600)
    with KnowledgeBase.open(left, encoder) as mended:
        assert len(mended) == 300
        assert mended.verify() == ()


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])  # WAL: others still read when it was closed
def test_it_is_read_where_nothing_can_be_written(kb: KnowledgeBase, root: Path, mode: str) -> None:
    kb.add([{"id": "a", "text": "One."}])
    kb.close()
    db = sqlite3.connect(kb.path / "kb.sqlite")
    db.execute(f"PRAGMA journal_mode = {mode}")
    db.close()
    done = _read_only(kb.path, root)
    assert done.returncode == 0, done.stderr
    read, refused = done.stdout.splitlines()
    assert read == "['a'] ()"
    assert "cannot be written to: Permission denied" in refused
    assert ("is read as it is now" in done.stderr) == (mode == "WAL")


_MOUNTS = """22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 27 0:50 / /data rw - lustre server:/fs rw
31 30 254:1 / /data/local\\040disk rw - xfs /dev/b rw
32 27 0:51 / /home rw - nfs4 server:/home rw,vers=4.2
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [("/x/kb.sqlite", ""), ("/data/x.kb/kb.sqlite", "lustre"), ("/data/local disk/kb.sqlite", ""),
     ("/home/me/kb.sqlite", "nfs4"), ("/homes/kb.sqlite", "")],
)  # fmt: skip
def test_network_file_systems_are_known(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(_MOUNTS)
    assert database.network_filesystem(Path(file), tmp_path / "mounts") == kind
    assert database.network_filesystem(Path(file), tmp_path / "none") == ""


def test_over_a_network_a_rollback_journal_serves(
    kb: KnowledgeBase,
    encoder: TokenEncoder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database, "network_filesystem", lambda file: "nfs4")
    with caplog.at_level(logging.WARNING), KnowledgeBase.open(kb.path, encoder) as reader:
        kb.add([{"id": "a", "text": "One."}])
        kb.add([{"id": "b", "text": "Two."}])
        assert [d.id for d in reader.documents()] == ["a", "b"]
    assert [record.message.count("rollback journal") for record in caplog.records] == [1]
    assert not (kb.path / "kb.sqlite-wal").exists()
    assert kb.verify() == ()


def test_a_reader_that_does_not_let_go(
    kb: KnowledgeBase, encoder: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.close()
    monkeypatch.setattr(database, "_WAL_WAIT_MS", 10)
    monkeypatch.setattr("rag_vqa.retriever.store.database._BUSY_SECONDS", 0.1)
    with (
        KnowledgeBase.open(kb.path, encoder) as reader,
        KnowledgeBase.open(kb.path, encoder) as writer,
    ):
        with reader.store.db.snapshot():
            assert len(reader) == 0  # only now it holds on to its commit
            with pytest.raises(Locked, match=r"has been using .* for 0 seconds"):
                writer.add([{"id": "a", "text": "One."}])
        writer.add([{"id": "b", "text": "Two."}])
        assert [d.id for d in reader.documents()] == ["b"]
        assert writer.verify() == ()


def test_a_long_snapshot_sees_one_commit(kb: KnowledgeBase, encoder: TokenEncoder) -> None:
    kb.add([{"id": "a", "text": "One."}])
    with KnowledgeBase.open(kb.path, encoder) as reader, reader.store.db.snapshot():
        assert len(reader) == 1
        kb.add([{"id": "b", "text": "Two."}])
        assert len(reader) == 1
    assert len(kb) == 2


def test_text_that_is_no_text_is_damage(kb: KnowledgeBase) -> None:
    kb.add([{"id": "a", "text": "One."}])
    kb.close()
    file = kb.path / "kb.sqlite"
    content = bytearray(file.read_bytes())
    content[content.index(b"CREATE TABLE") + 8] ^= 0x80
    file.write_bytes(content)
    with pytest.raises(CorruptKnowledgeBase, match=r"kb\.sqlite"):
        KnowledgeBase.open(kb.path)
