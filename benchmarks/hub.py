"""A Hugging Face hub on loopback: serves folders of this machine as models, and fails on demand.

Knows the hub's HTTP protocol as huggingface_hub 2 speaks it: model information, trees, paths-info,
`resolve` with its redirects and headers, ranges, tokens, private and gated models. Large files come
from a second port, as the hub's come from a CDN. No Xet headers are sent. Does not know rag-vqa,
and reads no file as a model.

    python benchmarks/hub.py FOLDER --port 8765 --log requests.jsonl
    HF_ENDPOINT=http://127.0.0.1:8765 rag-vqa ask …

FOLDER holds OWNER/NAME/files. Each model has one commit, known as `main` and by its hash; `--commit
OWNER/NAME=HASH` gives it the hash that a program expects. What fails is given as `--fault`:

    --fault cut,path=*.safetensors,after=1000000,times=1     closes the connection there
    --fault status,path=/api/*,status=429,retry_after=2      also 401, 403, 404, 500, 502, 503 …
    --fault page                                             a login page instead of every answer
"""

import argparse
import fnmatch
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub_models import Fault, File, Model, Refusal, Request, read_pieces, split_id

PAGE = b"<!DOCTYPE html><html><title>Guest network</title><body>Please log in.</body></html>"
MOVED = {"large": 302, "small": 307}


NO_LOGIN = Refusal(401, "", "Invalid username or password.")


@dataclass
class Hub:
    """Runs while it is entered.

    Attributes:
        models: what is served, by id.
        tokens: for each valid token, the private and gated models that it may read.
        faults: what goes wrong; the first that matches a request happens to it.
        prefix: path below which everything lies, as behind the proxy of a company.
        log: the requests answered so far.
    """

    models: dict[str, Model] = field(default_factory=dict)
    tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    prefix: str = ""
    port: int = 0
    log: list[Request] = field(default_factory=list)
    log_file: Path | None = None
    closing: threading.Event = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, root: Path, commits: Mapping[str, str] = {}, **rest: Any) -> "Hub":
        """A hub over the folders OWNER/NAME below `root`."""
        folders = (path for path in sorted(root.glob("*/*")) if path.is_dir())
        hub = cls(**rest)
        for folder in folders:
            id = f"{folder.parent.name}/{folder.name}"
            hub.add(id, folder, commit=commits.get(id, ""))
        return hub

    def add(self, id: str, folder: Path, **about: Any) -> Model:
        """Serves a folder as model `id`; see Model."""
        self.models[id] = Model(folder, **about)
        return self.models[id]

    def __enter__(self) -> "Hub":
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", port), _handler(self, origin))
            for port, origin in ((self.port, "hub"), (0, "cdn"))
        ]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def address(self) -> str:
        """The value for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._servers[0].server_port}{self.prefix}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """Variables for a process that is to use this hub, with its cache and token in `home`."""
        rest = {"HF_TOKEN": token} if token else {}
        return {
            "HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN_PATH": str(home / "token"), "NO_PROXY": "127.0.0.1",
        } | rest  # fmt: skip

    def sent(self, path: str = "*") -> int:
        """Bytes of bodies sent for the paths of this pattern."""
        with self.lock:
            return sum(each.sent for each in self.log if fnmatch.fnmatch(each.path, path))

    def write_log(self, request: Request) -> None:
        if self.log_file is not None:
            with self.lock, self.log_file.open("a") as stream:
                stream.write(json.dumps(asdict(request)) + "\n")

    def fault_for(self, request: Request) -> Fault | None:
        """What goes wrong with this request, which is in the log from now on."""
        with self.lock:
            self.log.append(request)
            for fault in self.faults:
                matches = fnmatch.fnmatch(request.path, fault.path)
                if matches and request.method in fault.methods and fault.times != 0:
                    fault.times = fault.times if fault.times is None else fault.times - 1
                    return fault
        return None

    def find(self, id: str, token: str | None, revision: str = "main", read: bool = True) -> Model:
        """The model, if this token may see it; `read`: also its files. Raises Refusal."""
        if token is not None and token not in self.tokens:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        model = self.models.get(id)
        granted = token is not None and id in self.tokens[token]
        if model is None or (model.private and not granted):
            raise (
                NO_LOGIN if token is None else Refusal(404, "RepoNotFound", "Repository not found")
            )
        if read and model.gated and not granted:
            where = f"Access to model {id} is restricted"
            if token is None:
                must = "You must have access to it and be authenticated to access it."
                raise Refusal(401, "GatedRepo", f"{where}. {must} Please log in.")
            raise Refusal(403, "GatedRepo", f"{where} and you are not in the authorized list.")
        if revision not in ("main", model.commit):
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return model


def _handler(hub: Hub, origin: str) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub, Handler.origin = hub, origin
    return Handler


class _Handler(BaseHTTPRequestHandler):
    """One request: finds what it asks for, and sends it as the fault of that request wants it."""

    hub: Hub
    origin: str
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version, sys_version = "hub", ""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix(self.hub.prefix) if self.origin == "hub" else url.path
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length).decode()
        self.query = parse_qs(url.query)
        kept = self.headers.get("Authorization", "").partition("Bearer ")[2] or None
        self.token: str | None = kept
        self.request_line = Request(
            self.origin, self.command, unquote(path), token=kept is not None,
            agent=self.headers.get("User-Agent", ""),
        )  # fmt: skip
        self.fault = self.hub.fault_for(self.request_line)
        self.request_line.fault = self.fault.kind if self.fault else ""
        try:
            self._answer([unquote(part) for part in path.strip("/").split("/")])
        except Refusal as error:
            self._refuse(error)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.hub.write_log(self.request_line)

    do_HEAD = do_POST = do_GET

    def _answer(self, parts: list[str]) -> None:
        fault = self.fault
        if fault is not None and fault.kind == "status":
            raise Refusal(fault.status, fault.code, fault.message)
        if fault is not None and fault.kind == "page":
            self._send(200, PAGE, {"Content-Type": "text/html"})
        elif self.origin == "cdn":
            self._cdn(parts)
        elif parts[:2] == ["api", "whoami-v2"]:
            self._whoami()
        elif parts[:3] == ["api", "resolve-cache", "models"]:
            place = 5 if len(parts) > 4 and parts[4] not in self._commits() else 4
            self._file("/".join(parts[3:place]), parts[place], "/".join(parts[place + 1 :]))
        elif parts[:2] == ["api", "models"]:
            self._api(*split_id(parts[2:], ("revision", "tree", "paths-info", "auth-check")))
        else:
            id, verb, rest = split_id(parts, ("resolve",))
            if not verb or len(rest) < 2:
                raise Refusal(404, "", "Not found")
            self._resolve(id, rest[0], "/".join(rest[1:]))

    def _commits(self) -> set[str]:
        return {model.commit for model in self.hub.models.values()}

    def _whoami(self) -> None:
        if self.token is None or self.token not in self.hub.tokens:
            raise NO_LOGIN
        self._json({"type": "user", "name": "visitor", "fullname": "Visitor", "orgs": []})

    def _api(self, id: str, verb: str, rest: list[str]) -> None:
        revision = rest[0] if rest else "main"
        model = self.hub.find(id, self.token, revision, read=verb == "auth-check")
        asked = {k: v[-1].lower() in ("true", "1") for k, v in self.query.items()}
        if verb == "auth-check":
            self._json({})
        elif verb == "tree":
            self._json(model.tree("/".join(rest[1:]), asked.get("recursive", False)))
        elif verb == "paths-info":
            wanted = parse_qs(self.body).get("paths", [])
            self._json([model.files[n].entry(n) for n in wanted if n in model.files])
        else:
            self._json(model.info(id, asked.get("blobs", False)))

    def _resolve(self, id: str, revision: str, name: str) -> None:
        """Redirects to where the file is: the CDN for a large one, a cache for a small one."""
        model, file = self._find_file(id, revision, name)
        where = f"{quote(id)}/{model.commit}/{quote(name)}"
        location = (
            f"{self.hub.cdn}/cdn/{where}?X-Amz-Expires=3600&X-Amz-Signature={file.oid}"
            if file.large
            else f"{self.hub.prefix}/api/resolve-cache/models/{where}?etag={quote(file.etag)}"
        )
        status = MOVED["large" if file.large else "small"]
        self._send(status, b"", {
            "Location": location, "X-Repo-Commit": model.commit, "X-Linked-Size": str(file.size),
            "X-Linked-Etag": file.etag, "Accept-Ranges": "bytes",
        })  # fmt: skip

    def _cdn(self, parts: list[str]) -> None:
        if self.token is not None:
            raise Refusal(400, "", "Only one auth mechanism allowed")
        if "X-Amz-Signature" not in self.query:
            raise Refusal(403, "", "AccessDenied")
        place = next(i for i, part in enumerate(parts) if part in self._commits())
        model = self.hub.models["/".join(parts[1:place])]
        self._send_file(model.files["/".join(parts[place + 1 :])], {})

    def _file(self, id: str, revision: str, name: str) -> None:
        model, file = self._find_file(id, revision, name)
        self._send_file(file, {"X-Repo-Commit": model.commit})

    def _find_file(self, id: str, revision: str, name: str) -> tuple[Model, File]:
        model = self.hub.find(id, self.token, revision)
        if name not in model.files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        return model, model.files[name]

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, error: Refusal) -> None:
        headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
        if self.fault is not None and self.fault.retry_after is not None:
            headers["Retry-After"] = str(self.fault.retry_after)
        body = json.dumps({"error": error.message}).encode()
        headers["Content-Type"] = "application/json"
        self._send(error.status, body, {name: value for name, value in headers.items() if value})

    def _send_file(self, file: File, headers: dict[str, str]) -> None:
        start, end, whole = 0, file.size, True
        asked = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if asked[0].isdigit() and not (self.fault and self.fault.kind == "whole"):
            start, whole = int(asked[0]), False
            end = min(int(asked[2]) + 1, file.size) if asked[2] else file.size
            if start >= file.size:
                self._send(416, b"", {"Content-Range": f"bytes */{file.size}"})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        self.request_line.start = start
        headers |= {"ETag": file.etag, "Accept-Ranges": "bytes"}
        packed = not file.large and whole and "gzip" in self.headers.get("Accept-Encoding", "")
        if packed and self.command == "GET":  # as the hub does with text: no length is known before
            body = gzip.compress(file.path.read_bytes())
            framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            headers |= {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
            self._begin(200, headers)
            self._pour(iter([framed]), 0)
        else:
            self._begin(200 if whole else 206, headers | {"Content-Length": str(end - start)})
            self._pour(read_pieces(file.path, start, end), start)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._begin(status, headers | {"Content-Length": str(len(body))})
        self._pour(iter([body]), 0)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.request_line.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _pour(self, pieces: Iterator[bytes], start: int) -> None:
        """Sends a body, up to where the fault of this request ends it."""
        if self.command == "HEAD":
            return
        fault = self.fault
        for piece in pieces:
            sent = self.request_line.sent
            if fault is not None and fault.kind == "corrupt":
                place = fault.after - start - sent
                if 0 <= place < len(piece):
                    piece = piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
            ends = fault is not None and fault.kind in ("cut", "reset", "stall")
            if fault is not None and ends and sent + len(piece) > fault.after:
                piece = piece[: fault.after - sent]
                self._write(piece)
                self._break_off(fault.kind)
                return
            self._write(piece)
            if fault is not None and fault.kind == "slow":
                self.hub.closing.wait(len(piece) / fault.rate)

    def _write(self, piece: bytes) -> None:
        self.wfile.write(piece)
        self.request_line.sent += len(piece)

    def _break_off(self, kind: str) -> None:
        self.wfile.flush()
        self.close_connection = True
        if kind == "stall":
            self.hub.closing.wait(3600)
        elif kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="Folder of OWNER/NAME/files.")
    parser.add_argument("--port", type=int, default=0, help="Port to listen on; 0: any free one.")
    parser.add_argument("--prefix", default="", help="Path below which everything lies.")
    parser.add_argument("--commit", action="append", default=[], metavar="OWNER/NAME=HASH")
    parser.add_argument("--fault", action="append", default=[], type=Fault.parse)
    parser.add_argument("--log", type=Path, help="Append each request to this file, as JSON.")
    given = parser.parse_args()
    commits = dict(each.split("=", 1) for each in given.commit)
    hub = Hub.of(
        given.folder, commits, port=given.port, prefix=given.prefix.rstrip("/"),
        faults=given.fault, log_file=given.log,
    )  # fmt: skip
    with hub:
        print(f"HF_ENDPOINT={hub.address}  ({', '.join(hub.models) or 'no models'})", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
