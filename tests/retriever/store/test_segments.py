"""Files of tokens and codes: their layout, byte by byte, and what is left over in them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rag_vqa.errors import CorruptKnowledgeBase
from rag_vqa.retriever.index import rows as index_rows
from rag_vqa.retriever.store.segments import Block, SegmentGone, Segments, join_blocks


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    made = Segments(tmp_path, 2, 8, keep_tokens=True)
    made.folder.mkdir()
    made.start(1)
    return made


def rows(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, 2, 8)).astype(np.float16)


def test_the_layout_is_what_it_says(segments: Segments) -> None:
    tokens = rows(3)
    packed = index_rows.quantize(tokens)
    hashes = segments.append(1, 0, tokens, packed)
    for kind, data, due in (("tokens", tokens, hashes[0]), ("codes", packed, hashes[1])):
        written = segments.path(1, kind).read_bytes()
        assert written[:7] == b"RVKBSEG"
        assert written[8:16].rstrip(b"\0").decode() == kind
        numbers = np.frombuffer(written[16:32], "<u4").tolist()
        assert numbers == [1, 2, 8, data.nbytes // 3]
        assert written[64:] == data.tobytes()
        assert due == hashlib.blake2b(data.tobytes(), digest_size=16).digest()


def test_what_was_appended_is_read(segments: Segments) -> None:
    first, second = rows(3), rows(2, seed=1)
    segments.append(1, 0, first, index_rows.quantize(first))
    segments.append(1, 3, second, index_rows.quantize(second))
    tokens, packed = segments.read(1, 2, 3)
    both = np.concatenate([first, second])[2:]
    assert tokens is not None and np.array_equal(tokens, both)
    assert packed.dtype == index_rows.code_dtype(2, 8) and np.array_equal(
        packed, index_rows.quantize(both)
    )
    assert not tokens.flags.writeable and not packed.flags.writeable


def test_what_a_killed_commit_left_is_written_over(segments: Segments) -> None:
    left, new = rows(9), rows(2, seed=1)
    segments.append(1, 0, left, index_rows.quantize(left))
    segments.start(1)  # nothing was committed: begun again, and not cut
    segments.append(1, 0, new, index_rows.quantize(new))
    segments.check(1, 2)
    tokens, _ = segments.read(1, 0, 2)
    assert tokens is not None and np.array_equal(tokens, new)


def test_a_file_too_short_is_never_mapped(segments: Segments) -> None:
    segments.append(1, 0, rows(3), index_rows.quantize(rows(3)))
    for ask in (lambda: segments.read(1, 0, 4), lambda: segments.check(1, 4)):
        with pytest.raises(CorruptKnowledgeBase, match=r"000001\.codes is damaged at byte \d+"):
            ask()
    with pytest.raises(SegmentGone, match=r"000002\.codes"):
        segments.read(2, 0, 1)


def test_a_header_of_another_file_is_found(segments: Segments, tmp_path: Path) -> None:
    segments.start(2)
    segments.path(2, "tokens").replace(segments.path(1, "tokens"))
    with pytest.raises(CorruptKnowledgeBase, match=r"tokens is damaged at byte 16: its header"):
        segments.check(1, 0)
    with pytest.raises(CorruptKnowledgeBase, match=r"codes is damaged at byte 20: its header"):
        Segments(tmp_path, 4, 8, keep_tokens=False).check(1, 0)


def test_blocks_that_follow_each_other_are_one_run() -> None:
    def block(number: int, segment: int, first: int, size: int) -> Block:
        keys = np.arange(10 * number, 10 * number + size)
        return Block(number, segment, first, keys, keys + 1, None, b"")

    found = list(
        join_blocks([block(1, 1, 0, 3), block(2, 1, 3, 2), block(3, 2, 0, 1), block(5, 2, 4, 1)])
    )
    assert [(run.segment, run.first, run.keys.tolist()) for run in found] == [
        (1, 0, [10, 11, 12, 20, 21]), (2, 0, [30]), (2, 4, [50]),
    ]  # fmt: skip
    assert found[0].documents.tolist() == [11, 12, 13, 21, 22]
    assert list(join_blocks([])) == []
