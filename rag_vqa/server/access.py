"""Who may have what: open to all, to the public where there is one, or to the token's holder.

It knows routes and the token. It does not know what a route does. What no table names needs the
token: a new route is closed until somebody opens it here.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rag_vqa.errors import UsageError

AccessLevel = Literal["open", "public", "token"]
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
MAKE_TOKEN_COMMAND: Final = (
    "python -c 'import secrets; print(secrets.token_urlsafe(32))' > token.txt; chmod 600 token.txt"
)
_MIN_TOKEN_LENGTH: Final = 16
_WILDCARD_ADDRESSES: Final = {
    "0.0.0.0",
    "::",
}  # no name of anything: browsers take it for this machine
# The page is program and no data, and a browser cannot send a token for a page. Health and
# readiness are asked by what starts and stops servers.
_ROUTE_LEVELS: Final[tuple[tuple[str, re.Pattern[str], AccessLevel], ...]] = (
    ("GET", re.compile(r"/|/static/[^/]+|/health|/ready"), "open"),
    ("GET", re.compile(r"/v1/info|/v1/models(?:/[^/]+)?|/v1/gallery/[^/]+"), "public"),
    ("GET", re.compile(r"/v1/documents/[^/]+/image"), "public"),
    ("POST", re.compile(r"/v1/chat/completions|/v1/search"), "public"),
)


def required_level(method: str, path: str) -> AccessLevel:
    """What a request needs, by its method and the path as it was sent.

    >>> required_level("GET", "/health"), required_level("POST", "/v1/search")
    ('open', 'public')
    >>> required_level("POST", "/v1/documents")
    'token'
    >>> required_level("GET", "/v1/documents/a%2Fimage")
    'token'
    """
    method = "GET" if method == "HEAD" else method
    for known, pattern, wanted in _ROUTE_LEVELS:
        if known == method and pattern.fullmatch(path):
            return wanted
    return "token"


@dataclass(frozen=True)
class Access:
    """Who may come in.

    Attributes:
        host: the address that is listened on.
        token: what a client is to send as `Authorization: Bearer …`; "" where none is needed.
        public: ask, search and evidence pictures need no token.
        allowed_hosts: names by which the server is reached besides its own address; one may have
            a port, `rag.example:8443`.

    Raises:
        UsageError: reached from elsewhere and no token, or a token that can be guessed.
    """

    host: str = "127.0.0.1"
    token: str = ""
    public: bool = False
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        elsewhere = self.host not in LOOPBACK or self.public or bool(self.allowed_hosts)
        if elsewhere and not self.token:
            raise UsageError(
                "Whoever is reached from elsewhere (--host, --public, --allowed-host) needs a "
                f"token: {MAKE_TOKEN_COMMAND}, then --token-file token.txt"
            )
        if self.token and len(self.token) < _MIN_TOKEN_LENGTH:
            raise UsageError(
                f"The token has under {_MIN_TOKEN_LENGTH} characters: {MAKE_TOKEN_COMMAND}"
            )

    def holds_token(self, authorization: str) -> bool:
        """Whether a header `Authorization` is right; so is any where no token is needed."""
        if not self.token:
            return True
        kind, _, given = authorization.partition(" ")
        # Of hashes, so that not even the length takes its time.
        pair = (hashlib.sha256(each.encode()).digest() for each in (given.strip(), self.token))
        return secrets.compare_digest(*pair) and kind.lower() == "bearer"

    def admits(self, wanted: AccessLevel, holds_token: bool) -> bool:
        """Whether a request of that level may come in."""
        return holds_token or wanted == "open" or (wanted == "public" and self.public)

    def accepts_host(self, host: str, own: str) -> bool:
        """Whether the header `Host` names this server; `own`: the address connected to."""
        name, own = parse_host(host), _unmap_ipv4(own)
        if not name:
            return False
        names = {
            own,
            self.host,
            *(parse_host(each) for each in self.allowed_hosts),
        } - _WILDCARD_ADDRESSES
        return name in names or (own in LOOPBACK and name in LOOPBACK)

    def accepts_origin(self, origin: str, host: str) -> bool:
        """Whether the header `Origin` is this server's own page."""
        found = re.fullmatch(r"https?://([^/?#@\s]+)", origin.lower())
        own = {host.lower(), *(name.lower() for name in self.allowed_hosts)}
        return found is not None and found[1] in own


def _unmap_ipv4(address: str) -> str:
    """IPv4 as such, where a socket of both kinds says it as IPv6.

    >>> _unmap_ipv4("::ffff:127.0.0.1"), _unmap_ipv4("::1"), _unmap_ipv4("testserver")
    ('127.0.0.1', '::1', 'testserver')
    """
    return address.removeprefix("::ffff:") if "." in address else address


def parse_host(host: str) -> str:
    """A `Host` without its port, in lower case; "" if it is none.

    >>> parse_host("Localhost:8000"), parse_host("[::1]:8000"), parse_host("a.example@evil")
    ('localhost', '::1', '')
    """
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", host.lower())
    return (found[1] or found[2]) if found else ""


def read_token(file: Path | None, environment: str | None) -> str:
    """The token of a file, or else of the environment (RAG_VQA_TOKEN); "" if there is neither.

    Raises:
        UsageError: the file cannot be read, or what is there is none.
    """
    name, token = "RAG_VQA_TOKEN", (environment or "").strip()
    if file is not None:
        name = f"--token-file {file}"
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: not readable. Make one: {MAKE_TOKEN_COMMAND}") from error
    elif not token:
        return ""
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise UsageError(f"{name}: it holds no token. Make one: {MAKE_TOKEN_COMMAND}")
    return token


def check_hosts(names: Sequence[str]) -> tuple[str, ...]:
    """Names given as --allowed-host. Raises UsageError for what is none."""
    for name in names:
        if not parse_host(name):
            raise UsageError(f"--allowed-host {name}: give a name, for instance rag.example.org")
    return tuple(names)
