"""What phones, cameras and the web make today: AVIF, JPEG XL, MPO, odd EXIF, odd PNG.

Files are written by Pillow, by pillow-jxl, and by hand after the formats' own documents.
"""

from __future__ import annotations

import builtins
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import BLUE, GREEN, RED, chunk, exif, file, noise, png, refused
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadImage
from rag_vqa.jxl_process import decode_jxl


def squares() -> Image.Image:
    """2 wide, 3 high (times 32): all squares different, none symmetric."""
    grey = np.array([[10, 60], [110, 160], [210, 250]], dtype=np.uint8)
    return Image.fromarray(np.repeat(np.repeat(grey, 32, 0), 32, 1)).convert("RGB")


def stored(orientation: int) -> Image.Image:
    """The squares as they are stored under this orientation (TIFF 6.0)."""
    upright = np.asarray(squares())
    turned = upright.transpose(1, 0, 2)
    found = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: turned,
             6: turned[::-1], 7: turned[::-1, ::-1], 8: turned[:, ::-1]}  # fmt: skip
    return Image.fromarray(np.ascontiguousarray(found[orientation]))


def is_squares(image: Image.Image, most: int = 4) -> bool:
    if image.size != (64, 96):
        return False
    return np.abs(np.asarray(image).astype(int) - np.asarray(squares())).max() <= most


def without(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


# AVIF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_lies_as_its_header_says(orientation: int) -> None:
    content = file(stored(orientation), "AVIF", quality=100, exif=exif(orientation))
    assert (b"irot" in content or b"imir" in content) == (orientation > 1)
    assert is_squares(images.load(content))
    assert is_squares(images.load(content, exif=False))


def test_avif_of_every_mode_and_the_first_of_several() -> None:
    for mode in ("L", "RGB", "RGBA", "LA"):
        assert is_squares(images.load(file(squares().convert(mode), "AVIF", quality=100)))
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    content = file(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=100)
    assert b"avis" in content[:32]
    assert np.abs(np.asarray(images.load(content)).astype(int) - RED).max() <= 4


def test_avif_whose_major_brand_is_of_all_heif() -> None:
    content = file(squares(), "AVIF", quality=100)
    assert content[8:12] == b"avif"
    assert is_squares(images.load(content.replace(b"ftypavif", b"ftypmif1", 1)))


def test_avif_without_pillows_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    content = file(squares(), "AVIF")
    with monkeypatch.context() as patch:
        patch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
        refused(content, r"AVIF needs Pillow 11.3: pip install -U pillow")
    without(monkeypatch, "PIL.AvifImagePlugin")
    refused(content, r"AVIF needs Pillow 11.3: pip install -U pillow")


def test_avif_that_is_cut_or_too_large() -> None:
    whole = file(noise(120, 80), "AVIF")
    for size in (12, 40, len(whole) // 10, len(whole) // 2, len(whole) - 20):
        refused(whole[:size], "")
    content = bytearray(whole)
    at = content.index(b"ispe") + 8
    content[at : at + 8] = struct.pack(">II", 9_000, 9_000)
    refused(bytes(content), "9000x9000 pixels, over 64 million")


# JPEG XL


@pytest.fixture
def jxl() -> Any:
    module = pytest.importorskip("pillow_jxl", reason="needs the extra [jxl]")
    return lambda image, **options: file(image, "JXL", **{"lossless": True, **options}), module


def test_jxl_is_what_was_drawn(jxl: Any) -> None:
    write, _ = jxl
    for size in ((120, 80), (1, 1), (640, 480), (37, 211), (300, 100)):
        for container in (False, True):
            content = write(noise(*size), use_container=container)
            assert content.startswith(b"\0\0\0\x0cJXL " if container else b"\xff\x0a")
            image = images.load(content)
            assert type(image) is Image.Image and image.info == {}
            assert image.tobytes() == noise(*size).tobytes()
    for mode in ("L", "LA", "RGBA"):
        assert is_squares(images.load(write(squares().convert(mode))), 0)
    deep = Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16))
    assert np.asarray(images.load(write(deep)))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jxl_is_turned_once(jxl: Any, orientation: int, tmp_path: Path) -> None:
    """Made of a JPEG, it says twice how it lies: the decoder turns it by its own header."""
    write, module = jxl
    path = tmp_path / "photo.jpg"
    stored(orientation).save(path, quality=100, subsampling=0, exif=exif(orientation))
    size = stored(orientation).size
    content = module.Encoder(mode="RGB", quality=90)(path.read_bytes(), *size, jpeg_encode=True)
    assert b"jbrd" in content
    assert is_squares(images.load(content)) and is_squares(images.load(content, exif=False))
    # By EXIF alone, as pillow-jxl writes it.
    content = write(stored(orientation), exif=exif(orientation))
    assert is_squares(images.load(content), 0)
    assert images.load(content, exif=False).size == size


def test_jxl_without_the_extra(jxl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = jxl[0](squares())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(content, r"JPEG XL needs an extra: pip install 'rag-vqa[jxl]', or save it as JPEG")


def test_jxl_that_is_cut_or_too_large(jxl: Any) -> None:
    for container in (False, True):
        whole = jxl[0](noise(120, 80), use_container=container)
        for size in (3, 20, 60, len(whole) // 2, len(whole) - 1):
            refused(whole[:size], "")
    # The fields of its header, the lowest bit first: not small, 18 bits of height, same width.
    bits = 0 | 2 << 1 | 69_999 << 3 | 1 << 21
    refused(b"\xff\x0a" + bits.to_bytes(16, "little"), "70000x70000 pixels, over 64 million")
    bits = 0 | 1 << 1 | 8_000 << 3 | 0 << 16 | 1 << 19 | 7_999 << 21
    refused(b"\xff\x0a" + bits.to_bytes(16, "little"), "8000x8001 pixels, over 64 million")


def test_jxl_that_moves_is_refused() -> None:
    """By libjxl: 64x48 pixels in red, green, blue, white. The decoder gives the last of them."""
    moving = bytes.fromhex(
        "ff0acb044d0020260804010044004b188b15805dfeff006253d50280d98e3f0804010044004b188b"
        "15805dfeff00ce36d302c06d8c3f0804010044004b188b15805dfeff00e236d302c06d8c3f080405"
        "0044004b188b15805dfeff0000122d001c8df903"
    )
    refused(moving, "an animation in JPEG XL is not supported")


def test_jxl_under_limits(jxl: Any) -> None:
    content = jxl[0](noise(640, 480))
    assert decode_jxl(content).tobytes() == noise(640, 480).tobytes()
    with pytest.raises(ValueError, match="libjxl cannot"):
        decode_jxl(content, memory=20 * 2**20)
    with pytest.raises(ValueError, match="decoding takes over -5 seconds"):
        decode_jxl(content, seconds=-5)
    for damaged in (b"", b"no picture", content[:300]):
        with pytest.raises(ValueError, match="libjxl cannot decode it"):
            decode_jxl(damaged)
    assert "pillow_jxl.JpegXLImagePlugin" not in subprocess.run(
        [sys.executable, "-c", "import sys; from rag_vqa import images; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


# Several pictures in a file


def test_mpo_is_its_first_picture() -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in (RED, GREEN)]
    content = file(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert np.abs(np.asarray(images.load(content)).astype(int) - RED).max() <= 4
    # And still is, when the second was lost on the way.
    assert images.load(content[: len(content) * 2 // 3]).size == (64, 48)


# EXIF


def block(order: str, kind: int, value: int) -> bytes:
    """EXIF of one entry, the orientation, in either order of bytes and in any whole type."""
    packed = {1: f"{order}B3x", 3: f"{order}H2x", 4: f"{order}I", 8: f"{order}h2x"}[kind]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
    entry = struct.pack(f"{order}HHI", 274, kind, 1) + struct.pack(packed, value)
    return b"Exif\0\0" + head + entry + b"\0\0\0\0"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4, 8])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_of_both_orders_and_of_other_types(order: str, kind: int, format: str) -> None:
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(format, {})
    content = file(stored(6), format, exif=block(order, kind, 6), **options)
    assert is_squares(images.load(content))
    assert images.load(content, exif=False).size == (96, 64)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_both_orders(order: str) -> None:
    pixels = np.asarray(stored(6).convert("L"))
    entries = [(256, 4, 96), (257, 4, 64), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 122),
               (274, 3, 6), (278, 4, 64), (279, 4, 96 * 64)]  # fmt: skip
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    for tag, kind, value in entries:
        content += struct.pack(f"{order}HHI", tag, kind, 1)
        content += struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", value)
    content += b"\0\0\0\0" + pixels.tobytes()
    assert is_squares(images.load(content), 0)
    assert images.load(content, exif=False).size == (96, 64)


def test_exif_with_a_thumbnail_that_lies_otherwise() -> None:
    thumbnail = file(Image.new("RGB", (16, 16)), "JPEG")
    first = struct.pack(">H", 1) + struct.pack(">HHIH2x", 274, 3, 1, 6) + struct.pack(">I", 26)
    second = struct.pack(">H", 3) + struct.pack(">HHIH2x", 274, 3, 1, 1)
    second += struct.pack(">HHII", 513, 4, 1, 68) + struct.pack(">HHII", 514, 4, 1, len(thumbnail))
    data = b"Exif\0\0MM\0*\0\0\0\x08" + first + second + bytes(4) + thumbnail
    assert is_squares(images.load(file(stored(6), "JPEG", quality=100, exif=data)))


# JPEG of careless programs


def test_bytes_between_the_markers_of_a_jpeg() -> None:
    whole = file(squares(), "JPEG", quality=100, comment=b"x")
    expected = images.load(whole).tobytes()
    at = whole.index(b"\xff\xfe")
    for junk in (
        b"\0" * 9,
        b"\xff\xff\xff",
        b"\xff\0\xff\0",
        b"\x01\x02",
        b"\xff\x01",
        b"\xff\xd0",
    ):
        assert images.load(whole[:at] + junk + whole[at:]).tobytes() == expected
    refused(whole[:at] + b"\0" * 100_000 + whole[at:], "")


# WebP and what else is sloppy


def odd_webp() -> bytes:
    """With an odd number of bytes of pixels, which one zero fills up."""
    content = file(noise(10, 8).resize((100, 80)), "WEBP")
    size = int.from_bytes(content[16:20], "little") + 1
    return content[:16] + struct.pack("<I", size) + content[20:] + b"\0\0"


def test_webp_of_careless_programs() -> None:
    whole = odd_webp()
    expected = Image.open(io.BytesIO(file(noise(10, 8).resize((100, 80)), "WEBP"))).tobytes()
    assert images.load(whole).tobytes() == expected
    head, rest = whole[:4], whole[8:]
    for size in (len(rest) - 10, len(rest) - 1, len(rest) + 1, 0, 2**32 - 1):
        assert images.load(head + struct.pack("<I", size) + rest).tobytes() == expected
    assert images.load(whole[:-1]).tobytes() == expected  # without the byte that fills it up
    assert images.load(whole + b"trailer").tobytes() == expected
    for cut in (2, 10, 500):
        refused(whole[:-cut], "its end is missing")


def test_webp_whose_metadata_is_cut_or_damaged() -> None:
    whole = file(stored(6), "WEBP", lossless=True, exif=exif(6), icc_profile=bytes(200), xmp=b"<x>")
    assert is_squares(images.load(whole), 0)
    assert images.load(whole, exif=False).size == (96, 64)
    assert images.load(whole[:-3]).size == (64, 96)  # in the XMP
    at = whole.index(b"EXIF")
    assert images.load(whole[: at + 10]).size == (96, 64)


def test_what_follows_the_boxes() -> None:
    contents = [file(squares(), "AVIF", quality=100)]
    try:
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(squares()).save(buffer, quality=-1, chroma=444)
        contents.append(buffer.getvalue())
        contents.append(file(squares(), "JXL", lossless=True, use_container=True))
    except (ImportError, KeyError):
        pass
    for content in contents:
        for trailer in (b"x", b"SEFHe\0\0\0\1\2\3\4SEFT", bytes(4_096), b"junk" * 99):
            assert is_squares(images.load(content + trailer))


# PNG


def raw_profile(data: bytes) -> bytes:
    """As ImageMagick writes it: name, size, hexadecimal digits in lines of 72."""
    digits = data.hex()
    lines = "".join(f"{digits[at : at + 72]}\n" for at in range(0, len(digits), 72))
    return f"\nexif\n{len(data):8d}\n{lines}".encode()


@pytest.mark.parametrize("name", [b"exif", b"APP1", b"EXIF"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"packed iTXt"])
def test_exif_that_imagemagick_wrote_into_a_png(name: bytes, kind: bytes) -> None:
    text = raw_profile(block(">", 3, 6) + bytes(300))
    key = b"Raw profile type " + name + b"\0"
    content = {
        b"tEXt": key + text,
        b"zTXt": key + b"\0" + zlib.compress(text),
        b"iTXt": key + b"\0\0\0\0" + text,
        b"packed iTXt": key + b"\1\0\0\0" + zlib.compress(text),
    }[kind]
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(stored(6))))
    whole = png(96, 64, pixels, chunk(kind[-4:], content))
    assert is_squares(images.load(whole), 0)
    assert images.load(whole, exif=False).size == (96, 64)
    xmp = chunk(b"tEXt", b"Raw profile type APP1\0" + raw_profile(b"http://ns.adobe.com/xap/1.0/"))
    assert is_squares(images.load(png(96, 64, pixels, xmp, chunk(kind[-4:], content))), 0)
    broken = chunk(b"zTXt", key + b"\0" + b"no zlib")
    assert images.load(png(96, 64, pixels, broken)).size == (96, 64)


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"zTXt", b"Comment\0\0no zlib at all"),
        chunk(b"zTXt", b"Comment\0\7" + zlib.compress(b"x")),  # an unknown compression
        chunk(b"iTXt", b"Comment"),
        chunk(b"tEXt", b"")[:-4] + b"\0\0\0\0",  # a wrong checksum
        chunk(b"iCCP", b"icc\0\0no zlib"),
        chunk(b"iCCP", b"\0" * 80),
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\0" * 3),
        chunk(b"tRNS", b""),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", b"\0" * 9),
        chunk(b"sRGB", b""),
        chunk(b"tIME", b"\0\1"),
        chunk(b"vpAg", b"\0" * 9),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 10_000_000)),  # over Pillow's limit
    ],
    ids=lambda odd: odd[4:30].hex(),
)
def test_a_bad_chunk_beside_the_pixels_spoils_no_png(odd: bytes) -> None:
    rows = zlib.compress(b"\0\xff\0\0")
    assert images.load(png(1, 1, rows, odd)).getpixel((0, 0)) == RED


def test_png_whose_end_is_missing_but_no_pixel() -> None:
    whole = file(noise(60, 40), "PNG")
    end = whole.index(b"IEND") - 4
    for content in (whole[:end], whole[: end - 4], whole[: end + 6], whole + b"trailer" * 99):
        assert images.load(content).tobytes() == noise(60, 40).tobytes()
    refused(whole[: end - 200], "truncated")


def test_animated_png_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    for default in (False, True):
        content = file(frames[0], "PNG", save_all=True, append_images=frames, default_image=default)
        assert images.load(content).getpixel((0, 0)) == RED


@pytest.mark.parametrize("samples", [3, 1, 4, 2])
def test_png_and_tiff_of_16_bits(samples: int) -> None:
    """By hand: Pillow writes none but grey. What is drawn is the high byte."""
    colour = {1: 0, 3: 2, 4: 6, 2: 4}[samples]
    values = np.random.default_rng(3).integers(0, 65536, (5, 7, samples), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 7, 5, 16, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    image = np.asarray(images.load(content + chunk(b"IEND", b""))).astype(int)
    high = (values >> 8).astype(int)
    expected = high[..., :3] if samples > 2 else np.repeat(high[..., :1], 3, 2)
    assert np.abs(image - expected).max() <= 1
    if samples == 3:
        entries = [(256, 4, 7), (257, 4, 5), (258, 3, 16), (259, 3, 1), (262, 3, 2), (273, 4, 128),
                   (277, 3, 3), (278, 4, 5), (279, 4, 7 * 5 * 6)]  # fmt: skip
        tiff = b"II*\0" + struct.pack("<IH", 8, len(entries))
        for tag, kind, value in entries:
            count, value = (3, 122) if tag == 258 else (1, value)
            tiff += struct.pack("<HHII", tag, kind, count, value)
        tiff += b"\0\0\0\0" + struct.pack("<3H", 16, 16, 16) + values.astype("<u2").tobytes()
        found = np.asarray(images.load(tiff)).astype(int)
        assert np.abs(found - high).max() <= 1


def test_fax_and_other_tiffs() -> None:
    page = Image.new("1", (64, 32), 1)
    page.paste(0, (8, 8, 40, 24))
    for compression in ("group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw", "jpeg", None):
        drawn = page.convert("L") if compression == "jpeg" else page
        image = images.load(file(drawn, "TIFF", compression=compression))
        assert image.getpixel((10, 10)) == (0, 0, 0) or compression == "jpeg"
        assert image.getpixel((60, 30))[0] > 250 and image.getpixel((20, 16))[0] < 6


def test_palettes() -> None:
    drawn = noise(40, 30).quantize(16)
    for format in ("PNG", "GIF", "BMP", "TIFF", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        found = images.load(file(drawn, format, **options))
        assert found.tobytes() == drawn.convert("RGB").tobytes()
    transparent = file(drawn, "PNG", transparency=bytes(range(0, 256, 16)))
    assert images.load(transparent).tobytes() == drawn.convert("RGB").tobytes()


def test_samples_that_have_no_agreed_white_are_named() -> None:
    with pytest.raises(BadImage, match="32-bit samples"):
        images.load(file(Image.new("F", (2, 2)), "TIFF"))


def test_memory_of_what_is_decoded_by_itself() -> None:
    content = file(Image.new("RGB", (4_000, 3_000)), "PNG")
    tracemalloc.start()
    images.load(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
