"""A shuffled order of any number of rows that takes no memory: each place is computed alone.

It knows numbers. It does not know rows. A Feistel network is a bijection of 2^(2b) numbers whatever
its round function is; numbers beyond the size are sent through again until one is below it (cycle
walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
"""

from __future__ import annotations

from hashlib import blake2b

ROUNDS = 6


def permuted(place: int, size: int, key: bytes) -> int:
    """Where `place` goes in the permutation of 0 … size - 1 that `key` names.

    >>> sorted(permuted(place, 7, b"epoch 3") for place in range(7))
    [0, 1, 2, 3, 4, 5, 6]
    """
    bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << bits) - 1
    while True:
        left, right = place >> bits, place & mask
        for turn in range(ROUNDS):
            said = b"%d %d" % (turn, right)
            mixed = int.from_bytes(blake2b(said, digest_size=8, key=key).digest(), "big")
            left, right = right, left ^ (mixed & mask)
        place = left << bits | right
        if place < size:
            return place


def key_of(*parts: object) -> bytes:
    """A key that differs where any part does."""
    return blake2b(repr(parts).encode(), digest_size=16).digest()
