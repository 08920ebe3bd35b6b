"""Every failure of the hub is one line: its cause, then what to do. Never "no such model"."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from model_hub import Fault, Hub, running, use_hub, write_model

from rag_vqa.errors import Missing, RagVqaError
from rag_vqa.hub.failures import call_with_deadline, describe_failure
from rag_vqa.hub.model_files import ensure_available
from rag_vqa.hub.repository import look_up, needed_files

ID = "owner/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    write_model(tmp_path / "served", ID, config__json=b"{}", model__safetensors=b"x")
    with running(
        tmp_path / "served", tokens={"hf_ok": frozenset({ID}), "hf_no": frozenset()}
    ) as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def point_at(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)


def message(model: str = ID, revision: str | None = None) -> str:
    with pytest.raises(Missing) as found:
        look_up(model, revision)
    text = str(found.value)
    assert "\n" not in text
    assert "no such" not in text
    return text


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def http_answer(answer: bytes) -> Iterator[str]:
    """Address of a server that answers every connection with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_refused_connection(hub: Hub, monkeypatch) -> None:
    point_at(monkeypatch, f"http://127.0.0.1:{free_port()}")
    text = message()
    assert text.startswith("The hub cannot be reached")
    assert "the connection is refused" in text
    assert "HF_ENDPOINT" in text
    assert "HTTPS_PROXY" in text


def test_a_name_that_cannot_be_looked_up(hub: Hub, monkeypatch) -> None:
    def refuse(*args: object, **rest: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    point_at(monkeypatch, "https://hub.invalid")
    assert "its name cannot be looked up" in message()


def test_a_server_that_never_answers_is_given_up_within_ten_seconds(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr("rag_vqa.hub.failures.FIRST_ANSWER_SECONDS", 0.3)
    hub.faults.append(Fault("stall", path="/api/*", after=0))
    start = time.monotonic()
    assert "no answer" in message()
    assert time.monotonic() - start < 5


def test_a_look_up_of_a_name_that_hangs_is_given_up_as_well() -> None:
    event = threading.Event()
    with pytest.raises(ConnectionError, match="no answer within 0 s"):
        call_with_deadline(event.wait, 0.05)
    event.set()


def test_a_proxy_that_refuses(hub: Hub, monkeypatch) -> None:
    from huggingface_hub.utils import _http

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxy = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@{proxy}")
    _http.close_session()
    text = message()
    _http.close_session()
    assert f"through the proxy {proxy}: the connection is refused" in text
    assert "Check HTTPS_PROXY" in text


def test_a_proxy_that_wants_a_login(hub: Hub, monkeypatch) -> None:
    from huggingface_hub.utils import _http

    with http_answer(
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    ) as at:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://{at}")
        point_at(monkeypatch, "https://hub.invalid")
        _http.close_session()
        text = message()
        _http.close_session()
    assert "The proxy refuses: 407" in text


def test_what_is_no_address(hub: Hub, monkeypatch) -> None:
    point_at(monkeypatch, "nonsense")
    assert message().startswith("HF_ENDPOINT=nonsense is no address")


def test_a_certificate_that_is_not_accepted() -> None:
    error = httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    found = describe_failure(error, ID)
    assert "certificate is not accepted" in str(found)
    assert "SSL_CERT_FILE" in str(found)


def test_a_login_page_of_a_guest_network(hub: Hub) -> None:
    hub.faults.append(Fault("page"))
    text = message()
    assert "not as a hub" in text
    assert "login" in text


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_hub_that_is_out_of_order(hub: Hub, monkeypatch, status: int) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.append(Fault("status", path="/api/*", status=status))
    assert f"out of order ({status}" in message()


def test_an_error_of_the_server_is_asked_about_once_more(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.append(Fault("status", path="/api/*", status=503, times=1))
    assert look_up(ID).commit


def test_too_many_requests(hub: Hub) -> None:
    hub.faults.append(Fault("status", path="/api/*", status=429, retry_after=60))
    text = message()
    assert "(429). Wait 60 s" in text
    assert "hf auth login" in text


def test_a_model_that_is_not_shown_may_be_private(hub: Hub) -> None:
    for text in (message("owner/unknown"), message("nobody/nothing")):
        assert "Check the spelling" in text
        assert "hf auth login" in text


def test_a_token_that_is_not_valid(hub: Hub, tmp_path, monkeypatch) -> None:
    use_hub(monkeypatch, hub, tmp_path / "home", token="hf_old")
    assert "refuses your token (401). Log in anew: hf auth login" in message()


def test_gated_models_name_the_page_of_their_terms(hub: Hub, tmp_path, monkeypatch) -> None:
    hub.add(ID, tmp_path / "served" / ID, gated=True)
    with pytest.raises(Missing, match=f"is gated.*Accept the terms at .*/{ID}, then log in"):
        ensure_available(ID, None)
    use_hub(monkeypatch, hub, tmp_path / "home", token="hf_no")
    with pytest.raises(Missing, match="your account has no access yet"):
        ensure_available(ID, None)
    use_hub(monkeypatch, hub, tmp_path / "home", token="hf_ok")
    assert ensure_available(ID, None)


def test_a_revision_that_does_not_exist(hub: Hub) -> None:
    assert "has no revision v9" in message(revision="v9")


def test_weights_that_are_pickled_or_gguf(hub: Hub, tmp_path) -> None:
    root = tmp_path / "served"
    hub.add(
        "a/pickled", write_model(root, "a/pickled", config__json=b"{}", pytorch_model__bin=b"x")
    )
    hub.add("a/gguf", write_model(root, "a/gguf", model__gguf=b"x"))
    with pytest.raises(Missing, match=r"only pickled ones .*which can run code"):
        needed_files(look_up("a/pickled"))
    with pytest.raises(Missing, match=r"as GGUF.*--server"):
        needed_files(look_up("a/gguf"))


def test_the_cause_is_found_where_transformers_wrapped_it() -> None:
    inner = httpx2.ConnectError("[Errno 111] Connection refused")
    middle = OSError("We couldn't connect to 'https://huggingface.co' to load the files")
    middle.__cause__ = inner
    found = describe_failure(middle, ID)
    assert isinstance(found, Missing)
    assert "the connection is refused" in str(found)


def test_a_cache_that_cannot_be_written() -> None:
    found = describe_failure(PermissionError(13, "Permission denied", "/data/hub"), ID)
    assert isinstance(found, RagVqaError)
    assert "/data/hub cannot be written" in str(found)
    assert "HF_HOME=" in str(found)


def test_what_has_nothing_to_do_with_the_hub_is_left_alone() -> None:
    assert describe_failure(KeyError("x"), ID) is None
