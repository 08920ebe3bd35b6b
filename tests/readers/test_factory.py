"""Opening a reader by name: which back end, with which options, and which are refused."""

from inspect import signature
from typing import Any

import pytest

from rag_vqa.errors import Missing, UsageError
from rag_vqa.pipeline import RagVqa
from rag_vqa.readers.factory import COMMON_OPTIONS, READER_BACKENDS, open_reader
from rag_vqa.readers.local.reader import LocalReader
from rag_vqa.readers.remote.reader import RemoteReader

SERVERS = ["http://localhost:1/v1"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        "rag_vqa.readers.local.reader.LocalReader", lambda m, **o: calls.append((m, o))
    )
    monkeypatch.setattr(
        "rag_vqa.readers.remote.reader.RemoteReader", lambda m, s, **o: calls.append((m, s, o))
    )
    monkeypatch.setattr("rag_vqa.readers.factory.model_source", lambda model, role: model)
    return calls


def test_a_local_reader_is_in_nf4_by_default(opened: list[Any]) -> None:
    open_reader("a/b")
    open_reader("a/b", quantization="none", max_new_tokens=9, device=None)
    assert opened[0] == ("a/b", {"quantization": "nf4", "revision": None})
    assert opened[1][1] == {"quantization": "none", "max_new_tokens": 9, "revision": None}


def test_servers_make_it_a_remote_one(opened: list[Any], caplog: Any) -> None:
    open_reader("a/b", servers=SERVERS, concurrency=3, quantization=None)
    assert opened == [("a/b", SERVERS, {"concurrency": 3})]
    assert caplog.text == ""  # nothing is downloaded, hence no terms


@pytest.mark.parametrize("option", [{"quantization": "nf4"}, {"device": "cpu"}, {"revision": "v"}])
def test_servers_take_no_option_of_a_local_reader(opened: list[Any], option: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        open_reader("a/b", servers=SERVERS, **option)
    assert opened == []


@pytest.mark.parametrize("option", [{"concurrency": 3}, {"api_key": "k"}, {"tokenizer": "a/b"}])
def test_a_local_reader_takes_no_option_of_servers(opened: list[Any], option: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        open_reader("a/b", **option)
    assert opened == []


def test_servers_need_a_model_and_the_extra(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--reader MODEL"):
        open_reader(None, servers=SERVERS)
    monkeypatch.setattr("rag_vqa.readers.factory.find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"rag-vqa\[openai\]"):
        open_reader("a/b", servers=SERVERS)


def test_the_options_are_those_that_the_readers_have() -> None:
    own = {"model", "servers", "self"}
    local = set(signature(LocalReader.__init__).parameters) - own
    remote = set(signature(RemoteReader.__init__).parameters) - own
    assert set(COMMON_OPTIONS) == local & remote
    assert set(READER_BACKENDS.get("local").options) == local
    assert set(READER_BACKENDS.get("remote").options) == remote
    assert READER_BACKENDS.names() == ("local", "quote", "remote")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_newtokens": 3}, "max_newtokens: .* Did you mean 'max_new_tokens'"),
        ({"colour": None}, "colour: no option of a reader"),
        ({"quantization": "int4"}, "quantization = 'int4': take one of nf4, int8, none"),
        (
            {"quantization": "nf4", "servers": SERVERS},
            "quantization cannot be combined .* because its server loads the model",
        ),
        ({"timeout": 3}, "timeout cannot be combined .* because no server is named"),
    ],
)
def test_a_pipeline_refuses_invalid_options_when_it_is_created(options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RagVqa("none.kb", "a/b", **options)


def test_an_open_reader_takes_none(reader: Any) -> None:
    for options in ({"quantization": "nf4"}, {"servers": SERVERS}, {"max_new_tokens": 3}):
        with pytest.raises(UsageError, match=f"{next(iter(options))}: this reader is open"):
            RagVqa("none.kb", reader, **options)
