"""What the files of examples/deploy name is there: verbs, options, extras, paths; not whether a
container runs."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from rag_vqa.cli.app import app


@pytest.fixture
def deploy(root: Path) -> Path:
    return root / "examples" / "deploy"


def options(verb: str) -> set[str]:
    command = typer.main.get_command(app)
    return {name for p in (*command.params, *command.commands[verb].params) for name in p.opts}


def served(deploy: Path) -> list[list[str]]:
    """The words after `serve` of each command line that is in the files."""
    found = []
    for file in deploy.iterdir():
        for line in file.read_text("utf-8").splitlines():
            if line.startswith("CMD ["):
                whole = file.read_text("utf-8").partition("CMD [")[2]
                found.append(re.findall(r'"([^"]*)"', whole)[1:])
            elif line.startswith("ExecStart="):
                found.append(shlex.split(line)[2:])
    return found


def test_every_command_line_takes_the_options_it_is_given(deploy) -> None:
    lines = served(deploy)
    assert len(lines) == 3
    for words in lines:
        assert {word for word in words if word.startswith("--")} <= options("serve"), words


def test_the_images_copy_what_is_there_and_install_extras_that_exist(deploy, root) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    for file in deploy.glob("Dockerfile.*"):
        text = file.read_text("utf-8")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
            assert all((root / name).exists() for name in line.split()), line
        named = re.search(r"\"\.\[([\w,]+)\]\"", text)
        assert named is not None
        assert set(named[1].split(",")) <= extras["optional-dependencies"].keys()
        assert "cpu,gpu" not in named[1]


def test_no_container_runs_as_root_and_no_secret_is_in_it(deploy) -> None:
    for file in deploy.glob("Dockerfile.*"):
        text = file.read_text("utf-8")
        assert re.findall(r"^USER (.+)$", text, re.M)[-1] == "rag-vqa"
        assert "RAG_VQA_TOKEN" not in text


def test_the_proxy_streams_and_hands_the_name_on(deploy) -> None:
    text = (deploy / "nginx.conf").read_text("utf-8")
    handed = (deploy / "nginx-proxy.conf").read_text("utf-8")
    assert "proxy_buffering off;" in handed
    assert "proxy_set_header Host $host;" in handed
    assert text.count("{") == text.count("}")
    zones = re.findall(r"(?:zone=|shared:)(\w+):", text)
    assert len(zones) == len(set(zones)) == 2
    assert text.count("include /etc/nginx/snippets/rag-vqa-proxy.conf;") == 2


def test_a_container_is_reached_by_the_names_that_a_browser_asks_for(deploy) -> None:
    for words in served(deploy):
        if "0.0.0.0" in words:
            names = [words[i + 1] for i, word in enumerate(words) if word == "--allowed-host"]
            assert names == ["127.0.0.1", "localhost"]
