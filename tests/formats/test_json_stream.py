"""One big JSON object read member by member, against the json module reading it whole."""

import json
import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rag_vqa.errors import BadInput, Missing
from rag_vqa.formats import json_stream
from rag_vqa.formats.json_stream import read_members


def write(folder: Path, data: bytes, name: str = "kb.json") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def zipped(folder: Path, *names: str, data: bytes = b'{"a": 1}', name: str = "kb.zip") -> Path:
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside in names:
            archive.writestr(inside, data)
    return folder / name


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind < 6:
        text = "".join(rng.choices('a"\\\u00e9\u2028\U0001f3f4{}[],: \n', k=rng.randrange(12)))
        return [text, rng.randrange(-(10**6), 10**6), rng.random(), True, False, None][kind]
    parts = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return parts if kind == 6 else {f"{n}{p!s}"[:5]: p for n, p in enumerate(parts)}


@pytest.mark.parametrize("block", [3, 5, 7, 64, 1_000, 2**20])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_equal_to_json_wherever_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, ascii_only: bool
) -> None:
    monkeypatch.setattr(json_stream, "_BLOCK", block)
    rng = random.Random(block)
    for round in range(30):
        whole = {f"k{n}": value(rng) for n in range(rng.randrange(1, 8))}
        whole["a number at the end"] = rng.choice([12, 1.5, 7e20])
        text = json.dumps(whole, ensure_ascii=ascii_only, indent=rng.choice([None, 1]))
        path = write(tmp_path, ("\ufeff" * (round % 2) + f" {text}\r\n").encode())
        assert dict(read_members(path)) == json.loads(text)


def test_a_zip_of_one_object(tmp_path: Path) -> None:
    assert dict(read_members(zipped(tmp_path, "kb.json", "__MACOSX/kb.json", "README"))) == {"a": 1}
    for names in (("a.json", "b.json"), ("a.json", "b.csv")):
        with pytest.raises(BadInput, match=f"contains {len(names)} files of data, not one"):
            dict(read_members(zipped(tmp_path, *names)))
    for data in (b"PK\x03\x04", zipped(tmp_path, "kb.json").read_bytes()[:60]):
        with pytest.raises(BadInput, match="is not a readable ZIP"):
            dict(read_members(write(tmp_path, data, "bad.zip")))


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_damage_of_a_zip_is_found(tmp_path: Path, packing: int) -> None:
    rng = random.Random(0)
    whole = {str(n): rng.randbytes(100).hex() for n in range(30_000)}
    path = tmp_path / "kb.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("kb.json", json.dumps(whole))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = b"0" * 20  # stored: 20 digits of a text
    *read, (_, last) = read_members(write(tmp_path, bytes(data), "bad.zip"))
    assert isinstance(last, BadInput) and "damaged or cut here" in str(last)
    assert len(read) > 10_000 and sum(whole[name] != text for name, text in read) < 100


def test_a_zip_bomb_is_stopped(tmp_path: Path) -> None:
    path = zipped(tmp_path, "kb.json", data=b'{"a": 1,' + b" " * (70 * 2**20))
    with pytest.raises(BadInput, match="ZIP bomb"):
        list(read_members(path))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"x": 1, "x": 2}', "'x' is repeated"),
        (b'{"x": [' + b"{}," * 5_000 + b'{"x": 1, "x": 2}]}', "'x' is repeated"),
    ],
)
def test_a_member_that_is_refused_and_the_next_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, reason: str
) -> None:
    monkeypatch.setattr(json_stream, "_BLOCK", 64)
    read = list(read_members(write(tmp_path, b'{"a": 1, "b": ' + bad + b', "c": 3}')))
    assert [name for name, _ in read] == ["a", "b", "c"]
    assert read[0][1] == 1 and read[2][1] == 3
    assert isinstance(read[1][1], BadInput) and reason in str(read[1][1])


BROKEN = {
    "cut in a text": (b'{"a": 1, "b": "x', "cut here"),
    "cut behind a name": (b'{"a": 1, "b"', "expected ':', found the end of the file"),
    "cut behind a member": (b'{"a": 1', "expected ',', found the end of the file"),
    "cut behind a comma": (b'{"a": 1,', "cut here"),
    "no comma": (b'{"a": 1 "b": 2}', "expected ',', found"),
    "no name": (b'{"a": 1, 7: 2}', "7 is not the name"),
    "no JSON": (b"{\"a\": 1, 'b': 2}", "not JSON"),
    "deep": (b'{"a": 1, "b": ' + b"[" * 100_000, "nested too deeply"),
    "deep and closed": (b'{"a": 1, "b": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too deeply"),
    "5000 digits": (b'{"a": 1, "b": ' + b"9" * 5_000 + b"}", "number is too long"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_ends_the_file(tmp_path: Path, data: bytes, reason: str) -> None:
    first, *_, (_, error) = read_members(write(tmp_path, data))
    assert first == ("a", 1)
    assert isinstance(error, BadInput) and reason in str(error)
    assert str(error).endswith("The rest of the file is not read.") and str(error).isprintable()


def test_a_member_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MEMBER_LIMIT", 2**20)
    monkeypatch.setattr(json_stream, "_BLOCK", 2**10)
    data = b'{"a": "%s", "b": "%s"}' % (b"x" * (2**20 - 10), b"x" * 2**22)
    (name, text), (_, error) = read_members(write(tmp_path, data))
    assert (name, len(text)) == ("a", 2**20 - 10)
    assert isinstance(error, BadInput) and "over 1 million characters" in str(error)


def test_memory_is_that_of_one_member(tmp_path: Path) -> None:
    path = tmp_path / "kb.json"
    with path.open("wb") as file:
        file.write(b'{"0": ""')
        for number in range(1, 60):
            file.write(b', "%d": "%s"' % (number, b"x" * 2**20))
        file.write(b"}")
    tracemalloc.start()
    assert sum(1 for _ in read_members(path)) == 60
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_memory_of_a_member_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "kb.json"
    with path.open("wb") as file:
        file.write('{"a": 1, "b": "🏴'.encode())
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}')
    tracemalloc.start()
    _, (_, error) = read_members(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, BadInput) and "over 16 million characters" in str(error)
    assert peak < 250 * 2**20  # one flag makes four bytes of each of 16 million, and they grow


def test_what_is_no_object(tmp_path: Path) -> None:
    assert list(read_members(write(tmp_path, b"{}"))) == []
    assert list(read_members(write(tmp_path, b" \n"))) == []
    with pytest.raises(BadInput, match="not a JSON object"):
        list(read_members(write(tmp_path, b"[1]")))
    with pytest.raises(BadInput, match="not a JSON object"):
        list(read_members(write(tmp_path, b"text")))
    for codec in ("utf-16", "utf-16-le", "utf-8-sig", "utf-32"):
        assert list(read_members(write(tmp_path, '{"é": 1}'.encode(codec)))) == [("é", 1)]
    with pytest.raises(Missing, match="does not exist"):
        list(read_members(tmp_path / "none.json"))
    with pytest.raises(BadInput, match="not a regular file"):
        list(read_members(tmp_path))
