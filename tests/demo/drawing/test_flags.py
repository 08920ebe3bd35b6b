"""Flags: known pixels of real ones, distances, invented ones, and hard negatives."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import replace

import numpy as np
import pytest

from rag_vqa.demo.drawing.colours import CANONICAL, Style, colour_family, parse_colour, random_style
from rag_vqa.demo.drawing.flag import FlagSpec, draw_flag, flag_distance, flag_signature
from rag_vqa.demo.drawing.invented_flags import invent_flag
from rag_vqa.demo.drawing.mutated_flags import is_same_flag, mutate_flag
from rag_vqa.demo.drawing.pen import EMBLEM_NAMES, emblem_outlines
from rag_vqa.demo.drawing.real_flags import REAL_FLAGS, resembles_real_flag, split_of
from rag_vqa.demo.drawing.shapes import Bands
from rag_vqa.errors import UsageError

# Public knowledge, written by hand: the colour family at (x, y) in fractions of the flag.
KNOWN = [
    ("FR", 0.16, 0.5, "blue"), ("FR", 0.5, 0.5, "white"), ("FR", 0.84, 0.5, "red"),
    ("IT", 0.16, 0.5, "green"), ("IT", 0.84, 0.5, "red"),
    ("IE", 0.16, 0.5, "green"), ("IE", 0.84, 0.5, "orange"),
    ("CI", 0.16, 0.5, "orange"), ("CI", 0.84, 0.5, "green"),
    ("BE", 0.1, 0.5, "black"), ("BE", 0.5, 0.5, "yellow"), ("BE", 0.9, 0.5, "red"),
    ("DE", 0.5, 0.1, "black"), ("DE", 0.5, 0.5, "red"), ("DE", 0.5, 0.9, "yellow"),
    ("UA", 0.5, 0.25, "blue"), ("UA", 0.5, 0.75, "yellow"),
    ("PL", 0.5, 0.25, "white"), ("PL", 0.5, 0.75, "red"),
    ("ID", 0.5, 0.25, "red"), ("ID", 0.5, 0.75, "white"),
    ("RU", 0.5, 0.1, "white"), ("RU", 0.5, 0.5, "blue"), ("RU", 0.5, 0.9, "red"),
    ("NL", 0.5, 0.9, "blue"), ("LU", 0.5, 0.9, "light blue"),
    ("JP", 0.5, 0.5, "red"), ("JP", 0.05, 0.05, "white"),
    ("BD", 0.45, 0.5, "red"), ("BD", 0.05, 0.05, "green"),
    ("SE", 0.36, 0.1, "yellow"), ("SE", 0.9, 0.5, "yellow"), ("SE", 0.9, 0.1, "blue"),
    ("DK", 0.38, 0.1, "white"), ("DK", 0.9, 0.1, "red"),
    ("NO", 0.364, 0.1, "blue"), ("NO", 0.05, 0.1, "red"),
    ("CH", 0.5, 0.5, "white"), ("CH", 0.1, 0.5, "red"),
    ("GB", 0.5, 0.5, "red"), ("GB", 0.25, 0.06, "blue"),
    ("GR", 0.9, 0.05, "blue"), ("GR", 0.9, 0.16, "white"), ("GR", 0.185, 0.28, "white"),
    ("CZ", 0.1, 0.5, "blue"), ("CZ", 0.8, 0.25, "white"), ("CZ", 0.8, 0.75, "red"),
    ("AL", 0.5, 0.5, "black"), ("AL", 0.05, 0.5, "red"),
    ("US", 0.9, 0.02, "red"), ("US", 0.9, 0.115, "white"), ("US", 0.9, 0.98, "red"),
    ("CA", 0.1, 0.5, "red"), ("CA", 0.3, 0.1, "white"), ("CA", 0.5, 0.5, "red"),
    ("BR", 0.02, 0.05, "green"), ("BR", 0.2, 0.5, "yellow"), ("BR", 0.5, 0.68, "blue"),
    ("CL", 0.05, 0.1, "blue"), ("CL", 0.8, 0.2, "white"), ("CL", 0.8, 0.8, "red"),
    ("CO", 0.5, 0.25, "yellow"), ("CO", 0.5, 0.62, "blue"), ("CO", 0.5, 0.9, "red"),
    ("JM", 0.5, 0.1, "green"), ("JM", 0.1, 0.5, "black"), ("JM", 0.5, 0.5, "yellow"),
    ("TT", 0.5, 0.5, "black"), ("TT", 0.9, 0.1, "red"),
    ("CU", 0.05, 0.5, "red"), ("CU", 0.9, 0.1, "blue"), ("CU", 0.9, 0.3, "white"),
    ("AR", 0.1, 0.1, "light blue"), ("AR", 0.5, 0.5, "yellow"), ("AR", 0.1, 0.5, "white"),
    ("TR", 0.1, 0.1, "red"), ("TR", 0.19, 0.5, "white"), ("TR", 0.38, 0.5, "red"),
    ("PK", 0.1, 0.5, "white"), ("PK", 0.9, 0.9, "green"),
    ("IN", 0.1, 0.1, "orange"), ("IN", 0.1, 0.5, "white"), ("IN", 0.1, 0.9, "green"),
    ("CN", 0.9, 0.9, "red"), ("CN", 0.167, 0.25, "yellow"),
    ("KR", 0.5, 0.35, "red"), ("KR", 0.5, 0.65, "blue"), ("KR", 0.5, 0.05, "white"),
    ("KW", 0.05, 0.5, "black"), ("KW", 0.6, 0.1, "green"), ("KW", 0.6, 0.9, "red"),
    ("AE", 0.1, 0.5, "red"), ("AE", 0.6, 0.1, "green"), ("AE", 0.6, 0.9, "black"),
    ("QA", 0.1, 0.5, "white"), ("QA", 0.9, 0.5, "maroon"),
    ("TH", 0.5, 0.5, "blue"), ("TH", 0.5, 0.25, "white"), ("TH", 0.5, 0.05, "red"),
    ("NG", 0.1, 0.5, "green"), ("NG", 0.5, 0.5, "white"), ("NG", 0.9, 0.5, "green"),
    ("GH", 0.1, 0.1, "red"), ("GH", 0.1, 0.5, "yellow"), ("GH", 0.5, 0.5, "black"),
    ("CG", 0.1, 0.1, "green"), ("CG", 0.5, 0.5, "yellow"), ("CG", 0.9, 0.9, "red"),
    ("TZ", 0.1, 0.1, "green"), ("TZ", 0.5, 0.5, "black"), ("TZ", 0.9, 0.9, "light blue"),
    ("NA", 0.5, 0.05, "blue"), ("NA", 0.5, 0.5, "red"), ("NA", 0.9, 0.9, "green"),
    ("BW", 0.5, 0.1, "light blue"), ("BW", 0.5, 0.5, "black"),
    ("ZA", 0.05, 0.5, "black"), ("ZA", 0.8, 0.1, "red"), ("ZA", 0.8, 0.5, "green"),
    ("ZA", 0.8, 0.9, "blue"), ("MG", 0.1, 0.5, "white"), ("MG", 0.8, 0.25, "red"),
    ("AU", 0.5, 0.9, "blue"), ("AU", 0.25, 0.25, "red"), ("PW", 0.44, 0.5, "yellow"),
    ("EE", 0.5, 0.1, "blue"), ("EE", 0.5, 0.5, "black"), ("EE", 0.5, 0.9, "white"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "x", "y", "expected"), KNOWN)
def test_known_pixels_of_real_flags(code: str, x: float, y: float, expected: str) -> None:
    pixels = draw_flag(REAL_FLAGS[code], 192)
    height, width = pixels.shape[:2]
    red, green, blue = pixels[int(y * height), int(x * width)].tolist()
    assert colour_family((red, green, blue)) == expected


def test_proportions_of_real_flags() -> None:
    assert draw_flag(REAL_FLAGS["CH"], 96).shape == (96, 96, 3)
    assert draw_flag(REAL_FLAGS["FR"], 96).shape == (64, 96, 3)
    assert draw_flag(REAL_FLAGS["GB"], 96).shape == (48, 96, 3)
    assert draw_flag(REAL_FLAGS["FR"], 96).dtype == np.uint8


def test_there_are_enough_real_flags_and_twins_are_out() -> None:
    assert len(REAL_FLAGS) >= 150
    assert all(len(code) == 2 and code.isupper() for code in REAL_FLAGS)
    assert not {"TD", "MC"} & set(REAL_FLAGS)  # Romania's and Indonesia's twins


def test_real_flags_can_be_told_apart_whatever_their_shades() -> None:
    rows = {code: flag_signature(spec) for code, spec in REAL_FLAGS.items()}
    for a, b in itertools.combinations(REAL_FLAGS, 2):
        apart = float(np.sqrt(np.mean(np.square(rows[a] - rows[b]))))
        assert apart > 0.085, (a, b, apart)


def test_a_symmetric_flag_is_its_own_mirror_image_and_others_are_not() -> None:
    for code in ("AT", "CA", "JP", "NG", "JM"):
        pixels = draw_flag(REAL_FLAGS[code], 60).astype(int)
        assert np.abs(pixels - pixels[:, ::-1]).mean() < 4, code
    assert np.array_equal(
        draw_flag(replace(REAL_FLAGS["FR"], mirrored=True)), draw_flag(REAL_FLAGS["FR"])[:, ::-1]
    )
    assert not is_same_flag(REAL_FLAGS["FR"], replace(REAL_FLAGS["FR"], mirrored=True))


def test_distance_is_what_the_formula_says() -> None:
    black, white = (FlagSpec(0.5, (Bands((parse_colour(c),)),)) for c in ("000", "fff"))
    half = FlagSpec(0.5, (Bands((parse_colour("000"), parse_colour("fff"))),))
    assert flag_distance(black, black) == 0
    assert flag_distance(black, white) == pytest.approx(1)
    assert flag_distance(black, half) == pytest.approx(0.5**0.5)
    other_black = FlagSpec(1.0, (Bands((parse_colour("111"),)),))
    assert flag_distance(black, other_black) == 0  # neither shade nor ratio counts


def test_edges_are_antialiased() -> None:
    third = draw_flag(
        FlagSpec(1.0, (Bands((parse_colour("000"), parse_colour("fff")), (1, 2)),)), 32
    )
    assert third[0, 0].tolist() == [0, 0, 0] and third[-1, 0].tolist() == [255, 255, 255]
    assert 0 < int(third[10, 0, 0]) < 255  # 32 / 3 lies inside row 10


def test_a_style_changes_the_drawing_and_not_the_flag() -> None:
    rng = np.random.default_rng(0)
    codes = list(REAL_FLAGS)
    shapes, right = set(), 0
    signatures = np.stack(
        [draw_flag(REAL_FLAGS[c], 24, Style(ratio=2 / 3)).reshape(-1) for c in codes]
    )
    for index, code in enumerate(codes):
        style = random_style(rng)
        shapes.add(draw_flag(REAL_FLAGS[code], 48, style).shape)
        seen = draw_flag(REAL_FLAGS[code], 24, replace(style, ratio=2 / 3)).reshape(-1)
        gaps = np.abs(signatures.astype(int) - seen.astype(int)).mean(1)
        right += int(gaps.argmin() == index)
    assert len(shapes) >= 6
    assert right / len(codes) > 0.75  # nearest by bare pixels is mostly still the same flag
    assert right < len(codes)  # and styles are not trivial


def test_styles_keep_families_of_colour_apart() -> None:
    rng = np.random.default_rng(1)
    shades = {"red": "ce1126", "orange": "ff8200", "light blue": "00a1de", "blue": "21468b"}
    lost = 0
    for _ in range(300):
        style = random_style(rng)
        drawn = {name: style.shade(parse_colour(code)) for name, code in shades.items()}
        lost += sum(colour_family(rgb) not in (name, "maroon") for name, rgb in drawn.items())
    assert lost < 0.08 * 4 * 300


def test_canonical_drawing_uses_the_given_colours() -> None:
    pixels = draw_flag(REAL_FLAGS["FR"], 96)
    assert pixels[0, 0].tolist() == [0x00, 0x55, 0xA4]
    assert np.array_equal(pixels, draw_flag(REAL_FLAGS["FR"], 96, CANONICAL))


def test_split_is_the_hash_of_the_code() -> None:
    for code in REAL_FLAGS:
        first = int(hashlib.sha256(code.encode()).hexdigest()[:2], 16)
        assert split_of(code) == ("dev" if first < 102 else "test")
    assert 0.3 < sum(split_of(code) == "dev" for code in REAL_FLAGS) / len(REAL_FLAGS) < 0.5


def test_real_flags_resemble_themselves_in_other_shades() -> None:
    for spec in REAL_FLAGS.values():
        assert resembles_real_flag(spec)
    pale_poland = FlagSpec(0.5, (Bands((parse_colour("f4f4f4"), parse_colour("e4002b"))),))
    assert resembles_real_flag(pale_poland)
    assert not resembles_real_flag(
        FlagSpec(0.5, (Bands((parse_colour("000"), parse_colour("ff8200"))),))
    )


def _refuses_real(count: int, seed: int) -> int:
    """Different looks of `count` invented flags and as many mutations, none near a real one."""
    rng = np.random.default_rng(seed)
    rows = np.stack([flag_signature(spec) for spec in REAL_FLAGS.values()])
    seen: set[bytes] = set()
    for _ in range(count):
        spec = invent_flag(rng)
        for item in (spec, mutate_flag(spec, rng)):
            mine = flag_signature(item)
            seen.add(mine.tobytes())
            assert np.sqrt(np.square(rows - mine).mean(1)).min() > 0.079
    return len(seen)


def test_no_invented_or_mutated_flag_is_real_and_they_vary() -> None:
    assert _refuses_real(250, seed=2) > 470


@pytest.mark.nightly
def test_no_real_flag_in_many_invented_ones() -> None:
    _refuses_real(int(os.environ.get("RAG_VQA_FLAGS", "100000")), seed=3)


def test_invented_flags_have_the_variety_of_real_ones() -> None:
    rng = np.random.default_rng(4)
    specs = [invent_flag(rng) for _ in range(300)]
    bare = [s for s in specs if len(s.layers) == 1 and isinstance(s.layers[0], Bands)]
    assert 0.12 < len(bare) / len(specs) < 0.45  # real ones: about a quarter
    upright = [s for s in bare if s.layers[0].vertical]  # type: ignore[union-attr]
    assert 0.1 < len(upright) / len(bare) < 0.6
    assert len({type(layer).__name__ for s in specs for layer in s.layers}) >= 14
    used = {
        colour_family(tuple(p))
        for s in specs
        for p in draw_flag(s, 24).reshape(-1, 3)[::37].tolist()
    }
    assert used >= {"red", "white", "blue", "green", "yellow", "black", "light blue", "orange"}


def test_inventing_is_deterministic_by_seed() -> None:
    first, second = (invent_flag(np.random.default_rng(7)) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert mutate_flag(first, np.random.default_rng(8)) == mutate_flag(
        second, np.random.default_rng(8)
    )


def test_a_mutation_is_visibly_different_but_akin() -> None:
    rng = np.random.default_rng(5)
    gaps = []
    for _ in range(150):
        base = invent_flag(rng)
        other = mutate_flag(base, rng)
        assert not is_same_flag(base, other)
        gaps.append(flag_distance(base, other))
    strangers = [flag_distance(invent_flag(rng), invent_flag(rng)) for _ in range(150)]
    assert np.median(gaps) < 0.8 * np.median(strangers)


def test_every_emblem_has_outlines_inside_the_unit_circle_or_nearly() -> None:
    for name in EMBLEM_NAMES:
        points = np.concatenate([np.array(polygon) for polygon in emblem_outlines(name)])
        assert 0.5 < np.abs(points).max() < 1.5, name


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="2 pixels wide"):
        draw_flag(REAL_FLAGS["FR"], 2)
    with pytest.raises(UsageError, match="'unicorn'"):
        emblem_outlines("unicorn")
