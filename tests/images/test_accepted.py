"""Unusual images that are supported, compared pixel by pixel.

Expected pixels come from the colours that were drawn and from the formats' own arithmetic.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_files import BLUE, GREEN, PNG, RED, WHITE, exif, file, gif, noise, refused
from PIL import Image, ImageCms, ImageOps

from rag_vqa import images
from rag_vqa.errors import BadImage

# Accepted, and right


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("give", [Path, str, bytes])
def test_lossless_formats_and_wrong_extension(
    tmp_path: Path, format: str, give: Callable[..., str | Path | bytes]
) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(file(noise(), format))
    image = images.load(path.read_bytes() if give is bytes else give(path))
    assert type(image) is Image.Image and image.mode == "RGB" and image.info == {}
    assert image.tobytes() == noise().tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_is_what_was_drawn(mode: str, compression: str | None) -> None:
    image = Image.new("I;16", (50, 30), 0x4142) if mode == "I;16" else noise(50, 30).convert(mode)
    expected = images.load(image)
    if mode == "CMYK":
        assert expected.tobytes() == noise(50, 30).tobytes()
    assert images.load(file(image, "TIFF", compression=compression)).tobytes() == (
        expected.tobytes()
    )


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 95}), ("WEBP", {})])
def test_lossy_formats(format: str, options: dict[str, object]) -> None:
    image = images.load(file(Image.new("RGB", (32, 32), (200, 100, 50)), format, **options))
    assert np.abs(np.asarray(image).astype(int) - (200, 100, 50)).max() <= 4


def test_the_file_is_closed_and_the_image_lives(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(gif(1, 1, frames=3))
    image = images.load(path)
    path.unlink()
    assert image.copy().getpixel((0, 0)) == RED
    assert not hasattr(image, "fp")


def test_cmyk_and_inverted_adobe_cmyk() -> None:
    # No ink is white, all cyan leaves green and blue: R = 255 - C for K = 0.
    ink = Image.new("CMYK", (32, 16), (255, 0, 0, 0))
    ink.paste((0, 0, 0, 0), (16, 0, 32, 16))
    plain, adobe = file(ink, "TIFF"), file(ink, "JPEG", quality=100, subsampling=0)
    assert b"Adobe\0" in adobe[:60]  # whose samples are inverted: 0 is full ink
    for content in (plain, adobe):
        image = np.asarray(images.load(content)).astype(int)
        assert np.abs(image[8, 4] - (0, 255, 255)).max() <= 4
        assert np.abs(image[8, 28] - WHITE).max() <= 4


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        image = images.load(file(Image.fromarray(values), format))
        grey = np.asarray(image)[0, :, 0].tolist()
        assert grey == [0, 0, 1, 128, 255]
    big_endian = Image.frombytes("I;16B", (5, 1), values.astype(">u2").tobytes())
    assert [p[1] for p in images.load(big_endian).get_flattened_data()] == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_white_are_refused(mode: str) -> None:
    refused(file(Image.new(mode, (2, 2)), "TIFF"), "no agreed white")


@pytest.mark.parametrize("transparency", [0, b"\x80\xff"])
def test_palette_with_transparency_drops_it(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette(RED + BLUE)
    image.putpixel((1, 0), 1)
    content = file(image, "PNG", transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(images.load(content).get_flattened_data()) == [RED, BLUE]
        lazy = Image.open(io.BytesIO(content))
        assert list(images.load(lazy).get_flattened_data()) == [RED, BLUE]
    assert lazy.info["transparency"] == transparency  # the caller's image is left as it was


def test_alpha_is_dropped_not_composited() -> None:
    assert images.load(file(Image.new("RGBA", (1, 1), (9, 8, 7, 0)), "PNG")).getpixel((0, 0)) == (
        (9, 8, 7)
    )
    assert images.load(file(Image.new("LA", (1, 1), (77, 0)), "PNG")).getpixel((0, 0)) == (
        (77, 77, 77)
    )
    # Premultiplied: 50 of 100 is half, so the colour was about 127.
    (value, *_) = images.load(Image.new("RGBa", (1, 1), (50, 50, 50, 100))).getpixel((0, 0))
    assert abs(value - 127) <= 1


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit(format: str) -> None:
    image = Image.new("1", (9, 1))
    image.putpixel((8, 0), 1)
    assert list(images.load(file(image, format)).get_flattened_data()) == [(0, 0, 0)] * 8 + [WHITE]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    content = file(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert images.load(content).getpixel((4, 4)) == RED


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_eight_orientations_one_picture(format: str) -> None:
    # The upright picture is 2 wide, 3 high (times 16): all squares different, none symmetric.
    squares = np.array([[10, 60], [110, 160], [210, 250]], dtype=np.uint8)
    upright = np.repeat(np.repeat(squares, 16, 0), 16, 1)
    # TIFF 6.0: where row 0 and column 0 of what is stored lie on the upright picture.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # left, top
        # right, top: each row of what is stored is a column, from the right one on
        6: np.stack([upright[:, -1 - row] for row in range(upright.shape[1])]),
        7: upright.T[::-1, ::-1],  # right, bottom
        8: np.stack([upright[::-1, row] for row in range(upright.shape[1])]),  # left, bottom
    }
    for orientation, pixels in stored.items():
        content = file(
            Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB"),
            format,
            exif=exif(orientation),
            **({"quality": 100} if format == "JPEG" else {}),
            **({"lossless": True} if format == "WEBP" else {}),
        )
        assert abs(np.asarray(images.load(content)).astype(int)[..., 0] - upright).max() <= 2
        assert (
            abs(np.asarray(images.load(content, exif=False))[..., 0] - pixels.astype(int)).max()
            <= 2
        )
        lazy = Image.open(io.BytesIO(content))
        assert np.array_equal(images.load(lazy), images.load(content))


def test_prepared_images_are_not_turned_again() -> None:
    content = file(noise(40, 20), "PNG", exif=exif(6))
    prepared = Image.open(io.BytesIO(content)).transpose(Image.Transpose.ROTATE_270)
    assert images.load(prepared).size == (20, 40)
    assert images.load(ImageOps.exif_transpose(prepared)).size == (40, 20)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM"])
def test_damaged_exif_does_not_spoil_the_picture(block: bytes) -> None:
    assert images.load(file(noise(), "JPEG", exif=block)).size == (120, 80)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_thin_pictures(size: tuple[int, int]) -> None:
    image = images.load(file(Image.new("RGB", size, GREEN), "PNG"))
    assert image.size == size and image.getcolors() == [(size[0] * size[1], GREEN)]


def test_icc_profile_changes_no_pixel_and_is_not_carried_on() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("PNG", "TIFF"):
        image = images.load(file(noise(), format, icc_profile=profile))
        assert image.tobytes() == noise().tobytes()
        assert b"iCCP" not in images.encode(image)


# Storing


def test_encode_is_exact_and_bare() -> None:
    source = noise()
    source.info.update(comment=b"secret", icc_profile=b"secret")
    content = images.encode(source)
    assert content == images.encode(images.load(content))
    assert images.load(content).tobytes() == source.tobytes()
    assert content.startswith(PNG) and b"secret" not in content
    lossy = images.encode(source, "JPEG")
    assert lossy.startswith(b"\xff\xd8\xff") and b"secret" not in lossy
    with pytest.raises(BadImage, match="cannot be written as JPEG"):
        images.encode(Image.new("RGB", (66_000, 1)), "JPEG")


def test_read_bytes_and_content_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"any content")
    assert images.read_bytes(path) == images.read_bytes("a.png", root=tmp_path) == b"any content"
    assert images.read_bytes(b"any content") == b"any content"
    assert images.content_hash(b"any content") == hashlib.sha256(b"any content").hexdigest()
