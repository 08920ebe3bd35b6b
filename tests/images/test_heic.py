"""HEIC, which needs an extra: decoded pixels, refused files, and the error without the extra.

Files are written by pillow-heif's encoder, which is not what reads them, and then damaged by hand.
"""

import builtins
import io
import resource
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadImage

HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture(scope="module")
def heif() -> Any:
    return pytest.importorskip("pillow_heif", reason="needs the extra [heic]")


def heic(heif: Any, image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def squares() -> Image.Image:
    grey = np.array([[10, 60], [110, 160], [210, 250]], dtype=np.uint8)
    return Image.fromarray(np.repeat(np.repeat(grey, 32, 0), 32, 1)).convert("RGB")


def boxes(data: bytes, *path: bytes) -> tuple[int, int]:
    """Where the content of a box lies, by the kinds of those around it."""
    start, end = 0, len(data)
    for kind in path:
        while True:
            size = int.from_bytes(data[start : start + 4], "big")
            if data[start + 4 : start + 8] == kind:
                end, start = start + size, start + 8 + 4 * (kind in (b"meta", b"iref"))
                break
            start += size
            assert size and start < end
    return start, end


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pillow_heif"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadImage, match=r"needs an extra: pip install 'rag-vqa\[heic\]'"):
        images.load(HEAD)


def test_pixels(heif: Any) -> None:
    for picture in (squares(), squares().convert("L"), squares().convert("RGBA")):
        image = images.load(heic(heif, picture))
        assert type(image) is Image.Image and image.mode == "RGB" and image.info == {}
        difference = np.asarray(image).astype(int) - np.asarray(squares())
        assert np.abs(difference).max() <= 3  # of a codec whose colours are not RGB


def test_pillows_registry_does_not_change(heif: Any) -> None:
    content = heic(heif, squares())
    images.load(content)
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(content))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_one_picture(heif: Any, orientation: int) -> None:
    # TIFF 6.0: where row 0 and column 0 of what is stored lie on the upright picture.
    upright = np.asarray(squares())
    turned = upright.transpose(1, 0, 2)
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: turned,
              6: turned[::-1], 7: turned[::-1, ::-1], 8: turned[:, ::-1]}  # fmt: skip
    tags = Image.Exif()
    tags[274] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored[orientation]))
    content = heic(heif, picture, exif=tags.tobytes())
    assert (b"irot" in content or b"imir" in content) == (orientation > 1)
    # The format itself says how it lies, apart from EXIF: so it is turned with and without.
    for exif in (True, False):
        image = np.asarray(images.load(content, exif=exif)).astype(int)
        assert image.shape == upright.shape and np.abs(image - upright).max() <= 3


def test_metadata_is_not_read_and_several_pictures_are_one(heif: Any) -> None:
    tags = Image.Exif()
    tags[270] = "secret"
    several = heif.from_pillow(squares())
    several.add_from_pillow(Image.new("RGB", (64, 64), "red"))
    several.info["exif"], buffer = tags.tobytes(), io.BytesIO()
    several.save(buffer, quality=-1, exif=tags.tobytes(), xmp=b"<x/>")
    assert b"secret" in buffer.getvalue()
    image = images.load(buffer.getvalue())
    assert (image.size, image.info) == ((64, 96), {})
    assert np.abs(np.asarray(image).astype(int) - np.asarray(squares())).max() <= 9


def test_truncated(heif: Any) -> None:
    whole = heic(heif, Image.effect_noise((120, 80), 90).convert("RGB"))
    for size in (12, 40, len(whole) // 10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(BadImage, match=r"^<bytes>: "):
            images.load(whole[:size])


def test_only_our_errors_come_out_of_damaged_files(heif: Any) -> None:
    whole = heic(heif, squares())
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(12, min(len(whole), 500), 4):
            damaged[at] = rng.integers(256)
        try:
            image = images.load(bytes(damaged))
        except BadImage as error:
            assert str(error).isprintable()
        else:
            assert image.mode == "RGB"


def test_size_is_refused_by_the_header(heif: Any) -> None:
    content = bytearray(heic(heif, squares()))
    at = content.index(b"ispe") + 8
    content[at : at + 8] = struct.pack(">II", 50_000, 50_000)
    with pytest.raises(BadImage, match=r"50000x50000 pixels, over 64 million|Security limit"):
        images.load(bytes(content))


def test_a_header_that_says_less_than_is_coded(heif: Any) -> None:
    content = bytearray(heic(heif, Image.new("RGB", (1_600, 1_000))))
    at = content.index(b"ispe") + 8
    content[at : at + 8] = struct.pack(">II", 16, 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadImage):
        images.load(bytes(content))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 3e6


@pytest.mark.parametrize("said", ["whole", "beyond", "nothing"])
def test_items_that_share_their_megabytes(heif: Any, said: str) -> None:
    """Extents without a length, each of which is the whole file, or that lead out of the file."""
    content = bytearray(heic(heif, squares(), exif=b"Exif\0\0" + bytes(50)))
    start, end = boxes(bytes(content), b"meta", b"iloc")
    assert content[start] in (0, 1) and content[start + 4 : start + 8] == b"\x44\x40\x00\x02"
    if said == "beyond":  # the last field is the length of the last extent
        content[end - 4 : end] = b"\x7f\xff\xff\xff"
    elif said == "whole":
        content[end - 4 : end] = bytes(4)
    else:  # 65,535 extents of no bytes each, in each of 65,535 items
        content[start + 4 : start + 8] = b"\0\0\xff\xff"
        content[start + 8 : end] = (b"\0\1\0\0\xff\xff" * 99)[: end - start - 8]
    with pytest.raises(BadImage, match="items overlap, or are truncated"):
        images.load(bytes(content))


def test_metadata_without_end(heif: Any) -> None:
    content = heic(heif, squares())
    start, end = boxes(content, b"meta")
    free = struct.pack(">I", 300_000) + b"free" + bytes(299_992)
    size = struct.pack(">I", end - start + 12 + len(free))
    bomb = content[: start - 12] + size + content[start - 8 : end] + free + content[end:]
    with pytest.raises(BadImage, match="too much metadata"):
        images.load(bomb)


def described_by_one(content: bytes) -> bytes:
    """The file with its one block of metadata referring to all of its pictures."""
    start, end = boxes(content, b"meta", b"iref", b"cdsc")
    (_, top), (inner, _) = boxes(content, b"meta"), boxes(content, b"meta", b"iref")
    where, last = boxes(content, b"meta", b"iloc")
    items = range(where + 8, last, 18)  # id, reference, base, one extent of offset and length
    source = content[start : start + 2]
    pictures = [content[at : at + 2] for at in items if content[at : at + 2] != source]
    longer = source + struct.pack(">H", len(pictures)) + b"".join(pictures)
    grown, changed = len(longer) - (end - start), bytearray(content)
    for box in (start - 8, inner - 12, boxes(content, b"meta")[0] - 12):
        (size,) = struct.unpack_from(">I", content, box)
        struct.pack_into(">I", changed, box, size + grown)
    for at in items:
        (base,) = struct.unpack_from(">I", content, at + 4)
        assert base >= top
        struct.pack_into(">I", changed, at + 4, base + grown)
    return bytes(changed[:start]) + longer + bytes(changed[end:])


def test_resident_memory_of_many_pictures_with_one_block_of_metadata(heif: Any) -> None:
    """In a process of its own: 40 pictures that one block of 8 MB describes."""
    script = """
import resource, sys
from rag_vqa import images
content = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(images.load(content).size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    several = heif.from_pillow(Image.new("RGB", (64, 64)))
    for _ in range(39):
        several.add_from_pillow(Image.new("RGB", (64, 64)))
    buffer = io.BytesIO()
    several.save(buffer, xmp=b"x" * 8_000_000)
    bomb = described_by_one(buffer.getvalue())
    run = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(b"(64, 64) ")
    assert int(run.stdout.split()[-1]) * 1024 < 100e6
