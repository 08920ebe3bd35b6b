"""A thousand mutated files of each format: a picture or BadImage comes out, in time and memory.

Nightly; `python -m pytest -m nightly tests/images/test_mutated.py -n0 -rP` prints the counts.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from mutation import check_mutations
from picture_files import chunk, exif, file, gif, noise
from PIL import Image

from rag_vqa import images
from rag_vqa.data_address import decode_data_address
from rag_vqa.errors import BadImage

FILES = 1_000
Corpus = Callable[[], list[bytes]]


def photograph(width: int = 96, height: int = 64) -> Image.Image:
    return noise(width // 8, height // 8).resize((width, height), 3)


def modes(format: str, *names: str, **options: object) -> list[bytes]:
    return [file(photograph().convert(name), format, **options) for name in names]


def jpegs() -> list[bytes]:
    found = modes("JPEG", "RGB", "L", "CMYK", exif=exif(6))
    found += modes("JPEG", "RGB", "L", progressive=True)
    found += modes("JPEG", "RGB", subsampling=0, restart_marker_blocks=2, comment=b"a comment")
    return [*found, file(photograph(), "MPO", save_all=True, append_images=[photograph()])]


def pngs() -> list[bytes]:
    found = modes("PNG", "RGB", "RGBA", "L", "LA", "P", "1", "I;16", exif=exif(6))
    text = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\n4d4d002a\n"))
    frames = [photograph(), photograph()]
    return [
        *found,
        found[0][:33] + text + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(99))) + found[0][33:],
        file(photograph(), "PNG", save_all=True, append_images=frames),
    ]


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are written anew, as far as they can be followed."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size > len(data):
            break
        parts.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return b"".join((*parts, data[at:]))


def tiffs() -> list[bytes]:
    found = modes("TIFF", "RGB", "L", "1", "CMYK", "P", "I;16", "RGBA")
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found += modes("TIFF", "RGB", compression=packing)
    return found + modes("TIFF", "1", compression="group4")


def webps() -> list[bytes]:
    found = modes("WEBP", "RGB", "RGBA", exif=exif(6))
    found += modes("WEBP", "RGB", lossless=True)
    return [*found, file(photograph(), "WEBP", save_all=True, append_images=[noise(96, 64)])]


def gifs() -> list[bytes]:
    several = file(photograph(), "GIF", save_all=True, append_images=[noise(96, 64)] * 2)
    return [*modes("GIF", "RGB", "L", "1"), gif(9, 9, frames=5), several]


def avifs() -> list[bytes]:
    found = modes("AVIF", "RGB", "RGBA", "L", exif=exif(6))
    return [*found, file(photograph(), "AVIF", save_all=True, append_images=[noise(96, 64)])]


def heics() -> list[bytes]:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra [heic]")
    found = []
    for mode in ("RGB", "RGBA", "L"):
        buffer = io.BytesIO()
        heif.from_pillow(photograph().convert(mode)).save(buffer, quality=60, exif=exif(6))
        found.append(buffer.getvalue())
    return found


def jxls() -> list[bytes]:
    module = pytest.importorskip("pillow_jxl", reason="needs the extra [jxl]")
    found = modes("JXL", "RGB", "L", "RGBA", lossless=True)
    found += modes("JXL", "RGB", use_container=True, exif=exif(6))
    jpeg = file(photograph(), "JPEG", exif=exif(6))
    encoder = module.Encoder(mode="RGB", quality=90)
    return [*found, encoder(jpeg, 96, 64, jpeg_encode=True)]


FORMATS: dict[str, Corpus] = {
    "JPEG": jpegs,
    "PNG": pngs,
    "TIFF": tiffs,
    "WebP": webps,
    "GIF": gifs,
    "BMP": lambda: modes("BMP", "RGB", "L", "P", "1", "RGBA"),
    "AVIF": avifs,
    "HEIC": heics,
    "JPEG XL": jxls,
}


def load(data: bytes) -> None:
    try:
        image = images.load(data)
    except BadImage as error:
        message = str(error)
        assert message.startswith("<bytes>: ") and message.isprintable() and len(message) < 500
        raise
    assert type(image) is Image.Image and image.mode == "RGB"
    np.asarray(image)


def check(name: str, count: int, seed: int) -> None:
    corpus = FORMATS[name]()
    for data in corpus:
        load(data)
    repair = with_right_checksums if name == "PNG" else None
    ends = check_mutations(load, corpus, count, (BadImage,), seed=seed, repair=repair)
    print(f"{name}: {dict(ends)}")
    assert sum(ends.values()) == count
    assert ends["BadImage"] > count // 50  # or nothing was damaged
    assert ends["done"] >= 1  # or nothing was read


@pytest.mark.parametrize("name", FORMATS)
def test_a_few_mutated_files(name: str) -> None:
    check(name, 60, seed=1)


@pytest.mark.nightly
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_mutated_files(name: str) -> None:
    check(name, FILES, seed=2)


@pytest.mark.nightly
def test_a_thousand_mutated_data_addresses() -> None:
    corpus = [b"data:image/png;base64,iVBORw0KGgo=", b"data:image/svg+xml,%3Csvg/%3E",
              b'data:image/png;name="a,b";charset=utf-8;base64,iVBO Rw0K GgoA']  # fmt: skip
    tokens = (b";base64", b",", b"%", b"data:", b'"', b"=", b"\\n", b"\xc2\xa0")

    def decode(data: bytes) -> None:
        decode_data_address(data.decode("utf-8", "surrogateescape"))

    ends = check_mutations(decode, corpus, FILES, (BadImage,), tokens=tokens)
    print(f"data addresses: {dict(ends)}")
    assert ends["done"] and ends["BadImage"]
