"""What RemoteReader makes of what servers send: the cases in tests/readers/servers.

scripted_server.py tells what a case holds.
"""

import asyncio
import json
import re
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripted_server import ScriptedServer

from rag_vqa.errors import Missing, ReaderError
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.types import Completion, ImagePart, Prompt, TextPart

FOLDER = Path(__file__).parents[1] / "servers"
CONTEXT = ssl.create_default_context()
MODES = ["whole", "whole line", "stream", "stream line"]
PROMPT = Prompt(
    (
        TextPart("Answer in a word.", trusted=True, role="system"),
        ImagePart(Image.new("RGB", (24, 16))),
        TextPart("Which town is this?"),
    )
)


def read_cases() -> list[Any]:
    """A parameter for each case and way to ask."""
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        content = json.loads(file.read_text("utf-8"))
        for case in content if isinstance(content, list) else [content]:
            found += [
                pytest.param(case, mode, id=f"{case['name']}-{mode}")
                for mode in case.get("runs", MODES)
            ]
    return found


def test_there_are_cases() -> None:
    assert len({case.values[0]["name"] for case in read_cases()}) >= 298


@pytest.mark.parametrize(("case", "mode"), read_cases())
def test_case(case: dict[str, Any], mode: str, waits: list[float]) -> None:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(ScriptedServer(case["server"], number))
            for number in range(case.get("servers", 1))
        ]
        reader = RemoteReader(
            "m",
            [server.address for server in servers],
            retries=case.get("retries", 2),
            timeout=12,
            max_new_tokens=48,
            stop_at_newline=mode.endswith("line"),
        )
        asks = [ask(reader, mode) for _ in range(case.get("calls", 1))]
    requests = sum(len(server.requests) for server in servers)
    want = case.get("want_" + mode.replace(" ", "_"), case["want"])
    wants = want if isinstance(want, list) else [want]
    faults = [
        [fault for each in asks for fault in find_faults(want, each, requests, waits)]
        for want in wants
    ]
    assert [] in faults, faults


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds before each further try, which take none here."""
    found: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds:
            found.append(seconds)
        await sleep(0)

    monkeypatch.setattr("rag_vqa.readers.remote.retrying_client.asyncio.sleep", note)
    # Nothing is encrypted here, and each reader would read all certificates: 50 ms.
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: CONTEXT)
    return found


def ask(reader: RemoteReader, mode: str) -> tuple[Completion, list[str] | None, str]:
    """(answer, what was streamed, the likelier choice)."""
    if mode == "choose":
        try:
            [shares] = reader.choice_probability([PROMPT], ["yes", "no"])
        except (Missing, ReaderError) as error:
            return Completion("", 0, 0, "failed", error=str(error)), None, ""
        return Completion("", 0, 0), None, "yes" if shares[0] > shares[1] else "no"
    heard: list[str] = []
    on_text = (lambda row, piece: heard.append(piece)) if mode.startswith("stream") else None
    [completion] = generate(reader, on_text)
    return completion, heard if on_text else None, ""


def generate(reader: RemoteReader, on_text: Any) -> list[Completion]:
    try:
        return reader.generate([PROMPT], on_text)
    except (Missing, ReaderError) as error:  # no server is left
        return [Completion("", 0, 0, "failed", error=str(error))]


def find_faults(
    want: dict[str, Any], found: tuple[Completion, Any, str], requests: int, waits: list[float]
) -> list[str]:
    """What differs from what is wanted, in words."""
    completion, heard, likeliest = found
    told = completion.text + "".join(heard or ())
    error = completion.error.casefold()
    checks = {
        "text": lambda text: completion.text.strip() == text.strip(),
        "finish": lambda finish: completion.finish == finish,
        "tokens_in": lambda tokens: completion.tokens_in == tokens,
        "tokens_out": lambda tokens: completion.tokens_out == tokens,
        "text_lacks": lambda words: not any(word in told for word in words),
        "error_has": lambda words: all(word.casefold() in error for word in words),
        "error_lacks": lambda words: not any(word.casefold() in error for word in words),
        "error_like": lambda pattern: re.search(pattern, error, re.IGNORECASE) is not None,
        "likeliest": lambda choice: likeliest == choice,
        "requests_max": lambda most: requests <= most,
        "gap_min": lambda seconds: min(waits, default=0) >= seconds,
        "seconds_max": lambda seconds: sum(waits) <= seconds,
    }
    faults = [
        f"{name} {wanted!r}: {completion}, {heard}, {requests} requests, waits {waits}"
        for name, wanted in want.items()
        if not checks[name](wanted)
    ]
    if heard and completion.finish != "failed" and "".join(heard) != completion.text:
        faults.append(f"{heard} was streamed, and the text is {completion.text!r}")
    return faults
