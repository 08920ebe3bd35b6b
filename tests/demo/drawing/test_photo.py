"""Imitated photographs: shapes, seeds, and that the flag is in them, or is not."""

from __future__ import annotations

import numpy as np
import pytest

from rag_vqa.demo.drawing.colours import parse_colour
from rag_vqa.demo.drawing.flag import FlagSpec, draw_flag
from rag_vqa.demo.drawing.photo import photograph_flag, photograph_scene
from rag_vqa.demo.drawing.shapes import Bands
from rag_vqa.errors import BadInput, UsageError

MAGENTA = draw_flag(FlagSpec(2 / 3, (Bands((parse_colour("f0f"),)),)), 96)  # in no background


@pytest.mark.parametrize(("width", "height"), [(320, 240), (96, 72), (48, 48), (60, 97)])
def test_shape_dtype_and_seed(width: int, height: int) -> None:
    for seed in range(12):
        first, second = (
            photograph_flag(MAGENTA, np.random.default_rng(seed), width, height) for _ in range(2)
        )
        assert first.shape == (height, width, 3) and first.dtype == np.uint8
        assert np.array_equal(first, second)
        empty, again = (
            photograph_scene(np.random.default_rng(seed), width, height) for _ in range(2)
        )
        assert empty.shape == (height, width, 3) and empty.dtype == np.uint8
        assert np.array_equal(empty, again)


def test_seeds_make_different_photographs() -> None:
    photos = [photograph_flag(MAGENTA, np.random.default_rng(s), 48, 36) for s in range(40)]
    assert len({photo.tobytes() for photo in photos}) == 40


def test_the_flag_is_not_written_to() -> None:
    before = MAGENTA.copy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        photograph_flag(MAGENTA, rng, 96, 72)
    assert np.array_equal(before, MAGENTA)


def _share(photo: np.ndarray) -> float:
    """The part of the frame that looks magenta under whatever light."""
    red, green, blue = np.moveaxis(photo.astype(int), -1, 0)
    return float(np.mean((red - green > 60) & (blue - green > 60)))


def test_the_flag_covers_a_quarter_of_the_frame_to_all_of_it() -> None:
    rng = np.random.default_rng(1)
    shares = [_share(photograph_flag(MAGENTA, rng, 96, 72)) for _ in range(150)]
    assert np.percentile(shares, 4) > 0.13
    assert 0.35 < np.median(shares) < 0.8
    assert max(shares) > 0.97


def test_a_scene_has_no_flag_in_it() -> None:
    rng = np.random.default_rng(2)
    assert np.median([_share(photograph_scene(rng, 96, 72)) for _ in range(100)]) < 0.05


def test_hoist_and_fly_top_and_bottom_keep_their_places() -> None:
    sides = draw_flag(
        FlagSpec(2 / 3, (Bands((parse_colour("f00"), parse_colour("00f")), (), True),)), 96
    )
    ends = draw_flag(FlagSpec(2 / 3, (Bands((parse_colour("f00"), parse_colour("00f"))),)), 96)
    for flag, axis in ((sides, 1), (ends, 0)):
        rng = np.random.default_rng(3)
        kept, seen = 0, 0
        for _ in range(80):
            photo = photograph_flag(flag, rng, 96, 72).astype(int)
            red = photo[..., 0] - photo[..., 1:].max(-1) > 50
            blue = photo[..., 2] - photo[..., :2].max(-1) > 50
            if min(red.sum(), blue.sum()) < 400:  # too dark, or one half cut off
                continue
            middle = [np.median(np.nonzero(mask)[axis]) for mask in (red, blue)]
            seen += 1
            kept += int(middle[0] < middle[1])
        assert seen > 40
        assert kept >= 0.9 * seen  # not all: some backgrounds are red or blue themselves


def test_light_and_place_vary() -> None:
    rng = np.random.default_rng(4)
    photos = np.stack([photograph_flag(MAGENTA, rng, 48, 36) for _ in range(80)]).astype(float)
    assert photos.mean((1, 2, 3)).std() > 15
    assert photos.std(0).mean() > 30


def test_bad_input_is_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(BadInput, match="float64"):
        photograph_flag(MAGENTA.astype(float), rng)
    with pytest.raises(BadInput, match=r"\(64, 96\)"):
        photograph_flag(MAGENTA[..., 0], rng)
    with pytest.raises(UsageError, match="8 x 72"):
        photograph_flag(MAGENTA, rng, 8, 72)
    with pytest.raises(UsageError, match="8 x 72"):
        photograph_scene(rng, 8, 72)
