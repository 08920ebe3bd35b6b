"""Imitated photographs: of a flag somewhere in the world, and of the world without any flag.

Knows pictures only, (h, w, 3) uint8: neither countries nor what flags mean. backdrops.py paints
the background.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from rag_vqa.demo.drawing.backdrops import paint_backdrop, paint_clutter
from rag_vqa.errors import BadInput, UsageError

__all__ = ["photograph_flag", "photograph_scene"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
_TILES = (12, 9)  # columns and rows of the grid on which the cloth bends
_ICON_ODDS = 0.10  # a clean, upright picture instead of a photograph


def photograph_flag(
    flag: Pixels, rng: np.random.Generator, width: int = 320, height: int = 240
) -> Pixels:
    """A photograph (height, width, 3) of the flag (h, w, 3), both uint8; equal for equal seeds.

    The flag covers about 25 to 100% of the frame; part of it may be cut off or hidden.
    Raises BadInput for a flag that is not (h, w, 3) uint8, UsageError for a frame below 16.
    """
    if flag.ndim != 3 or flag.shape[2] != 3 or flag.dtype != np.uint8:
        raise BadInput(f"a flag is (h, w, 3) uint8, not {flag.shape} {flag.dtype}: use flag.draw")
    _check_frame(width, height)
    if rng.random() < _ICON_ODDS:
        return _develop_photo(_upright_flag(flag, rng, width, height), rng, gentle=True)
    behind = paint_backdrop(rng, width, height)
    hang = _random_homography(flag.shape[1], flag.shape[0], rng, width, height)
    if rng.random() < 0.25:
        _paint_pole(behind, hang, rng)
    cloth, light, alpha = _wave_cloth(flag, hang, rng, width, height)
    base = np.array(behind, dtype=np.float32)
    base *= 1 - alpha[..., None]
    base += cloth * light[..., None]
    if rng.random() < 0.12:
        base = _hide_edge(base, rng)
    return _develop_photo(base, rng, gentle=False)


def photograph_scene(rng: np.random.Generator, width: int = 320, height: int = 240) -> Pixels:
    """A photograph (height, width, 3) uint8 without any flag.

    Raises UsageError for a frame below 16.
    """
    _check_frame(width, height)
    image = paint_backdrop(rng, width, height)
    paint_clutter(image, rng, int(rng.integers(0, 7)))
    return _develop_photo(
        np.asarray(image, dtype=np.float32).copy(), rng, gentle=bool(rng.random() < 0.1)
    )


def _check_frame(width: int, height: int) -> None:
    if min(width, height) < 16:
        raise UsageError(f"a photograph of {width} x {height} shows nothing: ask for 16 or more")


def _upright_flag(flag: Pixels, rng: np.random.Generator, width: int, height: int) -> Floats:
    """The flag upright: filling the frame, or on a plain ground with a margin."""
    image = Image.fromarray(flag)
    if rng.random() < 0.5:
        return np.asarray(
            image.resize((width, height), Image.Resampling.BOX), dtype=np.float32
        ).copy()
    ground = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.4 else (255, 255, 255)
    frame = Image.new("RGB", (width, height), ground)
    share = float(rng.uniform(0.6, 1.0))
    scale = share * min(width / image.width, height / image.height)
    size = max(4, round(image.width * scale)), max(4, round(image.height * scale))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    frame.paste(image.resize(size, Image.Resampling.BOX), (left, top))
    return np.asarray(frame, dtype=np.float32).copy()


def _random_homography(
    w: int, h: int, rng: np.random.Generator, width: int, height: int
) -> NDArray[np.float64]:
    """The homography (3, 3) from the flag's pixels to the frame's."""
    cover = rng.uniform(0.25, 1.0) if rng.random() < 0.88 else rng.uniform(1.0, 1.35)
    scale = np.sqrt(cover * width * height / (w * h))
    fit = min(width / w, height / h) * 1.1  # a long flag is cut rather than lost
    scale = min(scale, fit if cover < 1 else fit * 1.25)
    turn = np.clip(rng.normal(0, 8), -20, 20) * np.pi / 180
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    bounds = scale * np.array(((w + h * abs(turn)) / width, (h + w * abs(turn)) / height))
    free = np.maximum(0.08, 1 - bounds)
    free += 0.25 * (rng.random() < 0.1)  # cut off at an edge
    centre = (0.5 + rng.uniform(-0.5, 0.5, 2) * free) * (width, height)
    shear, tilt_x, tilt_y = rng.uniform(-1, 1, 3) * (0.10, 0.30 / w, 0.30 / h)
    stretch = rng.uniform(0.85, 1.05)  # seen from the side
    to_middle = np.array(((1, 0, -w / 2), (0, 1, -h / 2), (0, 0, 1)))
    lens = np.array(((1, 0, 0), (0, 1, 0), (tilt_x, tilt_y, 1)))
    place = np.array(
        (
            (cos * stretch, -sin + shear * scale, centre[0]),
            (sin * stretch, cos, centre[1]),
            (0, 0, 1),
        )
    )
    return np.asarray(place @ lens @ to_middle)


def _wave_cloth(
    flag: Pixels, hang: NDArray[np.float64], rng: np.random.Generator, width: int, height: int
) -> tuple[Floats, Floats, Floats]:
    """The hung cloth (height, width, 3), black where there is none, its light and its coverage
    (height, width)."""
    h, w = flag.shape[:2]
    columns, rows = _TILES
    # Centres of the tiles, and of one more tile all round, so that the enlarging has neighbours.
    xs = (np.arange(-1, columns + 1) + 0.5) * (width / columns)
    ys = (np.arange(-1, rows + 1) + 0.5) * (height / rows)
    back = np.linalg.inv(hang)
    u, v, depth = (back[:, 0, None, None] * xs + back[:, 1, None, None] * ys[:, None]
                   + back[:, 2, None, None])  # fmt: skip
    u, v = u / (depth * w), v / (depth * h)  # fractions of the flag
    strength, turns, slant, phase, shine, glow = rng.random(6)
    strength *= rng.random() < 0.8
    folds, slant = 0.6 + 1.6 * turns, 1.6 * slant - 0.8
    wave = 2 * np.pi * (folds * (u + slant * v) + phase)
    swing = strength * (0.4 + 0.6 * u.clip(0, 1))  # the fly moves more than the hoist
    light = 0.9 + 0.2 * glow - (0.08 + 0.2 * shine) * swing * np.cos(wave)
    v = v + 0.075 * swing * np.sin(wave) / folds**0.5
    u = u + 0.035 * swing * np.cos(wave * 0.8)
    cloth = _sample_flag(flag, u, v, float(np.hypot(hang[0, 0], hang[1, 0])), width, height)
    return cloth[..., :3], _enlarge_grid(light, width, height), cloth[..., 3] / np.float32(255)


def _enlarge_grid(grid: NDArray[np.float64], width: int, height: int) -> Floats:
    """Values at the tiles (rows + 2, columns + 2) as a smooth field (height, width)."""
    field = Image.fromarray(grid.astype(np.float32))
    inner = (1, 1, grid.shape[1] - 1, grid.shape[0] - 1)
    return np.array(field.resize((width, height), Image.Resampling.BILINEAR, box=inner))


def _sample_flag(
    flag: Pixels,
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    scale: float,
    width: int,
    height: int,
) -> Floats:
    """The flag seen through a map of its fractions, (height, width, RGB and coverage).

    Four samples a pixel; a small flag is enlarged first; outside of it all is 0.
    """
    h, w = flag.shape[:2]
    grow = min(2 * scale, 4.0) if scale > 1.2 else 1.0  # its own pixels would show
    wide, high = round(w * grow), round(h * grow)
    if grow > 1:
        image = Image.fromarray(flag).resize((wide, high), Image.Resampling.BILINEAR)
        flag = np.asarray(image)
    padded = np.zeros((high + 2, wide + 2, 4), np.uint8)
    padded[1:-1, 1:-1, :3] = flag
    padded[1:-1, 1:-1, 3] = 255
    column = _enlarge_grid(u * wide + 1, 2 * width, 2 * height).clip(0, wide + 1).astype(np.int32)
    row = _enlarge_grid(v * high + 1, 2 * width, 2 * height).clip(0, high + 1).astype(np.int32)
    row *= wide + 2
    row += column
    seen = padded.view(np.uint32).ravel().take(row)
    fine = Image.frombuffer("RGBX", (2 * width, 2 * height), seen, "raw", "RGBX", 0, 1)
    return np.array(fine.reduce(2), dtype=np.float32)


def _paint_pole(image: Image.Image, hang: NDArray[np.float64], rng: np.random.Generator) -> None:
    """A pole along the hoist, painted before the flag."""
    ends = hang @ np.array(((0.0, 0.0), (0.0, 100.0), (1.0, 1.0)))
    top, low = (ends[:2] / ends[2]).T
    along = (low - top) / (np.hypot(*(low - top)) + 1e-6)
    thick = max(1, round(float(rng.uniform(0.012, 0.035)) * image.width))
    start, end = top - along * image.height * rng.uniform(0.02, 0.2), top + along * 3 * image.height
    tone = int(rng.integers(40, 230))
    ImageDraw.Draw(image).line([*start.tolist(), *end.tolist()], (tone, tone, tone), thick)


def _hide_edge(base: Floats, rng: np.random.Generator) -> Floats:
    """Something blurred in front, up to a quarter of the frame, at an edge."""
    height = base.shape[0]
    image = Image.fromarray(base.clip(0, 255).astype(np.uint8))
    paint_clutter(image, rng, 1, low=True)
    share = rng.uniform(0.1, 0.28)
    edge = int(height * (1 - share))
    base[edge:] = np.asarray(image, dtype=np.float32)[edge:]
    return base


def _develop_photo(base: Floats, rng: np.random.Generator, gentle: bool) -> Pixels:
    """Light, white balance, contrast, blur, noise and compression of a camera.

    base: (h, w, 3) in 0..255, owned by this function.
    """
    force = 0.35 if gentle else 1.0
    gains = np.exp(rng.normal(0, 0.05 * force, 3)) * np.exp(rng.normal(0.02, 0.17 * force))
    contrast = rng.uniform(1 - 0.25 * force, 1 + 0.15 * force)
    base *= (gains * contrast).astype(np.float32)
    base += np.float32(
        128 * (1 - contrast) + (rng.uniform(0, 25) if rng.random() < 0.2 else 0) * force
    )
    if rng.random() < 0.7 * force:
        sigma = rng.uniform(1, 12)
        # One long strip of noise, read from a random start: drawing it anew costs most of a photo.
        start = int(rng.integers(_NOISE.size - base.size)) if base.size < _NOISE.size else 0
        noise = (
            np.resize(_NOISE[start:], base.size)
            if start == 0
            else _NOISE[start : start + base.size]
        )
        base += noise.reshape(base.shape) * np.float32(sigma)
    image = Image.fromarray(np.clip(base, 0, 255, out=base).astype(np.uint8))
    width = image.width
    kind = rng.random() / force
    if kind < 0.3:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.002, 0.009)) * width))
    elif kind < 0.45:  # few pixels, enlarged
        part = float(rng.uniform(0.4, 0.8))
        small = image.resize((max(8, int(width * part)), max(8, int(image.height * part))),
                             Image.Resampling.BILINEAR)  # fmt: skip
        image = small.resize(image.size, Image.Resampling.BILINEAR)
    if rng.random() < 0.3 * force:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=int(rng.integers(25, 85)))
        image = Image.open(packed)
    return np.asarray(image).copy()


_NOISE: Floats = np.random.default_rng(0).standard_normal(1 << 18).astype(np.float32)
