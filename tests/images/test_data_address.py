"""`data:` addresses as programs write them; expected bytes come from Python's own base64."""

import base64
import urllib.parse

import pytest
from picture_files import file, noise
from PIL import Image

from rag_vqa import images
from rag_vqa.data_address import decode_data_address, describe_data_address, is_data_address
from rag_vqa.errors import BadImage

PICTURE = file(noise(40, 30), "PNG")
PACKED = base64.b64encode(PICTURE).decode()
# Three bytes that need each odd letter: + and / of base64, - and _ of the alphabet for URLs.
ODD = bytes(range(256)) * 3


def wrap(text: str, width: int, end: str) -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize(
    "address",
    [
        f"data:image/png;base64,{PACKED}",
        f"DATA:IMAGE/PNG;BASE64,{PACKED}",
        f"data:;base64,{PACKED}",
        f"data:image/jpeg;base64,{PACKED}",  # the bytes decide
        f"data:application/octet-stream;base64,{PACKED}",
        f"data:image/png;charset=utf-8;base64,{PACKED}",
        f"data:image/png;base64;charset=utf-8,{PACKED}",
        f'data:image/png;name="left, top.png";base64,{PACKED}',
        f"data: image/png ; base64 , {PACKED}",
        f"\n  data:image/png;base64,{PACKED}\n",
        f'"data:image/png;base64,{PACKED}"',
        f"data:image/png;base64,{wrap(PACKED, 76, chr(10))}\n",
        f"data:image/png;base64,{wrap(PACKED, 64, chr(13) + chr(10) + '    ')}",
        f"data:image/png;base64,{wrap(PACKED, 76, ' ')}",
        f"data:image/png;base64,{wrap(PACKED, 76, chr(92) + 'n')}",
        f"data:image/png;base64,{PACKED.rstrip('=')}",
        f"data:image/png;base64,{PACKED}==",
        f"data:image/png;base64,{base64.urlsafe_b64encode(PICTURE).decode()}",
        f"data:image/png;base64,{urllib.parse.quote(PACKED, safe='')}",
        f"data:image/png;base64,{PACKED.replace('+', ' ')}",  # posted by a web form
        f"data:image/png;base64,{PACKED.replace('/', chr(92) + '/')}",  # PHP's JSON, twice
        f"data:image/png,{PACKED}",  # ";base64" forgotten
        f"data:image/png,{urllib.parse.quote_from_bytes(PICTURE)}",
        PACKED,
        wrap(PACKED, 76, "\n"),
    ],
)
def test_what_programs_write(address: str) -> None:
    assert is_data_address(address)
    assert decode_data_address(address) == PICTURE


@pytest.mark.parametrize("cut", range(1, 9))
def test_every_letter_and_every_padding(cut: int) -> None:
    for pack in (base64.b64encode, base64.urlsafe_b64encode):
        packed = pack(ODD[:-cut]).decode()
        for text in (packed, packed.rstrip("="), packed.replace("+", "%2B")):
            assert decode_data_address("data:;base64," + text) == ODD[:-cut]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("data:", "cut short"),
        ("data:image/png;base64", "cut short"),
        ("data:image/png;base64,", "empty"),
        ("data:,", "empty"),
        (f"data:image/png;base64,{PACKED[:101]}", "cut short"),
        ("data:image/png;base64,iVBO!w0KGgo=", r"not valid base64: '!' at letter 5 of 11"),
        ("data:image/png;base64,AAAA=BBB", "not valid base64: '='"),
        ("data:image/png;base64,iVBO…", "not valid base64"),
        ("data:image/png;base64,\udc80", "not valid base64"),
        ("data:image/png;base64,%\ud800", "not valid base64"),
        (f"data:text/html;base64,{base64.b64encode(b'<html>').decode()}", "holds text/html"),
        ("data:video/mp4;base64,AAAA", "holds video/mp4, no picture"),
        ("data:te\nxt/\x1b;base64,AAAA", r"holds te\\nxt/\\x1b, no picture"),
    ],
)
def test_what_is_refused_and_why(address: str, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as caught:
        decode_data_address(address)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "address",
    [
        "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg'/>",
        "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E",
        "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(),
    ],
)
def test_svg_is_named(address: str) -> None:
    with pytest.raises(BadImage, match=r"^plan: SVG"):
        images.load(decode_data_address(address), name="plan")


@pytest.mark.parametrize(
    "name",
    [
        "photo.png", "data/photo.png", "database.png", "iVBORw0KGgo.png", "/9j/scan.jpg", "R0lGOD",
        "https://x.example/data:image/png;base64,AAAA", "", "a" * 500, "x/" + "iVBORw0KGgo" * 9,
        "R0lGOD" + "a" * 90 + ".gif",
    ],
)  # fmt: skip
def test_names_of_files_are_no_data_addresses(name: str) -> None:
    assert not is_data_address(name)


def test_bare_base64_of_each_format_is_known() -> None:
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF"):
        content = file(Image.new("RGB", (64, 64), "red"), format)
        packed = base64.b64encode(content).decode()
        assert is_data_address(packed), format
        assert decode_data_address(packed) == content


def test_a_short_name_for_lists() -> None:
    address = f"data:image/png;base64,{PACKED}"
    assert describe_data_address(address) == f"data:image/png ({len(address):,} characters)"
    assert len(describe_data_address("data:" + "x" * 10**6)) < 100
    assert describe_data_address(PACKED).startswith("base64 (")
