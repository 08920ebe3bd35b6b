"""A folder of pictures and texts: what is one document, and what is refused."""

import inspect
import os
import sys
from pathlib import Path

import pytest

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats.document import Record, Rejected, read_records
from rag_vqa.formats.folder import contents


def make(root: Path, **files: str | bytes) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def read(path: Path) -> tuple[list[Record], list[Rejected]]:
    rejected: list[Rejected] = []
    items = contents(path).items()
    return list(read_records(items, path, path.resolve(), rejected.append)), rejected


def test_what_is_one_document(tmp_path: Path) -> None:
    make(
        tmp_path,
        **{
            "vase.jpg": b"1",
            "vase.md": "# Vase\n\nBlue.",
            "alone.png": b"2",
            "text only.txt": "# No heading in plain text\r\n",
            "sub/deep/bowl.JPG": b"3",
            "sub/deep/bowl.tif": b"4",
            "sub/deep/bowl.TXT": "\ufeffBowl.",
            "sub/v1.2.md": "Dots.",
            "sub/v1.2.webp": b"5",
            ".hidden.md": "no",
            ".git/a.md": "no",
            "sub/.DS_Store": b"no",
            "clip.mov": b"no",
            "clip 2.MOV": b"no",
            "LICENSE": b"no",
            "Thumbs.db": b"no",
            "sub/desktop.ini": b"no",
            "__MACOSX/._vase.jpg": b"no",
            "__MACOSX/x.jpg": b"no",
            "~$note.txt": b"no",
        },
    )
    root = tmp_path.resolve()
    found = contents(tmp_path)
    records, rejected = list(read_records(found.items(), tmp_path, root)), read(tmp_path)[1]
    assert not rejected
    assert found.findings() == (
        "1 text without a picture (text only.txt), 1 picture without a text (alone.png): "
        "a picture belongs to the text of its name",
        "left out, neither picture nor document: 2 .mov, LICENSE",
    )
    assert [(r.id, r.title, r.text, r.images) for r in records] == [
        ("text only", "", "# No heading in plain text", ()),
        ("vase", "Vase", "Blue.", (root / "vase.jpg",)),
        ("sub/v1.2", "", "Dots.", (root / "sub/v1.2.webp",)),
        ("sub/deep/bowl", "", "Bowl.", (root / "sub/deep/bowl.JPG", root / "sub/deep/bowl.tif")),
        ("alone", "", "", (root / "alone.png",)),
    ]
    assert {(record.line, record.folder) for record in records} == {(None, root)}


def test_front_matter_becomes_metadata(tmp_path: Path) -> None:
    make(tmp_path, **{"a.md": "---\nyear: 1750\nparent: china\n---\nText."})
    ((record,), _) = read(tmp_path)
    assert (record.parent, record.metadata) == ("china", {"year": 1750})


def test_what_is_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    make(
        inside,
        **{
            "binary.txt": bytes(range(1, 32)) + b"\xff",
            "nul.txt": b"x\0",
            "big.txt": b"x" * (16 * 2**20 + 1),
            "two.md": "One.",
            "two.txt": "Two.",
            "good.txt": "Good.",
        },
    )
    make(outside, **{"secret.txt": "secret", "secret.png": b"secret"})
    (inside / "link.txt").symlink_to(outside / "secret.txt")
    (inside / "pic.png").symlink_to("../out/secret.png")
    (inside / "gone.png").symlink_to("nothing")
    (inside / "loop.png").symlink_to("loop.png")
    (inside / "same.txt").symlink_to("good.txt")
    (inside / "zdir").symlink_to(outside)
    (inside / "zself").symlink_to(inside)
    (inside / "folder.md").mkdir()
    os.mkfifo(inside / "pipe.txt")
    records, rejected = read(inside)
    assert [record.id for record in records] == ["good", "same"]
    reasons = {r.reason.split(": ")[0].strip("'"): r.reason for r in rejected}
    assert len(reasons) == len(rejected)
    expected = {
        "binary.txt": "binary data",
        "nul.txt": "NUL",
        "big.txt": "over 16 MB",
        "two.md": "'two.md' and 'two.txt' are texts of one name",
        "link.txt": "leads out of the folder",
        "pic.png": "leads out of the folder",
        "gone.png": "not a regular file",
        "loop.png": "not a regular file",
        "pipe.txt": "not a regular file",
        "zdir/": "not followed",
        "zself/": "not followed",
    }
    assert reasons.keys() == expected.keys()
    for place, reason in expected.items():
        assert reason in reasons[place]
    assert all(r.reason.isprintable() for r in rejected)
    with pytest.raises(BadInput, match=r"in, 'big.txt': the text is over 16 MB"):
        list(read_records(contents(inside).items(), inside, inside))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    (tmp_path / "new\nline\x1b.txt").write_text("One.")
    records, (rejected,) = read(tmp_path)
    assert [record.id for record in records] == ["new\nline\x1b"]  # odd, but text
    assert "half a character" in rejected.reason and rejected.reason.isprintable()


def test_going_down_needs_no_recursion(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["d"] * 200)
    path.mkdir(parents=True)
    (path / "a.txt").write_text("Deep.")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        ((record,), rejected) = read(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert record.id == "d/" * 200 + "a" and not rejected


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, **{"a.txt": "One.", "sub/b.txt": "Two.", "t/c.txt": "Three."})
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # who tests as root may read everything
    records, (rejected,) = read(tmp_path)
    assert [record.id for record in records] == ["a", "t/c"]
    assert rejected.reason == "'sub/': the folder cannot be read (Permission denied)."


def test_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="does not exist"):
        contents(tmp_path / "none")
    with pytest.raises(BadInput, match="contains no documents: it is empty"):
        read(tmp_path)
    make(tmp_path, **{"a.mov": b"x"})
    with pytest.raises(BadInput, match="is not a folder"):
        contents(tmp_path / "a.mov")
    with pytest.raises(BadInput, match=r"contains no documents\. left out, .*: \.mov\."):
        read(tmp_path)


def test_a_database_is_not_opened_as_a_text(tmp_path: Path) -> None:
    make(tmp_path, **{"kb.sqlite": "a text", "own.txt": "another"})
    (tmp_path / "note.txt").symlink_to("kb.sqlite")
    records, (refused,) = read(tmp_path)
    assert [r.id for r in records] == ["own"] and "link to a database" in refused.reason
