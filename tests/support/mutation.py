"""Mutated files for nightly tests: what is damaged, how, and what a program may do with it.

The same corpus, number and seed give the same file, so a failure is repeated by its number alone.
`check_mutations` reads each file in a process of its own making: a hang, a crash or a gigabyte in C
fails the test, and takes nothing else with it. Needs Linux.
"""

from __future__ import annotations

import io
import os
import random
import resource
import select
import signal
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

ODD_BYTES = (0x00, 0x01, 0x09, 0x0A, 0x20, 0x22, 0x3C, 0x7F, 0x80, 0xC0, 0xED, 0xFE, 0xFF)
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
               0xFFFFFFFF)  # fmt: skip
HEAD_BYTES = 512  # most decisions of a parser are made here: half of all damages lie here
BATCH = 200  # files that one process reads


def mutate(
    data: bytes, seed: int, corpus: Sequence[bytes] = (), tokens: Sequence[bytes] = ()
) -> bytes:
    """`data` with one to four damages: bytes flipped, cut, inserted, swapped, doubled, joined.

    Args:
        corpus: other files, whose tail or middle may be put into this one.
        tokens: pieces that mean something in this format (b"<script>", b"endobj"), inserted whole.
    """
    draw = random.Random(seed)
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
        if len(found) < 2:
            break
        _damage(found, draw, corpus, tokens)
    return bytes(found[: 4 * len(data) + 65_536])


def mutate_zip(data: bytes, seed: int, tokens: Sequence[bytes] = ()) -> bytes:
    """A zip (docx, pptx, xlsx, epub) in which the content of one to three members is damaged.

    Damaged from outside, a zip seldom comes further than its checksums. One in eight loses a
    member, has one twice, or has it under another name.
    """
    draw = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    for _ in range(draw.randint(1, min(3, len(members)))):
        at = draw.randrange(len(members))
        name, content = members[at]
        others = [one for _, one in members]
        members[at] = name, mutate(content, draw.getrandbits(48), others, tokens)
    if draw.random() < 1 / 8:
        at = draw.randrange(len(members))
        change = draw.choice(("lost", "twice", "renamed"))
        name, content = members.pop(at)
        if change == "twice":
            members += [(name, content), (f"{name}.copy", content)]
        elif change == "renamed":
            members.append((name[::-1], content))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def mutated_file(
    corpus: Sequence[bytes],
    number: int,
    seed: int = 0,
    tokens: Sequence[bytes] = (),
    repair: Callable[[bytes], bytes] | None = None,
    mutator: Callable[[bytes, int], bytes] | None = None,
) -> bytes:
    """The file of this number: the corpus is gone through in turn.

    Args:
        repair: makes checksums right again in three of four files, so that damage is read at all.
        mutator: used instead of `mutate`, for instance `mutate_zip`.
    """
    key = seed * 1_000_003 + number
    whole = corpus[number % len(corpus)]
    found = mutate(whole, key, corpus, tokens) if mutator is None else mutator(whole, key)
    return found if repair is None or number % 4 == 0 else repair(found)


def check_mutations(
    work: Callable[[bytes], object],
    corpus: Sequence[bytes],
    count: int,
    allowed: tuple[type[BaseException], ...],
    *,
    seed: int = 0,
    seconds: float = 10.0,
    memory: int = 10**9,
    tokens: Sequence[bytes] = (),
    repair: Callable[[bytes], bytes] | None = None,
    mutator: Callable[[bytes, int], bytes] | None = None,
) -> Counter[str]:
    """How often `work` was done, or which of the allowed exceptions it raised, over mutated files.

    Raises:
        AssertionError: another exception, a crash, more seconds for one file, or more memory. It
            names the number of the file for `mutated_file`.
    """

    def file(number: int) -> bytes:
        return mutated_file(corpus, number, seed, tokens, repair, mutator)

    ends: Counter[str] = Counter()
    for start in range(0, count, BATCH):
        numbers = range(start, min(count, start + BATCH))
        ends += _read_apart(work, file, numbers, allowed, seconds, memory)
    return ends


def _damage(
    found: bytearray, draw: random.Random, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> None:
    at = draw.randrange(min(len(found), HEAD_BYTES) if draw.random() < 0.5 else len(found))
    size = min(1 << draw.randrange(0, 13), len(found) - at)
    other = draw.randrange(len(found))
    kind = draw.randrange(13)
    if kind == 0:
        for _ in range(draw.choice((1, 1, 2, 8))):
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        found[at] ^= 1 << draw.randrange(8)
    elif kind == 2:
        found[at] = draw.choice(ODD_BYTES)
    elif kind == 3:
        wide = draw.choice((2, 4))
        number = draw.choice(ODD_NUMBERS) & (1 << 8 * wide) - 1
        found[at : at + wide] = number.to_bytes(wide, draw.choice(("little", "big")))
    elif kind == 4:
        del found[draw.choice((at, other, max(1, len(found) - draw.randint(1, 64)))) :]
    elif kind == 5:
        del found[at : at + size]
    elif kind == 6:
        found[at:at] = draw.randbytes(size)
    elif kind == 7:
        found[at:at] = bytes([draw.choice(ODD_BYTES)]) * size
    elif kind == 8:
        found[at : at + size] = bytes(size)
    elif kind == 9:  # two blocks change places
        size = min(size, len(found) - max(at, other))
        one, two = found[at : at + size], found[other : other + size]
        found[at : at + size], found[other : other + size] = two, one
    elif kind == 10:
        found[other:other] = found[at : at + size] * draw.choice((1, 1, 2, 50))
    elif kind == 11 and corpus:
        piece = draw.choice(corpus)
        if draw.random() < 0.5:
            found[at:] = piece[min(at, len(piece)) :]
        else:
            found[at:at] = piece[: draw.randrange(len(piece) + 1)]
    elif tokens:
        found[at:at] = draw.choice(tokens) * draw.choice((1, 1, 2, 100))
    else:
        found[at : at + 4] = draw.randbytes(4)


def _read_apart(
    work: Callable[[bytes], object],
    file: Callable[[int], bytes],
    numbers: range,
    allowed: tuple[type[BaseException], ...],
    seconds: float,
    memory: int,
) -> Counter[str]:
    """Reads the files of these numbers in a forked process, and watches it."""
    lines, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(lines)
        _read_all(end, work, file, numbers, allowed, memory)
    os.close(end)
    ends: Counter[str] = Counter()
    number, rest, fault, deadline = numbers.start, b"", "", time.monotonic() + seconds
    try:
        while not fault:
            ready, _, _ = select.select([lines], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                fault = f"no end within {seconds:g} s"
                break
            piece = os.read(lines, 65_536)
            if not piece:
                break
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                deadline = time.monotonic() + seconds
                if line.startswith(b"!"):
                    fault = line[1:].decode("unicode_escape")
                    break
                ends[line.decode()] += 1
                number += 1
    finally:
        os.close(lines)
        if fault:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if not fault and number < numbers.stop:
        fault = f"the process ended by itself (status {status})"
    assert not fault, f"file {number}: {fault}"
    return ends


def _read_all(
    end: int,
    work: Callable[[bytes], object],
    file: Callable[[int], bytes],
    numbers: range,
    allowed: tuple[type[BaseException], ...],
    memory: int,
) -> None:
    """Runs in the child, and never returns. One line a file: "done", a class, or ! and a fault."""
    try:
        size, resident = _memory("VmSize"), _memory("VmRSS")
        # So that a bomb fails here and not the machine.
        resource.setrlimit(resource.RLIMIT_AS, (size + 4 * memory, size + 4 * memory))
        for number in numbers:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is measured anew
            line = "done"
            try:
                work(file(number))
            except allowed as error:
                line = type(error).__name__
            except BaseException:  # noqa: BLE001 - whatever it is, the test fails by it
                line = "!" + traceback.format_exc()
            peak = _memory("VmHWM") - resident
            if peak > memory:
                line = f"!{peak / 1e6:,.0f} MB of memory"
            os.write(end, line.encode("unicode_escape") + b"\n")
    except BaseException:  # noqa: BLE001 - of the test itself
        traceback.print_exc()
    finally:
        os._exit(0)


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
