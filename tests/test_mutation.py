"""The mutator of nightly tests: repeatable, bounded, and it notices what it looks for."""

from __future__ import annotations

import io
import os
import time
import zipfile

import pytest
from mutation import check_mutations, mutate, mutate_zip, mutated_file

CORPUS = (b"%PDF-1.7 " + bytes(range(256)) * 4, b"<html>" + b"text " * 300)


def test_the_same_number_gives_the_same_file() -> None:
    first = [mutated_file(CORPUS, number) for number in range(300)]
    assert first == [mutated_file(CORPUS, number) for number in range(300)]
    assert first != [mutated_file(CORPUS, number, seed=1) for number in range(300)]
    assert len(set(first)) > 270
    assert sum(file == CORPUS[number % 2] for number, file in enumerate(first)) < 10
    assert max(map(len, first)) <= 4 * 1500 + 65_536


def test_sizes_grow_and_shrink_and_tokens_come_in() -> None:
    files = [mutate(CORPUS[1], seed, CORPUS, (b"endobj",)) for seed in range(300)]
    assert any(len(file) < 100 for file in files) and any(len(file) > 2_000 for file in files)
    assert any(b"endobj" in file for file in files) and any(b"%PDF" in file for file in files)
    assert mutate(b"", 1) == b"" and mutate(b"x", 1) == b"x"


def test_a_mutated_zip_is_a_zip_with_other_content() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.xml", CORPUS[1])
        archive.writestr("b.bin", CORPUS[0])
    for seed in range(50):
        with zipfile.ZipFile(io.BytesIO(mutate_zip(buffer.getvalue(), seed))) as found:
            assert found.testzip() is None
            contents = [found.read(name) for name in found.namelist()]
        assert contents != [CORPUS[1], CORPUS[0]]


def refuse(data: bytes) -> None:
    raise ValueError("not this")


def test_ends_are_counted() -> None:
    assert check_mutations(len, CORPUS, 450, ()) == {"done": 450}
    assert check_mutations(refuse, CORPUS, 5, (ValueError,)) == {"ValueError": 5}


def test_faults_are_noticed_and_named() -> None:
    def at_third(fault):
        third = mutated_file(CORPUS, 2)
        return lambda data: fault() if data == third else None

    with pytest.raises(AssertionError, match=r"(?s)file 2: .*not this"):
        check_mutations(at_third(lambda: refuse(b"")), CORPUS, 5, (KeyError,))
    with pytest.raises(AssertionError, match=r"file 2: no end within 0\.3 s"):
        check_mutations(at_third(lambda: time.sleep(60)), CORPUS, 5, (), seconds=0.3)
    with pytest.raises(AssertionError, match=r"file 2: the process ended by itself"):
        check_mutations(at_third(lambda: os.kill(os.getpid(), 9)), CORPUS, 5, ())
    with pytest.raises(AssertionError, match=r"file 2: \d+ MB of memory"):
        check_mutations(at_third(lambda: bytearray(60_000_000)), CORPUS, 5, (), memory=50_000_000)
