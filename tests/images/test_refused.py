"""Refused images: other files, damaged ones, and those that would exhaust the machine."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from picture_files import FORMATS, RED, bmp, chunk, file, gif, noise, png, refused, tiff
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadImage, Missing

# Wrong content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty (0 bytes)"),
        (b"\0" * 100, "not a picture"),
        (b"hello", "not a picture"),
        (b"<!DOCTYPE html><html><img src=x></html>", "HTML is not supported"),
        (
            b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
            "SVG is not supported",
        ),
        (b"<svg><rect width='9' height='9'/></svg>", "SVG is not supported"),
        (b"%PDF-1.7\n", "PDF is not supported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS is not supported"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0mif1hevc", "a sequence of HEIC pictures is not supported"),
        (
            b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3),
            "PSD is not supported",
        ),
        (b"SIMPLE  =                    T".ljust(2880), "FITS is not supported"),
        (b"\0\0\1\0\1\0" + b"\0" * 16, "ICO is not supported"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    refused(path, reason)
    refused(content, reason)


@pytest.mark.parametrize("format", ["PPM", "TGA", "PCX", "ICO", "JPEG2000", "ICNS", "DDS", "SGI"])
def test_formats_off_the_list_are_refused(format: str) -> None:
    refused(file(noise(32, 32), format), "PNG, JPEG, WebP, GIF, BMP and TIFF are supported")


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
@pytest.mark.parametrize("name", [b"Comment", b"Raw profile type exif"])
def test_png_text_bomb_is_not_unpacked(kind: bytes, name: bytes) -> None:
    bomb = zlib.compress(b"\0" * 400_000_000, 9)
    before = name + (b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0")
    content = png(1, 1, zlib.compress(b"\0\xff\0\0"), *[chunk(kind, before + bomb)] * 20)
    start = time.monotonic()
    tracemalloc.start()
    assert images.load(content).getpixel((0, 0)) == RED
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6 and time.monotonic() - start < 5


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
