"""JPEGs that lack their end, and those of more pixels than are decoded.

What must be there is compared with the whole picture, as Pillow decodes it.
"""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from picture_files import exif, file, noise, refused
from PIL import Image, ImageFile

from rag_vqa import images
from rag_vqa.errors import BadImage


def photograph(width: int, height: int) -> Image.Image:
    """Large shapes and fine grain, as a photograph has; all of its parts differ."""
    shapes = noise(max(2, width // 24), max(2, height // 24)).resize((width, height), 3)
    return Image.blend(shapes, noise(width, height), 0.15)


KINDS = {
    "plain": {},
    "full colour": {"quality": 95, "subsampling": 0},
    "one half": {"quality": 80, "subsampling": 1},
    "progressive": {"quality": 85, "progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_missing_end_marker_changes_nothing(kind: str, mode: str) -> None:
    for size in ((64, 48), (200, 131), (17, 9), (1, 1)):
        whole = file(photograph(*size).convert(mode), "JPEG", **KINDS[kind])
        expected = images.load(whole).tobytes()
        for content in (whole[:-2], whole[:-1], whole[:-2] + bytes(5_000), whole + b"video"):
            assert images.load(content).tobytes() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [3, 4, 6, 10, 16])
def test_a_few_missing_bytes_cost_a_block_at_most(kind: str, lost: int) -> None:
    whole = file(photograph(160, 112), "JPEG", **KINDS[kind])
    expected = np.asarray(images.load(whole)).astype(int)
    found = np.asarray(images.load(whole[:-lost])).astype(int)
    assert found.shape == expected.shape
    # Two rows of blocks of 16 pixels, where what is lost may show.
    assert np.array_equal(found[:-32], expected[:-32])
    assert np.abs(found[-32:] - expected[-32:]).max(axis=2).mean() < 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.05, 0.25, 0.5, 0.7, 0.8, 0.9])
def test_cut_in_the_middle_is_refused(kind: str, part: float) -> None:
    for size in ((64, 48), (320, 240)):
        if size != (64, 48) or part < 0.9:  # whose last of 12 blocks may be missing
            whole = file(photograph(*size), "JPEG", **KINDS[kind])
            refused(whole[: int(len(whole) * part)], "")


@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_file_of_full_length_filled_in_part_is_refused(part: float) -> None:
    whole = file(photograph(320, 240), "JPEG")
    cut = int(len(whole) * part)
    refused(whole[:cut] + bytes(len(whole) - cut), "of the JPEG is there")


def test_the_share_that_is_said_is_right() -> None:
    whole = file(photograph(640, 480), "JPEG", quality=90)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(BadImage, match=r"truncated: (\d+)% of the JPEG") as caught:
            images.load(whole[: int(len(whole) * part)])
        share = int(str(caught.value).split("truncated: ")[1].split("%")[0])
        assert abs(share - 100 * part) < 4
    images.load(whole[: int(len(whole) * 0.97)])


def test_plain_surfaces_are_no_missing_parts() -> None:
    # What a decoder fills in is this grey; and a last pass over a plain surface changes nothing.
    for colour in ((128, 128, 128), (0, 0, 0), (255, 255, 255), (200, 30, 30)):
        for options in ({}, {"progressive": True}):
            whole = file(Image.new("RGB", (200, 200), colour), "JPEG", **options)
            assert images.load(whole[:-2]).tobytes() == images.load(whole).tobytes()
    half = photograph(200, 200)
    half.paste((128, 128, 128), (0, 100, 200, 200))
    whole = file(half, "JPEG", progressive=True)
    assert images.load(whole[:-2]).tobytes() == images.load(whole).tobytes()


def test_passes_over_single_colours() -> None:
    """A plain JPEG with a scan for each colour, made by hand from three grey ones."""

    def parts(data: bytes) -> tuple[bytes, bytes, bytes]:
        at = data.index(b"\xff\xda")
        return data[2:at], data[at:-2], data[data.index(b"\xff\xc0") :][:19]

    grey = [file(photograph(96, 64).convert("L"), "JPEG") for _ in range(3)]
    tables, scan, frame = parts(grey[0])
    three = (
        b"\xff\xc0\0\x11"
        + frame[4:9]
        + b"\x03"
        + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    )
    tables = tables.replace(frame[:13], three)
    scans = b"".join(scan[:5] + bytes([number]) + scan[6:] for number in (1, 2, 3))
    whole = b"\xff\xd8" + tables + scans + b"\xff\xd9"
    expected = images.load(whole)
    assert expected.size == (96, 64)
    assert images.load(whole[:-2]).tobytes() == expected.tobytes()
    refused(whole[: -2 - len(scan)], "end of the JPEG is missing")
    refused(whole[: -len(scan) // 2], "of the JPEG is there")


def test_no_state_of_pillow_is_asked_or_changed() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    images.load(file(photograph(64, 48), "JPEG")[:-2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_caddy_lid_of_half_is_refused_and_a_header_alone() -> None:
    whole = file(photograph(64, 48), "JPEG")
    for size in (3, 20, 300, 620, 640):
        refused(whole[:size], "")


# More pixels than are decoded


def test_a_photograph_of_108_megapixels_is_decoded_at_half_its_sides() -> None:
    tile = photograph(1_000, 750)
    large = tile.resize((12_000, 9_000), Image.Resampling.NEAREST)
    content = file(large, "JPEG", quality=80, exif=exif(6))
    del large
    tracemalloc.start()
    image = images.load(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.size == (4_500, 6_000)
    assert peak < 100e6  # of Python's; Pillow's: 6000 x 4500 x 4 bytes
    assert images.load(content, exif=False).size == (6_000, 4_500)
    back = np.asarray(image.transpose(Image.Transpose.ROTATE_90).resize((1_000, 750), 4))
    assert np.abs(back.astype(int) - np.asarray(tile)).mean() < 4


def sized(width: int, height: int, **options: object) -> bytes:
    """A JPEG whose header says more than it holds."""
    small = file(noise(16, 16), "JPEG", **options)
    at = small.index(b"\xff\xc2" if "progressive" in options else b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", height, width) + small[at + 4 :]


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((8_000, 8_000), (8_000, 8_000)),
        ((8_001, 8_000), (4_001, 4_000)),
        ((12_000, 9_000), (6_000, 4_500)),
        ((16_320, 12_240), (4_080, 3_060)),  # 200 MP
        ((22_600, 22_600), (5_650, 5_650)),
        ((65_000, 1_200), (32_500, 600)),
    ],
)
def test_sizes(size: tuple[int, int], decoded: tuple[int, int]) -> None:
    assert images.load(sized(*size)).size == decoded


def test_beyond_that_it_is_refused_with_the_reason() -> None:
    refused(sized(22_700, 22_700), "22700x22700 pixels, over 512 million; make it smaller")
    refused(
        sized(12_000, 9_000, progressive=True),
        "12000x9000 pixels, over 64 million in 10 scans: a progressive JPEG",
    )
    refused(sized(12_000, 9_000)[:-2], "of the JPEG is there")


def test_a_large_photograph_without_its_end() -> None:
    content = file(photograph(600, 450).resize((9_600, 7_200), 0), "JPEG", quality=60)
    assert images.load(content[:-2]).tobytes() == images.load(content).tobytes()


def test_within_the_limit_it_is_what_pillow_decodes() -> None:
    for options in KINDS.values():
        content = file(photograph(333, 222), "JPEG", **options)
        plain = Image.open(io.BytesIO(content)).convert("RGB")
        assert images.load(content).tobytes() == plain.tobytes()


def test_a_large_photograph_fresh_from_pillow_counts_as_its_file() -> None:
    with pytest.warns(Image.DecompressionBombWarning):
        large = Image.open(io.BytesIO(sized(12_000, 9_000)))
    assert images.load(large).size == (6_000, 4_500)
    assert large.size == (12_000, 9_000)  # the caller's is left as it was
    with pytest.warns(Image.DecompressionBombWarning):
        large = Image.open(io.BytesIO(sized(12_000, 9_000, progressive=True)))
    refused(large, "over 64 million in 10 scans")
    large.close()
    refused(large, "12000x9000 pixels, over 64 million")
    prepared = Image.open(io.BytesIO(file(photograph(120, 80), "JPEG", exif=exif(6))))
    prepared.load()
    prepared.paste((255, 0, 0), (0, 0, 120, 80))
    assert images.load(prepared, exif=False).getcolors() == [(9_600, (255, 0, 0))]
