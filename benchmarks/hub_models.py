"""What the hub of hub.py deals with: models as folders, requests, refusals and faults.

Knows which files a hub keeps apart because they are large, its hashes of both kinds, and how a
fault is written. Does not know HTTP (hub.py).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".model", ".npz", ".pt", ".onnx", ".h5")
LARGE = 10_000_000  # bytes: the hub takes no larger file outside its large-file storage
CHUNK = 1 << 20
KINDS = ("cut", "reset", "stall", "slow", "status", "page", "whole", "corrupt")


class File:
    """One file of a model, with the hashes that the hub gives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.large = self.size > LARGE or path.suffix in LARGE_SUFFIXES
        blob, content = hashlib.sha1(b"blob %d\0" % self.size), hashlib.sha256()
        with path.open("rb") as stream:
            while piece := stream.read(CHUNK):
                content.update(piece)
                if not self.large:
                    blob.update(piece)
        self.sha256 = content.hexdigest()
        if self.large:
            pointer = (
                "version https://git-lfs.github.com/spec/v1\n"
                f"oid sha256:{self.sha256}\nsize {self.size}\n"
            ).encode()
            blob = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer)
        self.oid = blob.hexdigest()

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.large else self.oid}"'

    def entry(self, name: str) -> dict[str, Any]:
        """The file as `tree` and `paths-info` list it."""
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        rest = {"lfs": lfs} if self.large else {}
        return {"type": "file", "oid": self.oid, "size": self.size, "path": name} | rest


class Model:
    """A folder that is served as a model."""

    def __init__(
        self, folder: Path, commit: str = "", private: bool = False, gated: bool = False
    ) -> None:
        self.private, self.gated = private, gated
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): File(path) for path in paths}
        listing = json.dumps([each.entry(name) for name, each in self.files.items()])
        self.commit = commit or hashlib.sha1(listing.encode()).hexdigest()

    def info(self, id: str, blobs: bool) -> dict[str, Any]:
        siblings = []
        for name, each in self.files.items():
            entry = each.entry(name)
            more = {"size": each.size, "blobId": each.oid}
            if each.large:
                more["lfs"] = {"sha256": each.sha256} | {
                    k: entry["lfs"][k] for k in ("size", "pointerSize")
                }
            siblings.append({"rfilename": name} | (more if blobs else {}))
        return {
            "_id": self.commit[:24], "id": id, "modelId": id, "author": id.partition("/")[0],
            "sha": self.commit, "private": self.private, "gated": "manual" if self.gated else False,
            "disabled": False, "downloads": 0, "likes": 0, "tags": ["safetensors"],
            "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
            "usedStorage": sum(each.size for each in self.files.values()), "siblings": siblings,
        }  # fmt: skip

    def tree(self, under: str, recursive: bool) -> list[dict[str, Any]]:
        prefix = f"{under}/" if under else ""
        listed: dict[str, dict[str, Any]] = {}
        for name, each in self.files.items():
            if not name.startswith(prefix):
                continue
            folders = name[len(prefix) :].split("/")[:-1]
            for depth in range(1, 1 + (len(folders) if recursive else bool(folders))):
                path = prefix + "/".join(folders[:depth])
                oid = hashlib.sha1(path.encode()).hexdigest()
                listed[path] = {"type": "directory", "oid": oid, "size": 0, "path": path}
            if recursive or not folders:
                listed[name] = each.entry(name)
        return [listed[name] for name in sorted(listed)]


@dataclass
class Fault:
    """Something that goes wrong with a request.

    Attributes:
        kind: "cut" closes the connection after `after` bytes of the body, "reset" aborts it there,
            "stall" goes silent there, "slow" sends `rate` bytes a second, "status" answers
            `status`, "page" answers a login page, "whole" ignores a range, "corrupt" changes the
            byte at `after`.
        path: pattern of the paths that it happens to: `/api/models/*`, `*.safetensors`.
        times: how many requests it still happens to; None: all.
        code, message: of the headers X-Error-Code and X-Error-Message.
        retry_after: seconds in the header Retry-After; None: no header.
    """

    kind: str
    path: str = "*"
    times: int | None = None
    after: int = 0
    status: int = 503
    code: str = ""
    message: str = ""
    retry_after: int | None = None
    rate: float = 1e6
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """A fault written as `kind,name=value,…`."""
        kind, *pairs = text.split(",")
        kinds = {each.name: each.type for each in fields(cls)}
        given: dict[str, Any] = {}
        for name, _, value in (pair.partition("=") for pair in pairs):
            if name not in kinds or name == "kind":
                raise ValueError(f"a fault has no {name!r}")
            as_number = {"rate": float, "path": str, "code": str, "message": str}.get(name, int)
            given[name] = tuple(value.split("+")) if name == "methods" else as_number(value)
        return cls(kind, **given)


@dataclass
class Request:
    """A request that was answered. `sent`: bytes of its body; `start`: of the range asked for."""

    origin: str
    method: str
    path: str
    status: int = 0
    start: int = 0
    sent: int = 0
    token: bool = False
    agent: str = ""
    fault: str = ""


@dataclass
class Refusal(Exception):
    """An error as the hub answers it."""

    status: int
    code: str = ""
    message: str = ""


def split_id(parts: list[str], at: tuple[str, ...]) -> tuple[str, str, list[str]]:
    """Cuts `owner/name/verb/rest` into id, verb and the rest; a model may have no owner."""
    for place in (2, 1):
        if len(parts) > place and parts[place] in at:
            return "/".join(parts[:place]), parts[place], parts[place + 1 :]
    return "/".join(parts), "", []


def read_pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        stream.seek(start)
        while start < end and (piece := stream.read(min(CHUNK, end - start))):
            start += len(piece)
            yield piece
