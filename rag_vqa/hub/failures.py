"""Failures of the hub as one line: the cause first, then what to do about it.

Knows the exceptions of huggingface_hub, of its HTTP client and of the system. Does not know what
was asked for, except the model's name.
"""

from __future__ import annotations

import errno
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.formatting import one_line

FIRST_ANSWER_SECONDS = 5.0  # so that an unreachable hub is reported within ten, with Python's start
OFFLINE = ("1", "ON", "YES", "TRUE")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
_MENDS = {
    "network": "Check the network, or set a mirror (HF_ENDPOINT) or a proxy (HTTPS_PROXY)",
    "mirror": "Check HF_ENDPOINT, which names another address than https://huggingface.co",
    "proxy": "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
}
Result = TypeVar("Result")


class NoAnswer(ConnectionError):
    """The hub did not answer within the time that it was given."""


def is_network_off() -> bool:
    """True if HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE turns the network off."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in OFFLINE for name in names)


def first_answer_seconds() -> float:
    """Seconds to wait for the hub's first answer; HF_HUB_ETAG_TIMEOUT can make them more."""
    given = os.environ.get("HF_HUB_ETAG_TIMEOUT", "")
    return float(given) if given.isdigit() and int(given) > 0 else FIRST_ANSWER_SECONDS


def call_with_deadline(call: Callable[[], Result], seconds: float) -> Result:
    """The result of `call`, or NoAnswer after `seconds`.

    A timeout of the HTTP client does not bound the look-up of a name, nor an answer that trickles.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if results:
        return results[0]
    raise NoAnswer(f"no answer within {seconds:.0f} s")


@contextmanager
def translate_hub_errors(model: str, revision: str | None = None) -> Iterator[None]:
    """Turn whatever the hub, the network or the disk raises into a RagVqaError with one line."""
    try:
        yield
    except RagVqaError:
        raise
    except Exception as error:
        found = describe_failure(error, model, revision)
        if found is None:
            raise
        raise found from error


def describe_failure(
    error: BaseException, model: str, revision: str | None = None
) -> RagVqaError | None:
    """The error that says what a failure of the hub means; None if the hub has no part in it.

    The cause may be wrapped several times, as transformers does it.
    """
    name = one_line(model)
    for cause in _causes(error):
        for describe in (_refusal, _unreachable, _disk_problem, _bad_name):
            found = describe(cause, name, revision)
            if found is not None:
                return found
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it; of each, what it was raised from, else raised during."""
    current: BaseException | None = error
    for _ in range(12):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def hub_address() -> str:
    """The address of the hub, without a name or a password in it."""
    from urllib.parse import urlsplit

    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    if not parts.scheme:
        return one_line(constants.ENDPOINT)
    port = f":{parts.port}" if parts.port else ""
    return one_line(f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}")


def not_a_hub(found: str) -> Missing:
    """The error for an answer that no hub gives, such as the login page of a guest network."""
    return Missing(
        f"{hub_address()} answers, but not as a hub: {found}. A guest network wants a login "
        f"in the browser first, or a proxy stands between. {_MENDS['mirror']}."
    )


def _bad_name(error: BaseException, name: str, revision: str | None) -> RagVqaError | None:
    from huggingface_hub.errors import HFValidationError

    if isinstance(error, HFValidationError):
        return Missing(f"{name} is neither a folder nor a hub id, which reads OWNER/NAME.")
    return None


def _unreachable(error: BaseException, name: str, revision: str | None) -> RagVqaError | None:
    """The error for a hub that cannot be reached, by its cause."""
    import httpx2
    from huggingface_hub.errors import FileMetadataError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return Missing(
            f"{name}: not on this machine, and the network is off. Leave out --offline (and "
            "HF_HUB_OFFLINE), or give a folder that holds the model."
        )
    if isinstance(error, FileMetadataError):
        return not_a_hub("its headers are not those of one")
    if isinstance(error, httpx2.ProxyError):
        return Missing(f"The proxy refuses: {_text(error)}. {_MENDS['proxy']}.")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return Missing(
            f"HF_ENDPOINT={hub_address()} is no address of a hub. It reads https://HOST, as "
            "https://huggingface.co does; leave it out to use that one."
        )
    if isinstance(error, NoAnswer | httpx2.TransportError | httpx2.TooManyRedirects):
        return Missing(
            f"The hub cannot be reached ({hub_address()}{_proxy_in_use()}: "
            f"{_network_cause(error)}). "
            f"{_mend_for(error)}."
        )
    return None


def _proxy_in_use() -> str:
    """ ", through the proxy ADDRESS" if the environment names one for the hub."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(hub_address())
    proxy = urlsplit(getproxies().get(parts.scheme, ""))
    if not proxy.hostname or proxy_bypass(parts.hostname or ""):
        return ""
    port = f":{proxy.port}" if proxy.port else ""
    return one_line(f", through the proxy {proxy.hostname}{port}")


def _network_cause(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    import httpx2

    text = _text(error)
    if isinstance(error, NoAnswer | httpx2.TimeoutException):
        return text if isinstance(error, NoAnswer) else "no answer in time"
    if isinstance(error, httpx2.RemoteProtocolError):
        return "the connection broke off"
    if _is_certificate_problem(error):
        return f"its certificate is not accepted: {text}"
    for cause in _causes(error):
        number = getattr(cause, "errno", None)
        if type(cause).__name__ == "gaierror":
            return "its name cannot be looked up"
        if number == errno.ECONNREFUSED:
            return "the connection is refused"
        if number in _NO_NETWORK:
            return "there is no network"
    if "Name or service not known" in text or "name resolution" in text or "getaddrinfo" in text:
        return "its name cannot be looked up"
    if "refused" in text:
        return "the connection is refused"
    if "unreachable" in text:
        return "there is no network"
    return text or "the connection broke off"


def _is_certificate_problem(error: BaseException) -> bool:
    if "CERTIFICATE_VERIFY" in str(error):
        return True
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _mend_for(error: BaseException) -> str:
    from huggingface_hub import constants

    if _is_certificate_problem(error):
        return (
            "If a proxy of your network signs again, name its certificates: "
            "SSL_CERT_FILE=/path/to/ca.pem"
        )
    longer = ". To wait longer: HF_HUB_ETAG_TIMEOUT=30" if isinstance(error, NoAnswer) else ""
    if _proxy_in_use():
        return _MENDS["proxy"] + longer
    if "huggingface.co" in constants.ENDPOINT:
        return _MENDS["network"] + longer
    return f"{_MENDS['mirror']}, and HTTPS_PROXY{longer}"


def _refusal(error: BaseException, name: str, revision: str | None) -> RagVqaError | None:
    """The error for an answer with a status that says no."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        RemoteEntryNotFoundError,
        RevisionNotFoundError,
    )

    if not isinstance(error, HfHubHTTPError):
        return None
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return _gated_error(name, status)
    if isinstance(error, RevisionNotFoundError):
        return Missing(
            f"{name} has no revision {one_line(revision or 'main')}. Its revisions: "
            f"{_page(name)}/commits"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        file = one_line(str(error.response.url).partition("/resolve/")[2].partition("/")[2])
        return Missing(
            f"{name} has no file {file or 'of this name'}. Its files: {_page(name)}/tree"
        )
    if isinstance(error, DisabledRepoError):
        return Missing(f"The hub has disabled {name}. Choose another model.")
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        when = f"Wait {wait} s" if wait.isdigit() else "Wait a few minutes"
        return Missing(
            f"The hub gets too many requests from here (429). {when}, then run the same command "
            "again: it goes on. A token raises the limit: hf auth login"
        )
    if status >= 500:
        return Missing(
            f"The hub is out of order ({status}, {hub_address()}). Run the same command again "
            "later: it goes on. Or set a mirror: HF_ENDPOINT"
        )
    return _unauthorised_error(name, status, _server_message(error))


def _unauthorised_error(name: str, status: int, message: str) -> RagVqaError:
    """The error for 401, 403, 404 and other refusals of a whole repository."""
    if status == 401 and "credential" in message.lower():
        return Missing("The hub refuses your token (401). Log in anew: hf auth login")
    if status in (401, 404):
        from huggingface_hub import constants

        also = "" if "huggingface.co" in constants.ENDPOINT else " and HF_ENDPOINT"
        return Missing(
            f"The hub knows no {name} that it would show you ({status}). Check the spelling{also}; "
            f"if it is private, log in: hf auth login. Its page: {_page(name)}"
        )
    if status == 403:
        return Missing(
            f"The hub refuses {name} (403{': ' + message if message else ''}). Your token lacks "
            "a permission: make one that may read it, then hf auth login"
        )
    return Missing(f"The hub refuses {name} ({status}{': ' + message if message else ''}).")


def _gated_error(name: str, status: int) -> RagVqaError:
    if status == 401:
        return Missing(
            f"{name} is gated: its owner wants to know who uses it. Accept the terms at "
            f"{_page(name)}, then log in: hf auth login"
        )
    return Missing(
        f"{name} is gated, and your account has no access yet. Accept the terms at {_page(name)}, "
        "wait until they are granted, then run the same command again."
    )


def _page(name: str) -> str:
    return f"{hub_address()}/{name}"


def _server_message(error: BaseException) -> str:
    return one_line(str(getattr(error, "server_message", "") or ""))[:200]


def _disk_problem(error: BaseException, name: str, revision: str | None) -> RagVqaError | None:
    """The error for a full disk, and for a cache that cannot be written."""
    if not isinstance(error, OSError) or isinstance(error, ConnectionError):
        return None
    place = one_line(str(error.filename or "the cache of models"))
    if error.errno in _DISK_FULL:
        return RagVqaError(
            f"The disk is full: {place} cannot be written. What was downloaded is kept: make room, "
            "then run the same command again. Or use another disk: HF_HOME=/a/larger/disk"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RagVqaError(
            f"{place} cannot be written: {error.strerror}. Use another folder for models: "
            "HF_HOME=/a/folder/of/yours"
        )
    return None


def _text(error: BaseException) -> str:
    return one_line(str(error))[:200] or type(error).__name__
