"""Backgrounds of imitated photographs, and things that stand in them; never a flag.

Everything is painted small or with PIL's C code, because training asks for millions of pictures.
Does not know cameras or cloth (photo.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue


def _enlarge(small: np.ndarray, width: int, height: int, smooth: bool = True) -> Image.Image:
    """A small picture (h, w, 3) of floats 0..255, enlarged."""
    image = Image.fromarray(np.clip(small, 0, 255).astype(np.uint8))
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return image.resize((width, height), how)


def _sky(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    top = np.array((rng.uniform(20, 170), rng.uniform(80, 200), rng.uniform(140, 255)))
    if rng.random() < 0.3:  # grey or dusk
        top = np.array((rng.uniform(90, 250), rng.uniform(80, 230), rng.uniform(80, 230)))
    steps = np.linspace(0, 1, 5)[:, None, None]
    small = top * (1 - steps) + (top * 0.4 + 150) * steps
    small = np.repeat(small, 6, axis=1)
    if rng.random() < 0.5:  # clouds
        small = small + rng.uniform(0, 90, (5, 6, 1)) * (rng.random((5, 6, 1)) < 0.4)
    image = _enlarge(small, width, height)
    if rng.random() < 0.4:  # ground
        line = int(height * rng.uniform(0.6, 0.95))
        ImageDraw.Draw(image).rectangle((0, line, width, height), _colour(rng, 30, 170))
    return image


def _foliage(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    tint = np.array((rng.uniform(0.2, 0.9), rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.5)))
    rows = int(rng.integers(6, 22))
    small = rng.uniform(20, 200, (rows, int(rows * 4 / 3), 1)) * tint
    return _enlarge(small, width, height)


def _wall(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    base = np.array(_colour(rng, 60, 240), dtype=np.float64)
    image = _enlarge(base + rng.normal(0, 12, (6, 8, 1)), width, height)
    if rng.random() < 0.5:  # bricks or tiles
        ink, pen = tuple((base * 0.75).astype(int).tolist()), ImageDraw.Draw(image)
        step = max(4, int(height * rng.uniform(0.06, 0.2)))
        for row, y in enumerate(range(0, height, step)):
            pen.line((0, y, width, y), ink)
            for x in range((row % 2) * step, width, 2 * step):
                pen.line((x, y, x, y + step), ink)
    return image


def _blurred_clutter(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Clutter out of focus: painted at a quarter of the size, blurred, enlarged."""
    w, h = max(8, width // 4), max(8, height // 4)
    image = Image.new("RGB", (w, h), _colour(rng, 30, 220))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 14))):
        x, y = rng.uniform(-0.2, 1, 2) * (w, h)
        dx, dy = rng.uniform(0.05, 0.5, 2) * (w, h)
        shape = pen.ellipse if rng.random() < 0.4 else pen.rectangle
        shape((x, y, x + dx, y + dy), _colour(rng))
    image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 3))))
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    rows = int(rng.integers(2, 40))
    hues = 3 if rng.random() < 0.6 else 1
    small = np.array(_colour(rng, 60, 200)) + rng.normal(0, rng.uniform(10, 70), (rows, rows, hues))
    return _enlarge(small, width, height, smooth=bool(rng.random() < 0.8))


def _flat_colour(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _colour(rng))


_KINDS: tuple[Callable[[np.random.Generator, int, int], Image.Image], ...] = (
    _sky, _foliage, _wall, _blurred_clutter, _noise, _flat_colour,
)  # fmt: skip
_ODDS = np.cumsum((0.32, 0.15, 0.15, 0.22, 0.09, 0.07))


def paint_backdrop(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A background, at times with a few things in it; RGB of (width, height)."""
    kind = _KINDS[min(int(np.searchsorted(_ODDS, rng.random())), len(_KINDS) - 1)]
    image = kind(rng, width, height)
    if rng.random() < 0.35:
        paint_clutter(image, rng, int(rng.integers(1, 4)))
    return image


def _person(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, s: float
) -> None:
    skin = (int(rng.integers(90, 245)), int(rng.integers(60, 200)), int(rng.integers(40, 170)))
    pen.rounded_rectangle((x - s * 0.3, y, x + s * 0.3, y + s * 1.1), s * 0.2, _colour(rng))
    pen.rectangle((x - s * 0.2, y + s, x + s * 0.2, y + s * 2.2), _colour(rng, 0, 120))
    pen.ellipse((x - s * 0.2, y - s * 0.45, x + s * 0.2, y + s * 0.02), skin)


def _house(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, s: float
) -> None:
    pen.rectangle((x - s, y - s, x + s, y + 3 * s), _colour(rng, 70, 230))
    pane, step = _colour(rng), s / 2
    for i in range(4):
        for j in range(4):
            left, top = x - s * 0.85 + i * step, y - s * 0.8 + j * step
            pen.rectangle((left, top, left + step * 0.5, top + step * 0.6), pane)


def _tree(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, s: float) -> None:
    pen.rectangle((x - s * 0.12, y, x + s * 0.12, y + s * 2.5), (90, 60, 30))
    leaf = int(rng.integers(10, 120)), int(rng.integers(70, 190)), int(rng.integers(0, 90))
    for dx, dy in rng.uniform(-0.6, 0.6, (4, 2)):
        pen.ellipse(
            (x + s * (dx - 0.6), y + s * (dy - 0.6), x + s * (dx + 0.6), y + s * (dy + 0.6)), leaf
        )


def _car(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, s: float) -> None:
    body = _colour(rng)
    pen.rounded_rectangle((x - s, y, x + s, y + s * 0.6), s * 0.15, body)
    pen.rounded_rectangle(
        (x - s * 0.5, y - s * 0.4, x + s * 0.5, y + s * 0.2), s * 0.15, (60, 80, 100)
    )
    for side in (-0.55, 0.55):
        pen.ellipse(
            (x + s * (side - 0.2), y + s * 0.45, x + s * (side + 0.2), y + s * 0.85), (20, 20, 20)
        )


def _blob(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, s: float) -> None:
    turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
    radii = s * rng.uniform(0.4, 1.2, turns.size)
    points = np.stack((x + radii * np.cos(turns), y + radii * np.sin(turns)), 1)
    pen.polygon([(px, py) for px, py in points.tolist()], _colour(rng))


def _ball(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, s: float) -> None:
    pen.ellipse((x - s * 0.6, y - s * 0.6, x + s * 0.6, y + s * 0.6), _colour(rng))


_THINGS = (_person, _person, _house, _tree, _car, _blob, _blob, _ball)


def paint_clutter(
    image: Image.Image, rng: np.random.Generator, count: int, low: bool = False
) -> None:
    """Paint `count` things into the picture, in place; `low`: at its lower edge."""
    pen = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.random(2) * (image.width, image.height)
        size = float(rng.uniform(0.06, 0.32)) * image.height
        thing = _THINGS[int(rng.integers(len(_THINGS)))]
        thing(pen, rng, x, 0.85 * image.height if low else y, size)
