"""Files under a picture's name that are none: named as what they are, in one line."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from picture_files import file, noise, refused
from PIL import Image

from rag_vqa import images
from rag_vqa.errors import BadImage


def zipped(*names: str, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name in names:
            archive.writestr(name, b"content " * 99)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("photo.jpg")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"photo"))
    return buffer.getvalue()


def boxes(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\2\0" + brand + b"mp41" + b"\0\0\0\x08free" + bytes(99)


POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""
PAGE = b"<!DOCTYPE html>\n<html lang=de><head><title>404 Not Found</title></head></html>"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
HEAD = b"<?xml version='1.0' encoding='UTF-8' standalone='no'?>\n"

WRONG = {
    "lfs": (POINTER, "a Git LFS pointer, not the picture itself: run git lfs pull"),
    "lfs of Windows": (POINTER.replace(b"\n", b"\r\n"), "run git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s9--4d7a21.jpg\n", "run git annex get"),
    "annex link": (b"../.git/annex/objects/x9/2V/MD5E-s9--d4.jpg", "run git annex get"),
    "dvc": (b"outs:\n- md5: a304afb96060aad90176268345e10355\n  path: a.jpg\n", "run dvc pull"),
    "page": (PAGE, "HTML is not supported: this is a web page"),
    "page, small": (b"<html><body>Sign in</body></html>", "a web page"),
    "page of a BOM": (b"\xef\xbb\xbf\r\n" + PAGE, "a web page"),
    "page after a comment": (b"<!-- cached -->\n<!-- by x -->" + PAGE.lower(), "a web page"),
    "page in XHTML": (HEAD + PAGE, "a web page"),
    "page with a drawing": (PAGE + SVG, "a web page"),
    "heading": (b"<h1>Too many requests</h1>", "a web page"),
    "answer": (b"HTTP/1.1 403 Forbidden\r\nServer: x\r\n\r\n", "a web server's answer"),
    "error in XML": (S3, "an error message in XML"),
    "error without a head": (b"<Error><Code>NoSuchKey</Code></Error>", "an error message in XML"),
    "rss": (HEAD + b"<rss/>", "XML, not a picture"),
    "json": (b'{"error": {"code": 404, "message": "no such file"}}', "JSON, not a picture"),
    "json list": (b'\xef\xbb\xbf [1, 2, "\xc3\xa4"]', "JSON, not a picture"),
    "svg": (SVG, "SVG is not supported; PNG, JPEG"),
    "svg of Inkscape": (HEAD + b"<!-- Created with Inkscape -->\n\n" + SVG, "SVG is not supported"),
    "svg with a type": (
        HEAD + b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://x/svg11.dtd">\n' + SVG,
        "SVG is not supported",
    ),
    "svg of a namespace": (SVG.replace(b"<svg", b"<svg:svg"), "SVG is not supported"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF is not supported"),
    "mp4": (boxes(b"isom"), "an MP4 video"),
    "mp4 of a phone": (boxes(b"mp42"), "an MP4 video"),
    "3gp": (boxes(b"3gp5"), "an MP4 video"),
    "m4v": (boxes(b"M4V "), "an MP4 video"),
    "m4a": (boxes(b"M4A "), "a sound file"),
    "mov": (boxes(b"qt  "), "a QuickTime video"),
    "mov, old": (b"\0\0\x1f\x90moov\0\0\0\x6cmvhd" + bytes(99), "a QuickTime video"),
    "mov, wide": (b"\0\0\0\x08wide\0\x12\x34\x56mdat" + bytes(99), "a QuickTime video"),
    "webm": (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\x82\x84webmB\x87", "a WebM video"),
    "mkv": (b"\x1a\x45\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroskaB\x87", "a Matroska video"),
    "avi": (b"RIFF\x10\0\0\0AVI LIST" + bytes(99), "an AVI video"),
    "mpeg": (b"\0\0\1\xba\x44" + bytes(99), "an MPEG video"),
    "ts": ((b"G\x40\x11\x10" + bytes(184)) * 5, "an MPEG video"),
    "flv": (b"FLV\1\5\0\0\0\x09", "a Flash video"),
    "wmv": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9" + bytes(99), "a Windows Media file"),
    "ogg": (b"OggS\0\2" + bytes(99), "an Ogg video or sound file"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(99), "a WAV sound file"),
    "mp3": (b"ID3\4\0\0" + bytes(99), "a sound file"),
    "raw of Canon": (boxes(b"crx "), "a camera's raw file is not supported"),
    "raw, older": (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a camera's raw file"),
    "raw of Fuji": (b"FUJIFILMCCD-RAW 0201" + bytes(99), "a camera's raw file"),
    "ico": (b"\0\0\1\0\1\0\x10\x10" + bytes(99), "ICO is not supported"),
    "cursor": (b"\0\0\2\0\1\0\x20\x20" + bytes(99), "ICO is not supported"),
    "psd": (b"8BPS\0\1" + bytes(99), "PSD is not supported"),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + bytes(40), "JPEG 2000 is not"),
    "bigtiff": (b"II\x2b\0\x08\0\0\0" + bytes(99), "BigTIFF is not supported"),
    "dicom": (bytes(128) + b"DICM" + bytes(99), "DICOM is not supported"),
    "emf": (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(99), "EMF is not supported"),
    "ppm": (b"P6\n2 2\n255\n" + bytes(12), "PNM is not supported"),
    "xcf": (b"gimp xcf v011\0" + bytes(99), "GIMP's XCF is not supported"),
    "png of Xcode": (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2" + bytes(40), "as Xcode packs it"),
    "zip": (zipped("a.jpg", "b.jpg"), "a zip archive, not a picture: unpack it"),
    "docx": (zipped("[Content_Types].xml", "word/document.xml"), "an Office document"),
    "docx of others": (zipped("_rels/.rels", "word/document.xml"), "an Office document"),
    "epub": (
        zipped("mimetype", packing=zipfile.ZIP_STORED).replace(
            b"content content content ", b"application/epub+zip    ", 1
        ),
        "an EPUB book",
    ),
    "gzip": (gzip.compress(b"x"), "an archive"),
    "tar": (tarred(), "an archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "an archive"),
    "old Word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an old Office file or Thumbs"),
    "._photo.jpg": (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(99), "a Mac's note on a file"),
    ".DS_Store": (b"\0\0\0\1Bud1\0\0" + bytes(99), "a Mac's .DS_Store"),
    "icloud": (b"bplist00\xd3\1\2\3" + bytes(40), "a Mac's property list"),
    "lnk": (b"\x4c\0\0\0\1\x14\2\0\0\0\0\0\xc0" + bytes(99), "a shortcut"),
    "url": (b"[InternetShortcut]\r\nURL=https://x.example/a.jpg\r\n", "a shortcut"),
    "sqlite": (b"SQLite format 3\0" + bytes(99), "a database or table"),
    "parquet": (b"PAR1\x15\4" + bytes(99), "a database or table"),
    "exe": (b"MZ\x90\0\3\0" + bytes(99), "a program"),
    "text": (b"404: Not Found", 'not a picture, but text ("404: Not Found")'),
    "text of a link": (b"../images/vase.jpg\n", 'not a picture, but text ("../images/vase.jpg")'),
    "long text": (b"word\n" * 9_000, 'text ("word word'),
    "German": ("Die Vase ist im Magazin, Größe: 30 cm".encode("cp1252"), "text ("),
    "Chinese": ("该图片不存在".encode(), 'not a picture, but text ("该图片不存在")'),
    "text of BM": (b"BMW 1600, about 1970, red", 'text ("BMW 1600'),
    "UTF-16": ("not found".encode("utf-16"), "not a picture, but text"),
    "blanks": (b"\n\n  \n", "not a picture, but blanks"),
    "empty": (b"", "empty (0 bytes)"),
    "zeros": (bytes(5_000), "nothing but zeros, not a picture"),
    "zeros first": (bytes(5_000) + file(noise(), "PNG"), "begins with zeros"),
    "erased": (b"\xff" * 5_000, "not a picture of a known format; PNG, JPEG"),
    "noise": (b"\x93\x01\x7f\xfe" * 99, "not a picture of a known format; PNG, JPEG"),
    "png in text mode": (b"\x89PNG\n\x1a\n\0\0\0\rIHDR" + bytes(30), "copy it again in binary"),
    "png through Windows": (b"\x89PNG\r\r\n\x1a\r\n" + bytes(30), "copy it again in binary mode"),
    "png as UTF-8": (
        file(noise(), "PNG").decode("utf-8", "replace").encode(),
        "copy it again in binary mode",
    ),
    "jpeg as UTF-8": (
        file(noise(), "JPEG").decode("utf-8", "replace").encode(),
        "copy it again in binary mode",
    ),
    "jpeg as Latin-1": (
        file(noise(), "JPEG").decode("latin-1").encode(),
        "copy it again in binary mode",
    ),
    "base64": (b"iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAIAAAAuKetIAAAA8ElEQVR4nO2YOw7CQAxEN4iDcDBu" * 3,
               "a picture written out as base64"),
    "data address": (b"data:image/png;base64,iVBORw0KGgo=", "a picture written out as base64"),
    "sequence": (b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc", "a sequence of HEIC pictures is not"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_it_is(kind: str, tmp_path: Path) -> None:
    content, reason = WRONG[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    refused(path, reason)
    with pytest.raises(BadImage) as caught:
        images.load(path)
    assert str(caught.value).count("not a picture") <= 1


def test_whose_text_is_hostile() -> None:
    refused(b"\x1b[31mred\x1b[0m", "not a picture of a known format")
    refused("\u202egnp.exe \u2028 \U000e0041".encode(), "not a picture of a known format")
    for opening in (
        b"<!--",
        b"<?xml",
        b"<!-- -->" * 500,
        b"<" * 4_096,
        b" " * 4_096,
        b"<svg" * 999,
    ):
        with pytest.raises(BadImage):
            images.load(opening * 100)


def test_a_picture_is_taken_for_nothing_else() -> None:
    formats = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    for format in formats:
        for mode in ("RGB", "L"):
            if (format, mode) != ("WEBP", "L"):
                image = Image.new(mode, (31, 17), 77)
                assert images.load(file(image, format)).size == (31, 17)
