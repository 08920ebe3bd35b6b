"""The shell commands in docs/serving.md do what the page says."""

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import client

from rag_vqa.server.access import read_token
from rag_vqa.server.service import Service


@pytest.fixture
def shell(root: Path) -> list[str]:
    """The page's two blocks, in order: ask a question, make a token."""
    page = (root / "docs" / "serving.md").read_text("utf-8")
    mark = "<!-- run: tests/server/test_book.py -->"
    return re.findall(rf"^{mark}\n```text\n(.*?)^```$", page, re.M | re.S)


def test_the_curl_line_is_answered(make: Callable[..., Service], shell: list[str]) -> None:
    program, address, *options = shlex.split(shell[0].replace("\\\n", " "))
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert program == "curl" and given.keys() == {"-H", "-d"}
    name, _, value = given["-H"].partition(": ")
    with client(make()) as asking:
        answer = asking.post(urlsplit(address).path, headers={name: value}, content=given["-d"])
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "In burrows [1]."


def test_the_token_s_line_makes_one_that_is_the_owner_s_alone(
    tmp_path: Path, shell: list[str]
) -> None:
    here = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    subprocess.run(["sh", "-c", shell[1]], cwd=tmp_path, env={"PATH": here}, check=True)
    token = tmp_path / "token.txt"
    assert re.fullmatch(r"[\w-]{43}", read_token(token, None))  # 32 bytes in base64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
