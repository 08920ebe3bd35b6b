"""Pictures of web pages: which addresses an element names, and which of them is a saved file.

Knows `src`, `srcset`, lazy loading, `<picture>`, and how browsers, wget and HTTrack name the files
that they save. Does not open pictures: of their bytes only the width and height of a GIF or PNG are
read, because pixels of 1 × 1 count visitors and hold places, and show nothing.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from rag_vqa.formats.documents.web_tree import Attributes, Node, words_of

PICTURE_SUFFIXES: Final = re.compile(
    r"\.(?:png|jpe?g|jpe|jfif|webp|gif|bmp|tiff?|avif|hei[cf]|jxl|mpo|svg)(?:[?#@].*)?$", re.I
)
_LAZY: Final = (
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-orig-src", "data-full-src",
    "data-hi-res-src", "data-image", "data-url", "data-delayed-url", "data-actualsrc",
)  # fmt: skip
_LAZY_SETS: Final = ("data-srcset", "data-lazy-srcset")
_PLACEHOLDER: Final = re.compile(
    r"(?:^|[/_.-])(?:placeholder|spacer|blank|loading|lazy(?:load)?|transparent|pixel|1x1|spinner|"
    r"clear|empty|dot|shim|grey|gray)\d*(?:[_.-]|$)",
    re.IGNORECASE,
)
_ICON_SIDE: Final = 24  # points: letters are as high
_TRACKER_SIDE: Final = 2
_NUMBER: Final = re.compile(r"\s*(\d{1,5})(?:\.\d+)?\s*(?:px)?\s*$")
_STYLE_SIDE: Final = re.compile(r"(?:^|;)\s*(width|height)\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I)
_CANDIDATE: Final = re.compile(r"\s*,*\s*([^\s,]\S*)(?:\s+([\d.]+)([wx]))?\s*(?:,|$)")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_WEB: Final = re.compile(r"https?:", re.IGNORECASE)
_OTHER_DISK: Final = re.compile(r"file:|[a-z]:[/\\]", re.IGNORECASE)
_ALT_OF_A_FILE: Final = re.compile(
    r"[\w .()-]+\.(?:png|jpe?g|gif|webp|bmp|tiff?|avif|svg)|(?:img|dsc|dscn|p|image|photo|picture)"
    r"[\W_]*\d*|(?:image|photo|picture|logo|icon|thumbnail|bild|foto|imagen|banner)",
    re.IGNORECASE,
)
_UP: Final = 16  # folders above a page in which addresses from the site's root are looked for
_FORMS: Final[tuple[Literal["NFC"], Literal["NFD"]]] = ("NFC", "NFD")  # of accents in names


class PictureFinder(Protocol):
    """Where the pictures of a page are."""

    def find(self, addresses: Sequence[str]) -> bytes | str | None:
        """The first of several addresses of one picture that is there.

        Without any, the address as it shall be reported; None if the picture shows nothing.
        """


def list_addresses(node: Node, attributes: Attributes) -> list[str]:
    """Addresses of the picture that an element shows, the best first."""
    source = (
        attributes.get("src") or attributes.get("xlink:href") or attributes.get("href") or ""
    ).strip()
    sets = [*_read_set(attributes.get("srcset"))]
    lazy = [(attributes.get(name) or "").strip() for name in _LAZY]
    for name in _LAZY_SETS:
        lazy += _read_set(attributes.get(name))
    lazy = [address for address in lazy if _looks_like_address(address)]
    parent = node.parent
    if parent is not None and parent.tag == "picture":
        for other in parent.iter():
            if other.tag == "source":
                values = other.attributes
                sets += _read_set(values.get("srcset"))
                lazy += _read_set(values.get("data-srcset"))
    is_placeholder = bool(lazy) and (
        not source
        or is_blank_address(source)
        or bool(_PLACEHOLDER.search(posixpath.basename(source.partition("?")[0])))
    )
    ordered = [*lazy, source, *sets] if is_placeholder else [source, *sets, *lazy]
    return list(dict.fromkeys(address for address in ordered if address))


def is_icon(attributes: Attributes) -> bool:
    """Whether a picture is as small as a letter, or counts visitors."""
    sides: dict[str, int] = {}
    for name in ("width", "height"):
        found = _NUMBER.match(attributes.get(name) or "")
        if found:
            sides[name] = int(found[1])
    for name, value in _STYLE_SIDE.findall(attributes.get("style") or ""):
        sides[name.lower()] = int(value)
    if any(side <= _TRACKER_SIDE for side in sides.values()):
        return True
    return len(sides) == 2 and max(sides.values()) <= _ICON_SIDE


def caption_of(attributes: Attributes) -> str:
    """What a picture's alternative text tells; "" if it tells nothing.

    >>> caption_of({"alt": "A bent cone"}), caption_of({"alt": "IMG_2034.jpg"})
    ('A bent cone', '')
    """
    text = " ".join((attributes.get("alt") or "").split())
    return "" if _ALT_OF_A_FILE.fullmatch(text) else text


def inline_text(attributes: Attributes) -> str:
    """The text that a picture stands for within a line: a formula or an emoji; else ""."""
    text = " ".join((attributes.get("alt") or "").split())
    classes = " ".join(words_of(attributes.get("class")))
    if "\\displaystyle" in text or "math" in classes or "latex" in classes:
        return re.sub(r"^\{\\(?:display|text)style (.*)\}$", r"\1", text)
    is_emoji = "emoji" in classes or "smiley" in classes
    return text if is_emoji or (text and not text.isascii() and len(text) <= 2) else ""


def join_address(base: str, address: str) -> str:
    """An address that is relative to another, as a whole; unchanged if it is none."""
    try:
        return urljoin(base, address)
    except ValueError:
        return address


def is_blank_address(address: str) -> bool:
    """Whether a `data:` address holds a place only: a pixel, or an empty drawing."""
    if address[:5].lower() != "data:":
        return False
    head, _, body = address.partition(",")
    if "svg" in head[:40].lower():
        return len(address) < 1_000
    if len(body) < 24:
        return True
    try:
        start = base64.b64decode("".join(unquote(body[:120]).split())[:64])
    except (binascii.Error, ValueError):
        return False
    return is_blank_picture(start)


def is_blank_picture(start: bytes) -> bool:
    """Whether a GIF or PNG that begins so is a pixel or a line."""
    if start[:4] == b"GIF8" and len(start) >= 10:
        sides = (int.from_bytes(start[6:8], "little"), int.from_bytes(start[8:10], "little"))
    elif start[:8] == b"\x89PNG\r\n\x1a\n" and len(start) >= 24:
        sides = (int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big"))
    else:
        return False
    return max(sides) <= _TRACKER_SIDE


class PackedPictures:
    """Pictures in one file with their page: an archive of the web, a book.

    Args:
        read: the bytes of a part by its address without fragment; None if there is none.
        base: address of the page; those of its pictures are relative to it.
    """

    def __init__(self, read: Callable[[str], bytes | None], base: str) -> None:
        self._read = read
        self._base = base

    def find(self, addresses: Sequence[str]) -> bytes | str | None:
        missing = ""
        for address in addresses:
            if address[:5].lower() == "data:":
                if not is_blank_address(address):
                    return address
                continue
            whole = join_address(self._base, address).partition("#")[0]
            data = self._read(whole)
            if data is None and unquote(whole) != whole:
                data = self._read(unquote(whole))
            if data is None:
                missing = missing or (whole if _WEB.match(whole) else address)
            elif is_blank_picture(data[:24]):
                return None
            else:
                return data
        return missing or None


class SavedPictures:
    """Pictures beside a page that was saved: names relative to the folder of the page.

    Args:
        page: the file of the page.
        base: what `<base href>` says.
        address: where the page was saved from, if it says so.
    """

    def __init__(self, page: Path, base: str = "", address: str = "") -> None:
        self._folder = page.parent
        self._start = self._folder.absolute().as_posix()
        self._base = join_address(address, base) if base else ""
        self._parents = [self._folder, *self._folder.absolute().parents][:_UP]

    def find(self, addresses: Sequence[str]) -> bytes | str | None:
        blank = 0
        for address in addresses:
            if address[:5].lower() == "data:":
                if not is_blank_address(address):
                    return address
                blank += 1
                continue
            name = self._find_file(address)
            if name is not None:
                if not self._is_blank_file(name):
                    return name
                blank += 1
        shown = [address for address in addresses if not is_blank_address(address)]
        if blank or not shown:
            shown = [address for address in shown if self._find_file(address) is None]
        return self._name_missing(shown[0]) if shown else None

    def _name_missing(self, address: str) -> str:
        """An address or a name, for the list of what is missing."""
        if _SCHEME.match(address):
            return address
        if address.startswith("//"):
            return "https:" + address
        if _SCHEME.match(self._base):
            return join_address(self._base, address)
        return unquote(address.partition("#")[0]).lstrip("/") or address

    def _is_blank_file(self, name: str) -> bool:
        try:
            with (self._folder / name).open("rb") as file:
                return is_blank_picture(file.read(24))
        except OSError:
            return False

    def _find_file(self, address: str) -> str | None:
        """The file that an address means, relative to the page's folder."""
        if address.startswith("//"):
            address = "https:" + address
        if _WEB.match(address):
            return self._find_mirrored(address)
        if _OTHER_DISK.match(address):
            return self._find_tail(unquote(address).replace("\\", "/"))
        if _SCHEME.match(address):
            return None
        address = address.replace("\\", "/")
        if address.startswith("/"):
            return self._find_above(address.lstrip("/"))
        found = self._first_file(self._folder, address)
        if found is None and _SCHEME.match(self._base):
            found = self._find_mirrored(join_address(self._base, address))
        elif found is None and self._base:
            found = self._first_file(self._folder, posixpath.join(self._base, address))
        return found

    def _find_mirrored(self, address: str) -> str | None:
        """A file of a mirror, whose folders are named like the hosts."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return None
        name = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
        if not name or not parts.hostname:
            return None
        for parent in self._parents:
            if parent.name.casefold() in (parts.netloc.casefold(), parts.hostname):
                return self._first_file(parent, name)
            for host in dict.fromkeys((parts.netloc, parts.hostname)):
                if "/" not in host and host not in (".", "..") and _is_folder(parent / host):
                    return self._first_file(parent / host, name)
        return None

    def _find_above(self, name: str) -> str | None:
        """A file whose address begins at the site's root, which is a folder above the page."""
        for parent in self._parents:
            found = self._first_file(parent, name)
            if found is not None:
                return found
        return None

    def _find_tail(self, name: str) -> str | None:
        """A file that was named by its place on another machine: `C:/…/page_files/a.png`."""
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        for count in (2, 1):
            found = self._first_file(self._folder, "/".join(parts[-count:])) if parts else None
            if found is not None:
                return found
        return None

    def _first_file(self, folder: Path, address: str) -> str | None:
        for name in _file_names(address):
            path = folder / name
            try:
                if path.is_file():
                    return posixpath.relpath(path.absolute().as_posix(), self._start)
            except (OSError, ValueError):
                continue
        return None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _file_names(address: str) -> Iterator[str]:
    """Names that a file of an address may have, the likeliest first."""
    plain = address.partition("#")[0]
    path, mark, query = plain.partition("?")
    names = [unquote(path), path]
    if mark:  # wget keeps the query: on Windows with `@`
        names = [unquote(plain), plain, f"{unquote(path)}@{query}", *names]
    for name in dict.fromkeys(names):
        if name and "\0" not in name:
            yield from dict.fromkeys((name, *(unicodedata.normalize(f, name) for f in _FORMS)))


def _read_set(value: str | None) -> list[str]:
    """Addresses of a `srcset`, the largest first."""
    found: list[tuple[float, str]] = []
    at = 0
    text = value or ""
    while len(found) < 50 and (candidate := _CANDIDATE.match(text, at)):
        try:
            size = float(candidate[2] or 1)
        except ValueError:
            size = 1.0
        address = candidate[1].rstrip(",")
        if address.lower().startswith("data:"):
            address = candidate[1]
        found.append((size, address))
        if candidate.end() == at:
            break
        at = candidate.end()
    return [address for _, address in sorted(found, key=lambda pair: -pair[0])]


def _looks_like_address(value: str) -> bool:
    """Whether an attribute of lazy loading names a picture: some hold numbers or JSON."""
    return (
        bool(value)
        and " " not in value.strip()
        and ("/" in value or bool(PICTURE_SUFFIXES.search(value)))
    )
