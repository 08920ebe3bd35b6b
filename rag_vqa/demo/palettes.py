"""Colours for invented flags, in the shades and frequencies of real ones."""

from __future__ import annotations

import numpy as np

from rag_vqa.demo.shades import Colour, colour, family

_SHADES: dict[str, tuple[Colour, ...]] = {
    name: tuple(map(colour, shades.split()))
    for name, shades in {
        "red": "ce1126 e30a17 c60b1e d52b1e ef3340 da291c bc002d c8102e ff0000 e4002b",
        "white": "fff",
        "green": "009639 007a3d 006a4e 009b3a 138808 00853f 078930 239e46 006233 1eb53a 00843d",
        "blue": "002b7f 0039a6 00247d 003893 0033a0 005bbb 0055a4 21468b 006aa7 002868 0072ce",
        "yellow": "fcd116 ffcd00 ffd700 ffc72c fedf00 fcdd09 ffda44 ffb81c",
        "black": "000",
        "light blue": "00a1de 75aadb 6cb4ee 4997d0 00afca 74acdf 5b92e5 00bce4",
        "orange": "ff8200 ff883e f77f00 ff9933 eb7400 ff671f",
        "maroon": "8a1538 9e3039 8d1b3d 741b1c",
    }.items()
}
_COLOURS = tuple(_SHADES)
_COLOUR_ODDS = np.array((0.25, 0.20, 0.155, 0.135, 0.115, 0.06, 0.045, 0.025, 0.015))


def choose(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    """One of the names, each equally likely."""
    return names[int(rng.integers(len(names)))]


def palette(rng: np.random.Generator, n: int, beside: Colour | None = None) -> list[Colour]:
    """n colours of different families in the frequencies of real flags; the first differs from
    the family of `beside`."""
    odds = _COLOUR_ODDS.copy()
    if beside is not None and family(beside) in _COLOURS:
        odds[_COLOURS.index(family(beside))] = 0
    picked = rng.choice(len(_COLOURS), size=n, replace=False, p=odds / odds.sum())
    return [_SHADES[_COLOURS[i]][int(rng.integers(len(_SHADES[_COLOURS[i]])))] for i in picked]
