"""Hostile and odd pictures, built byte by byte where Pillow would not write them.

Expected pixels come from the colours that were drawn and from the formats' own arithmetic.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from rag_vqa import images
from rag_vqa.errors import BadImage, Missing

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def file(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def noise(width: int = 120, height: int = 80) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes = b"", *extra: bytes, colour: int = 2) -> bytes:
    """A PNG of 8-bit samples by hand; `pixels` are its deflated rows, `extra` chunks before."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return PNG + b"".join(parts)


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF of one directory; entries are (tag, type, count, value or offset)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0\0\0\0"


def gif(width: int, height: int, frames: int = 1, frame_size: tuple[int, int] = (1, 1)) -> bytes:
    """Frames of one pixel: the first is colour 1 (red), the others colour 0 (blue)."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(BLUE + RED)
    frame = b"," + struct.pack("<HHHHB", 0, 0, *frame_size, 0) + b"\x02"
    # 3-bit codes, low bits first: clear (4), the colour, end (5)
    first, others = (b"\x02" + struct.pack("<H", 4 | c << 3 | 5 << 6) + b"\0" for c in (1, 0))
    return head + frame + first + (frame + others) * (frames - 1) + b";"


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


def refused(
    source: str | Path | bytes | Image.Image,
    reason: str,
    kind: type[Exception] = BadImage,
    root: Path | None = None,
) -> None:
    """One line with name and reason, under 5 s and 300 MB, without a warning on the way."""
    start = time.monotonic()
    tracemalloc.start()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with pytest.raises(kind) as caught:
                images.load(source, root=root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 5
    assert peak < 300e6
    assert [str(one.message) for one in said] == []
    message = str(caught.value)
    name = "<bytes>" if isinstance(source, bytes) else "<image>"
    name = source if isinstance(source, str) else name
    assert message.startswith(f"{source if isinstance(source, Path) else name}: ")
    assert reason in message
    assert message.isprintable() and len(message) < 600


# Wrong content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty (0 bytes)"),
        (b"\0" * 100, "not a picture"),
        (b"hello", "not a picture"),
        (b"<!DOCTYPE html><html><img src=x></html>", "HTML is not read"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not read"),
        (b"<svg><rect width='9' height='9'/></svg>", "SVG is not read"),
        (b"%PDF-1.7\n", "PDF is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS is not read"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0mif1hevc", "a sequence of HEIC pictures is not read"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF is not read"),
        (b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3), "PSD is not read"),
        (b"SIMPLE  =                    T".ljust(2880), "FITS is not read"),
        (b"\0\0\1\0\1\0" + b"\0" * 16, "ICO is not read"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    refused(path, reason)
    refused(content, reason)


@pytest.mark.parametrize("format", ["PPM", "TGA", "PCX", "ICO", "JPEG2000", "ICNS", "DDS", "SGI"])
def test_formats_off_the_list_are_refused(format: str) -> None:
    refused(file(noise(32, 32), format), "PNG, JPEG, WebP, GIF, BMP and TIFF are read")


# Truncated and damaged


@pytest.mark.parametrize("format", [*FORMATS, "progressive"])
def test_truncated(format: str) -> None:
    options = {"progressive": True} if format == "progressive" else {}
    whole = file(noise(), "JPEG" if format == "progressive" else format, **options)
    for part in (0.1, 0.5, 0.9):
        refused(whole[: int(len(whole) * part)], "")


@pytest.mark.parametrize("format", FORMATS)
def test_only_our_errors_come_out_of_damaged_files(format: str) -> None:
    whole = bytearray(file(noise(40, 30), format))
    random = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(0, min(len(whole), 400), 4):
            damaged[at] = random.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = images.load(bytes(damaged))
        except BadImage as error:
            assert str(error).isprintable()
        else:
            assert image.mode == "RGB"


# Bombs

JUST_BELOW = 13_370  # squared: 178.8 million, where Pillow (limit 89.5 million) only warns


@pytest.mark.parametrize("side", [8_001, 9_500, JUST_BELOW, 50_000])
def test_size_is_refused_by_the_header(side: int) -> None:
    rows = zlib.compress(b"\0" * 3_000_000)
    refused(png(side, side, rows), f"{side}x{side} pixels, over 64 million")
    refused(bmp(side, side), f"{side}x{side} pixels, over 64 million")
    refused(gif(side, side), f"{side}x{side} pixels, over 64 million")


def test_size_of_jpeg_webp_and_tiff_is_refused_by_the_header() -> None:
    small = file(noise(16, 16), "JPEG")
    at = small.index(b"\xff\xc0") + 5
    refused(small[:at] + struct.pack(">HH", 50_000, 50_000) + small[at + 4 :], "50000x50000")
    canvas = (9_999).to_bytes(3, "little") * 2
    frame = file(noise(16, 16), "WEBP", lossless=True)[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    body += b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
    body += b"ANMF" + struct.pack("<I", 16 + len(frame)) + b"\0" * 6 + b"\x0f\0\0" * 2
    body += b"\0" * 4 + frame
    refused(b"RIFF" + struct.pack("<I", len(body)) + body, "10000x10000 pixels")
    grey = [(256, 4, 1, JUST_BELOW), (257, 4, 1, JUST_BELOW), (258, 3, 1, 8), (259, 3, 1, 1)]
    refused(tiff(*grey, (262, 3, 1, 1), (273, 4, 1, 8)), f"{JUST_BELOW}x{JUST_BELOW}")


@pytest.mark.parametrize("content", [png(0, 5), png(5, 0), bmp(0, 9), gif(0, 0, frame_size=(0, 0))])
def test_dimension_zero(content: bytes) -> None:
    refused(content, "")


def test_dimension_zero_in_memory() -> None:
    refused(Image.new("RGB", (0, 4)), "0x4 pixels")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_png_text_bomb(kind: bytes) -> None:
    bomb = zlib.compress(b"\0" * 40_000_000, 9)
    before = b"Comment\0\0" if kind == b"zTXt" else b"Comment\0\1\0\0\0"
    rows = zlib.compress(b"\0\xff\0\0")
    refused(png(1, 1, rows, chunk(kind, before + bomb)), "")
    many = chunk(kind, before + zlib.compress(b"a" * 1_000_000))
    refused(png(1, 1, rows, *[many] * 100), "")


def test_millions_of_empty_pieces() -> None:
    chunks = png(1, 1, zlib.compress(b"\0\xff\0\0"), chunk(b"teSt", b"") * 2_000_000)
    comments = gif(1, 1)[:19] + b"!\xfe\1 \0" * 5_000_000
    markers = b"\xff\xd8" + b"\xff\xfe\0\2" * 10_000_000
    fill = b"\xff\xd8" + b"\xff" * 50_000_000
    for content in (chunks, comments, markers, fill):
        start = time.monotonic()  # and no tracemalloc, which slows this tenfold
        with pytest.raises(
            BadImage, match=r"^<bytes>: .*(too many small pieces|too much metadata)"
        ):
            images.load(content)
        assert time.monotonic() - start < 5


def test_resident_memory() -> None:
    """What Pillow takes in C, in a process of its own: the largest size allowed, cut at its end."""
    script = """
import resource, sys, zlib
from rag_vqa import images
from rag_vqa.errors import BadImage
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for content in sys.stdin.buffer.read().split(b"|cut|"):
    try:
        images.load(content)
    except BadImage:
        continue
    sys.exit("accepted")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    rows = zlib.compress(bytes(24_001 * 8_000))
    whole, bomb = png(8_000, 8_000, rows[:-5_000]), png(JUST_BELOW, JUST_BELOW, rows)
    run = subprocess.run(
        [sys.executable, "-c", script], input=whole + b"|cut|" + bomb, capture_output=True
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) * 1024 < 300e6  # kB on Linux


def test_directory_whose_entries_share_their_megabytes() -> None:
    entries = [(tag, 7, 8_000_000, 8) for tag in range(30_000, 32_000)]
    grey = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    content = tiff(*grey, (273, 4, 1, 8), *entries) + b"\0" * 8_000_000
    tracemalloc.start()
    assert images.load(content).size == (1, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    refused(tiff(*grey, (320, 3, 8_000_000, 8)), "damaged TIFF directory")
    refused(tiff(*grey, *[(320, 3, 3_000_000, 8)] * 2) + b"\0" * 8_000_000, "TIFF directory")


def test_jpeg_of_endless_scans() -> None:
    whole = file(noise(64, 64), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    refused(whole[:-2] + whole[last:-2] * 500 + whole[-2:], "scans; save it again")


def test_exif_directory_whose_entries_share_their_kilobytes() -> None:
    entries = b"".join(struct.pack("<HHII", 30_000 + i, 7, 60_000, 8) for i in range(5_000))
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 5_000) + entries
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    plain = file(noise(16, 16), "JPEG")
    plain = plain[:2] + plain[20:]  # without JFIF, whose resolution keeps Pillow from the EXIF
    tracemalloc.start()
    image = images.load(plain[:2] + segment + plain[2:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.size == (16, 16)
    assert peak < 5e6


def test_ten_thousand_frames_cost_one() -> None:
    start = time.monotonic()
    image = images.load(gif(1, 1, frames=10_000))
    assert time.monotonic() - start < 0.2
    assert image.getpixel((0, 0)) == RED


def test_no_state_of_pillow_is_changed() -> None:
    assert Image.MAX_IMAGE_PIXELS == 1024**3 // 4 // 3


# What is no file of the user's


def test_fifo_directory_and_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a regular file")
    refused(tmp_path, "Is a directory")
    refused("/dev/zero", "not a regular file")
    refused("", "Is a directory")


def test_missing_and_odd_names(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such file. Check the path", Missing)
    refused("none.png", f"no such file in {tmp_path}", Missing, root=tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    refused(tmp_path / "file" / "a.png", "no such file", Missing)
    with pytest.raises(BadImage, match=r"^a\\x00b\.png: .*null byte"):
        images.load("a\0b.png")
    with pytest.raises(Missing, match=r"^a\\n\\x1b\[31m\\udc80: no such file"):
        images.load("a\n\x1b[31m\udc80")
    with pytest.raises(BadImage, match="name too long") as caught:
        images.load("x" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("address", ["http://h/a.png", "HTTPS://h/a", "file:///etc/passwd"])
def test_addresses_are_not_fetched(address: str) -> None:
    refused(address, "addresses are not fetched")


def test_data_address_and_a_path_made_of_one() -> None:
    with pytest.raises(BadImage, match="addresses are not fetched") as caught:
        images.load("data:image/png;base64," + "A" * 1_000_000)
    assert len(str(caught.value)) < 400
    refused(Path("https://h/a.png"), "addresses are not fetched")


def test_root_is_not_left(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    noise().save(tmp_path / "secret.png")
    noise().save(root / "sub" / "a.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "outdir").symlink_to(tmp_path)
    (root / "in.png").symlink_to(root / "sub" / "a.png")
    (root / "circle").symlink_to(root / "circle")
    for path in ("out.png", "outdir/secret.png", "../secret.png", "sub/../../secret.png"):
        refused(path, f"lies outside {root}", root=root)
    refused(tmp_path / "secret.png", "lies outside", root=root)
    refused("circle", "", root=root)
    refused("a\0b".replace("\0", ""), "no such file", Missing, root=root)
    for path in ("sub/a.png", "in.png", str(root / "sub" / "a.png"), "sub/../in.png"):
        assert images.load(path, root=root).tobytes() == noise().tobytes()
    # A user's own path, without a root, may be a link.
    assert images.load(root / "out.png").size == (120, 80)


def test_file_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.png"
    with path.open("wb") as sparse:
        sparse.truncate(images.MAX_FILE_BYTES + 1)
    refused(path, "file over 64 MB")
    with pytest.raises(BadImage, match=r"^<bytes>: file over 64 MB"):
        images.load(bytes(images.MAX_FILE_BYTES + 1))


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
