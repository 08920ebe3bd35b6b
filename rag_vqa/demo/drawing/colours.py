"""Colours of flags: their families, random palettes, and how another artist would choose shades.

Knows colours and numbers only. shapes.py applies them, flag.py draws.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]
FAMILIES = (
    "white", "grey", "black", "red", "maroon", "orange", "yellow", "green", "light blue", "blue",
    "purple",
)  # fmt: skip
# One colour a family, for comparisons that must not see shades.
FAMILY_COLOURS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "grey": (150, 150, 150),
    "black": (0, 0, 0),
    "red": (210, 16, 38),
    "maroon": (120, 26, 40),
    "orange": (245, 125, 10),
    "yellow": (252, 209, 22),
    "green": (0, 130, 60),
    "light blue": (85, 175, 230),
    "blue": (0, 50, 150),
    "purple": (120, 40, 140),
}
# Hue in turns (low, high), then factors of saturation and value (low, high). The ranges keep
# orange away from red and light blue away from blue; brightness of red, green and blue is free.
_RANGES: dict[str, tuple[float, float, float, float, float, float]] = {
    "white": (0.0, 0.0, 1.0, 1.0, 0.93, 1.0),
    "grey": (0.0, 0.0, 0.8, 1.2, 0.85, 1.15),
    "black": (0.0, 0.0, 1.0, 1.0, 0.6, 1.6),
    "red": (-0.020, 0.016, 0.82, 1.10, 0.82, 1.20),
    "maroon": (-0.025, 0.020, 0.85, 1.15, 0.80, 1.18),
    "orange": (-0.012, 0.020, 0.85, 1.08, 0.92, 1.06),
    "yellow": (-0.016, 0.020, 0.72, 1.12, 0.90, 1.06),
    "green": (-0.055, 0.045, 0.75, 1.15, 0.72, 1.35),
    "light blue": (-0.030, 0.035, 0.78, 1.22, 0.90, 1.08),
    "blue": (-0.030, 0.030, 0.78, 1.12, 0.70, 1.35),
    "purple": (-0.040, 0.040, 0.80, 1.15, 0.80, 1.20),
}
_LOW = np.array([_RANGES[f][0::2] for f in FAMILIES])
_HIGH = np.array([_RANGES[f][1::2] for f in FAMILIES])
_RATIOS = (0.0, 3 / 4, 1.0, 2 / 3, 0.5, 0.6)  # 0: the flag's own
_RATIO_ODDS = (0.30, 0.24, 0.18, 0.14, 0.07, 0.07)
_COLOUR_ODDS = np.array((0.25, 0.20, 0.155, 0.135, 0.115, 0.06, 0.045, 0.025, 0.015))


def parse_colour(text: str) -> Colour:
    """The colour written in hexadecimal, of three or six digits.

    >>> parse_colour("fff"), parse_colour("ce1126")
    ((255, 255, 255), (206, 17, 38))
    """
    full = "".join(2 * digit for digit in text) if len(text) == 3 else text
    return int(full[0:2], 16), int(full[2:4], 16), int(full[4:6], 16)


@lru_cache(maxsize=4096)
def colour_family(rgb: Colour) -> str:
    """The family of a colour: what a person would call it.

    >>> colour_family((206, 17, 38)), colour_family((0, 161, 222)), colour_family((33, 70, 139))
    ('red', 'light blue', 'blue')
    """
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))
    degrees = 360 * hue
    if value < 0.22:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.8 else "grey"
    if degrees < 13 or degrees >= 335:
        return "red" if value > 0.635 else "maroon"
    if degrees < 40:
        return "orange" if value > 0.66 else "maroon"
    if degrees < 70:
        return "yellow"
    if degrees < 170:
        return "green"
    if degrees < 255:
        pale = value > 0.75 and (saturation < 0.72 or degrees < 204)
        return "light blue" if pale or (value > 0.9 and degrees <= 212) else "blue"
    return "purple"


@dataclass(frozen=True, slots=True)
class Style:
    """How one artist draws flags; the default changes nothing.

    ratio: height to width, 0 keeps the flag's own. widen: how much wider than the picture the
    flag is drawn, what lies outside is cut; anchor: 0 cuts the fly, 1 the hoist. shades: hue
    shift in turns and factors of saturation and value, one row a family, or empty. bands:
    factors of band widths, taken in turn. scale, dx, dy (of the flag's height), rotation
    (degrees): emblems. thickness: crosses, stripes, triangles. detail: a seed for how coats of
    arms are worked out, 0 for plain. flatten: shades are replaced by their family's centre.
    """

    ratio: float = 0.0
    widen: float = 1.0
    anchor: float = 0.0
    shades: tuple[tuple[float, float, float], ...] = ()
    bands: tuple[float, ...] = ()
    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    rotation: float = 0.0
    thickness: float = 1.0
    detail: int = 0
    flatten: bool = False

    def shade(self, rgb: Colour) -> Colour:
        """The colour that this artist uses for `rgb`."""
        name = colour_family(rgb)
        if self.flatten:
            return FAMILY_COLOURS[name]
        if not self.shades:
            return rgb
        turn, saturate, lighten = self.shades[FAMILIES.index(name)]
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))
        if name == "black":  # nothing to multiply
            value = max(value, 0.08)
        red, green, blue = colorsys.hsv_to_rgb(
            (hue + turn) % 1.0, min(1.0, saturation * saturate), min(1.0, value * lighten)
        )
        return round(255 * red), round(255 * green), round(255 * blue)


CANONICAL = Style()


def random_style(rng: np.random.Generator) -> Style:
    """Another artist: shades, proportions and emblems differ, the flag stays itself."""
    ratio = _RATIOS[int(np.searchsorted(np.cumsum(_RATIO_ODDS), rng.random()))]
    draws = rng.random(12)
    strength = rng.uniform(0.3, 1.0)
    shades = _LOW + (_HIGH - _LOW) * rng.random(_LOW.shape)
    shades = np.array([0.0, 1.0, 1.0]) * (1 - strength) + shades * strength
    crops = draws[0] < (0.45 if ratio == 1.0 else 0.15)
    shifts = draws[1] < 0.5
    return Style(
        ratio=ratio,
        widen=1.0 + 0.25 * float(draws[2]) if crops else 1.0,
        anchor=0.0 if draws[3] < 0.5 else 0.5,
        shades=tuple(map(tuple, shades.tolist())),
        bands=tuple(rng.uniform(0.88, 1.14, 3).tolist()) if draws[4] < 0.5 else (),
        scale=0.78 + 0.50 * float(draws[5]),
        dx=0.08 * float(draws[6] - 0.5) if shifts else 0.0,
        dy=0.06 * float(draws[7] - 0.5) if shifts else 0.0,
        rotation=24 * float(draws[8] - 0.5) if draws[9] < 0.25 else 0.0,
        thickness=0.82 + 0.38 * float(draws[10]),
        detail=int(rng.integers(1, 2**31)) if draws[11] < 0.85 else 0,
    )


_SHADES: dict[str, tuple[Colour, ...]] = {
    name: tuple(map(parse_colour, shades.split()))
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


def choose_name(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    """One of the names, each equally likely."""
    return names[int(rng.integers(len(names)))]


def random_palette(rng: np.random.Generator, n: int, beside: Colour | None = None) -> list[Colour]:
    """n colours of different families in the frequencies of real flags; the first differs from
    the family of `beside`."""
    odds = _COLOUR_ODDS.copy()
    if beside is not None and colour_family(beside) in _COLOURS:
        odds[_COLOURS.index(colour_family(beside))] = 0
    picked = rng.choice(len(_COLOURS), size=n, replace=False, p=odds / odds.sum())
    return [_SHADES[_COLOURS[i]][int(rng.integers(len(_SHADES[_COLOURS[i]])))] for i in picked]
