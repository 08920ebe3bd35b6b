"""Access control: which routes are open, which a public server opens, and which need the token.

Knows routes, host names and the token. Does not know what a route does. A route that the table does
not list needs the token: a new route stays closed until somebody opens it here.
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
# No machine's name, though browsers resolve them to this machine.
_WILDCARD_ADDRESSES: Final = {"0.0.0.0", "::"}
# The page holds a program and no data, and a browser cannot send a token for a page. Supervisors
# that start and stop servers ask for health and readiness.
_ROUTE_LEVELS: Final[tuple[tuple[str, re.Pattern[str], AccessLevel], ...]] = (
    ("GET", re.compile(r"/|/static/[^/]+|/health|/ready"), "open"),
    ("GET", re.compile(r"/v1/info|/v1/models(?:/[^/]+)?|/v1/gallery/[^/]+"), "public"),
    ("GET", re.compile(r"/v1/documents/[^/]+/image"), "public"),
    ("POST", re.compile(r"/v1/chat/completions|/v1/search"), "public"),
)


def required_level(method: str, path: str) -> AccessLevel:
    """The access level of a route, by method and by path, still percent-encoded.

    >>> required_level("GET", "/health"), required_level("POST", "/v1/search")
    ('open', 'public')
    >>> required_level("POST", "/v1/documents"), required_level("GET", "/v1/documents/a%2Fimage")
    ('token', 'token')
    """
    method = "GET" if method == "HEAD" else method
    for route_method, pattern, level in _ROUTE_LEVELS:
        if route_method == method and pattern.fullmatch(path):
            return level
    return "token"


@dataclass(frozen=True)
class Access:
    """The server's access rules.

    Attributes:
        host: address that the server listens on.
        token: what clients send as `Authorization: Bearer …`; "" if no token is needed.
        public: asking, searching and evidence pictures need no token.
        allowed_hosts: further names that reach the server, optionally with a port:
            `rag.example:8443`.

    Raises:
        UsageError: other machines can reach the server and there is no token, or the token is too
            short.
    """

    host: str = "127.0.0.1"
    token: str = ""
    public: bool = False
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_exposed = self.host not in LOOPBACK or self.public or bool(self.allowed_hosts)
        if is_exposed and not self.token:
            raise UsageError(
                "A server that others can reach (--host, --public, --allowed-host) needs a token. "
                f"Make one: {MAKE_TOKEN_COMMAND}, then start with --token-file token.txt"
            )
        if self.token and len(self.token) < _MIN_TOKEN_LENGTH:
            raise UsageError(
                f"The token has fewer than {_MIN_TOKEN_LENGTH} characters. Make another: "
                f"{MAKE_TOKEN_COMMAND}"
            )

    def holds_token(self, authorization: str) -> bool:
        """True if the `Authorization` header carries the token, or if no token is needed."""
        if not self.token:
            return True
        scheme, _, token = authorization.partition(" ")
        # Hashes are compared, so that the time taken does not even reveal the token's length.
        pair = (hashlib.sha256(each.encode()).digest() for each in (token.strip(), self.token))
        return secrets.compare_digest(*pair) and scheme.lower() == "bearer"

    def admits(self, level: AccessLevel, holds_token: bool) -> bool:
        """True if a request for a route of that level may pass."""
        return holds_token or level == "open" or (level == "public" and self.public)

    def accepts_host(self, host: str, server_address: str) -> bool:
        """True if the `Host` header names this server, or the address that the client reached."""
        name, address = parse_host(host), _unmap_ipv4(server_address)
        if not name:
            return False
        names = {address, self.host, *map(parse_host, self.allowed_hosts)} - _WILDCARD_ADDRESSES
        return name in names or (address in LOOPBACK and name in LOOPBACK)

    def accepts_origin(self, origin: str, host: str) -> bool:
        """True if the `Origin` header is this server's own page."""
        match = re.fullmatch(r"https?://([^/?#@\s]+)", origin.lower())
        own_names = {host.lower(), *(name.lower() for name in self.allowed_hosts)}
        return match is not None and match[1] in own_names


def _unmap_ipv4(address: str) -> str:
    """The IPv4 address inside an IPv4-mapped IPv6 address, as dual-stack sockets report it.

    >>> _unmap_ipv4("::ffff:127.0.0.1"), _unmap_ipv4("::1"), _unmap_ipv4("testserver")
    ('127.0.0.1', '::1', 'testserver')
    """
    return address.removeprefix("::ffff:") if "." in address else address


def parse_host(host: str) -> str:
    """The name in a `Host` header, without port, in lower case; "" if the header is invalid.

    >>> parse_host("Localhost:8000"), parse_host("[::1]:8000"), parse_host("a.example@evil")
    ('localhost', '::1', '')
    """
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", host.lower())
    return (match[1] or match[2]) if match else ""


def read_token(file: Path | None, environment: str | None) -> str:
    """The token from a file, or else from RAG_VQA_TOKEN (`environment`); "" without both.

    Raises:
        UsageError: the file cannot be read, or holds no valid token.
    """
    source, token = "RAG_VQA_TOKEN", (environment or "").strip()
    if file is not None:
        source = f"--token-file {file}"
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            message = f"{source} cannot be read. Make a token: {MAKE_TOKEN_COMMAND}"
            raise UsageError(message) from error
    elif not token:
        return ""
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise UsageError(f"{source} holds no valid token. Make one: {MAKE_TOKEN_COMMAND}")
    return token


def check_hosts(names: Sequence[str]) -> tuple[str, ...]:
    """The names of --allowed-host. Raises UsageError if one is not a host name."""
    for name in names:
        if not parse_host(name):
            raise UsageError(
                f"--allowed-host {name}: not a host name. Give one such as rag.example.org"
            )
    return tuple(names)
