"""Power is lost after each call: what was not synced is dropped, zeroed or torn.

The calls of storage/atomic.py are replayed up to each of them. SQLite's own files are taken as they
were at that moment, as after a kill: that SQLite syncs what it must is shown by its tests, not by
these.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.retriever.knowledge_base import KnowledgeBase

Image = dict[str, bytes]  # path → content of all files
Call = tuple[Any, ...]


def image_of(folder: Path) -> Image:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lost(images: list[Image], calls: list[Call], mode: str) -> Image:
    """What is on the disk if power goes after `calls`; images[i] was there before calls[i]."""
    names: list[tuple[int, Call]] = []  # changes of names whose folder was not synced since
    writes: dict[str, list[Call]] = {}  # to files that were not synced since
    synced: dict[str, bytes] = {}
    for at, call in enumerate(calls):
        name, path = call[0], call[1]
        before, after = images[at], images[at + 1]
        if name == "open" and path not in before and path in after:
            names.append((at, call))
            synced[path] = b""
        elif name == "pwrite":
            synced.setdefault(path, before[path])
            writes.setdefault(path, []).append(call)
        elif name == "fsync":
            writes.pop(path, None)
            if path in after:
                synced[path] = after[path]
            names = [(i, c) for i, c in names if str(Path(c[-1]).parent) != path]
        elif name in ("replace", "unlink"):
            names.append((at, call))
            if name == "replace" and path in writes:
                writes[call[2]], synced[call[2]] = writes.pop(path), synced[path]
    found = dict(images[len(calls)])
    for path, pending in writes.items():
        if path not in found:
            continue
        content = bytearray(synced[path])
        for _, _, data, offset in pending if mode != "dropped" else []:
            kept = bytes(len(data)) if mode == "zeroed" else data[: len(data) // 2]
            content.extend(bytes(max(0, offset + len(kept) - len(content))))
            content[offset : offset + len(kept)] = kept
        found[path] = bytes(content)
    for at, call in reversed(names) if mode == "dropped" else ():
        if call[0] == "open":
            found.pop(call[1], None)
        elif call[0] == "unlink":
            found[call[1]] = images[at][call[1]]
        else:
            found[call[1]] = found.pop(call[2])
            if call[2] in images[at]:
                found[call[2]] = images[at][call[2]]
    return found


def replay(
    folder: Path, system: Any, operation: Callable[[], None], look: Callable[[bool], None]
) -> int:
    """Runs the operation once, then looks at each prefix in each mode; how many there were.
    `look` learns whether the operation had returned by then."""
    with system(before=lambda: image_of(folder)) as system:
        operation()
    images: list[Image] = [*system.befores, image_of(folder)]
    for size in range(len(system.calls) + 1):
        for mode in ("dropped", "zeroed", "torn"):
            shutil.rmtree(folder)
            for inner in ("", "segments", "images"):
                (folder / inner).mkdir(exist_ok=True, parents=True)
            for path, content in lost(images[: size + 1], system.calls[:size], mode).items():
                Path(path).write_bytes(content)
            look(size == len(system.calls))
    return len(system.calls)


@pytest.mark.parametrize("name", ["add", "compact"])
def test_the_old_state_or_the_new(tmp_path, motions, system, name) -> None:
    folder = tmp_path / "x.kb"
    old = {f"d{n}": 1 for n in range(8) if n != 2}
    new = old | {"d0": 2, "d9": 2} if name == "add" else old
    with motions.open_or_create(folder) as kb:
        kb.add([motions.document(n, 1) for n in range(8)])
        kb.delete("d2")

    def operation() -> None:
        kb = motions.open_or_create(folder)
        if name == "add":
            kb.add([motions.document(0, 2), motions.document(9, 2)])
        else:
            kb.compact()
        kept.append(kb)  # open to the end: closing it would write

    def look(returned: bool) -> None:
        for opened in kept:
            opened.close()
        kept.clear()
        with KnowledgeBase.open(folder, motions.Encoder()) as kb:
            found = motions.held(kb)
            assert found == new if returned else found in (old, new)
            with kb.store.hold_writer_lock():
                assert motions.unnamed(kb) == []
            kb.add([motions.document(50, 1)])
            assert motions.held(kb) == found | {"d50": 1}

    kept: list[KnowledgeBase] = []
    assert replay(folder, system, operation, look) > 10


def test_what_is_created_or_copied_is_whole_or_not_there(tmp_path, motions, system) -> None:
    with motions.open_or_create(tmp_path / "source.kb") as source:
        source.add([motions.document(n, 1) for n in range(4)])
        folder = tmp_path / "copies" / "x.kb"

        def look(returned: bool) -> None:
            there = (folder / "kb.sqlite").exists()
            assert there or not returned
            if there:
                with KnowledgeBase.open(folder, motions.Encoder()) as kb:
                    assert motions.held(kb) == motions.held(source)
            else:
                source.snapshot(folder)

        assert replay(folder, system, lambda: source.snapshot(folder), look) > 20


def test_the_replay_finds_what_was_not_synced() -> None:
    """Of the replay itself: three files, one synced, one not, one without its folder."""
    calls: list[Call] = [
        ("open", "/k/a"), ("pwrite", "/k/a", b"abcd", 0), ("fsync", "/k/a"),
        ("open", "/k"), ("fsync", "/k"), ("pwrite", "/k/a", b"efgh", 4),
        ("open", "/k/b"), ("pwrite", "/k/b", b"xy", 0), ("fsync", "/k/b"),
    ]  # fmt: skip
    a = [{}, {"/k/a": b""}, *[{"/k/a": b"abcd"}] * 4, {"/k/a": b"abcdefgh"}]
    images: list[Image] = [*a, *({"/k/a": b"abcdefgh", "/k/b": part} for part in (b"", b"xy"))]
    images.append(images[-1])
    assert lost(images, calls, "dropped") == {"/k/a": b"abcd"}
    assert lost(images, calls, "zeroed") == {"/k/a": b"abcd\0\0\0\0", "/k/b": b"xy"}
    assert lost(images, calls, "torn") == {"/k/a": b"abcdef", "/k/b": b"xy"}
