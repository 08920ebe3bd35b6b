"""Signatures of the compiled module; see native/module.c."""

from typing import Any

from numpy.typing import NDArray

Buffer = NDArray[Any]

def scan(
    rows: Buffer,
    K: int,
    J: int,
    D: int,
    numbers: Buffer,
    scales: Buffer,
    keys: Buffer,
    start: int,
    at: Buffer | None,
    scores: Buffer,
    places: Buffer,
    held: Buffer,
    kernel: str,
    /,
) -> None: ...
def rescore(
    tokens: Buffer,
    K: int,
    D: int,
    query: Buffer,
    positions: Buffer,
    scores: Buffer,
    kernel: str,
    /,
) -> None: ...
def names(D: int, /) -> tuple[str, ...]: ...
