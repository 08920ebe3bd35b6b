"""Questions and uploads are neither written nor logged, unless the operator asked for it."""

import base64
import io
import json
import logging
import re
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
from openai_server import OpenAiServer
from PIL import Image
from served import QUESTION, chat, client, data_url, picture, running, wait, with_exif

from rag_vqa.errors import UsageError
from rag_vqa.formats.question_set import open_questions
from rag_vqa.readers.prompt_encoder import ImageOpener
from rag_vqa.readers.remote.reader import RemoteReader
from rag_vqa.server import app
from rag_vqa.server.app import log_requests
from rag_vqa.server.question_log import QuestionLog

SECRET = "zanzibar-secret"


def everything_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_question_leaves_no_trace(make, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    photo = data_url(with_exif(SECRET), "jpeg")
    with log_requests(quiet=False), client(make()) as asking:
        asking.post("/v1/chat/completions", json=chat(SECRET, photo))
        asking.post("/v1/chat/completions", json=chat(SECRET, photo, stream=True))
        asking.post("/v1/search", json={"text": SECRET, "image": photo})
        asking.post("/v1/search", json={"text": "x", "where": {SECRET: 1}})
        asking.post("/v1/prompt", json=chat(SECRET))
        asking.post("/v1/chat/completions", json=chat(SECRET, f"http://{SECRET}/"))
        asking.get(f"/v1/info?q={SECRET}")
        asking.post("/v1/feedback", json={"id": SECRET, "good": True})
    out, err = capfd.readouterr()
    assert "POST /v1/chat/completions 200" in err and "GET /v1/info 200" in err
    assert SECRET not in out + err and "127.0.0.1" not in err
    assert SECRET.encode() not in everything_under(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # the knowledge base


def test_an_error_while_answering_is_logged_without_words(make, capfd, monkeypatch) -> None:
    service = make()
    with log_requests(quiet=True), client(service) as asking:

        def broken(*_: object, **__: object) -> None:
            raise KeyError(SECRET)

        monkeypatch.setattr(service.engine.rag, "read", broken)
        assert asking.post("/v1/chat/completions", json=chat(SECRET)).status_code == 503
    with log_requests(quiet=True):
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    err = capfd.readouterr().err
    assert "KeyError" in err and "ValueError" in err and SECRET not in err


def test_what_clients_send_gets_no_advice_to_install_something(make, capfd) -> None:
    with log_requests(quiet=True), running(make()) as address:
        sent = {"Upgrade": "websocket", "Connection": "Upgrade"}
        assert httpx.get(f"{address}/health", headers=sent).status_code == 200
    assert capfd.readouterr().err == ""


def test_no_reader_is_given_what_a_photo_says_of_its_owner(make) -> None:
    photo = with_exif(SECRET)
    assert SECRET.encode() in photo
    opened = ImageOpener().open(photo)  # the way to a reader on this machine
    assert not opened.getexif() and SECRET not in str(opened.info)
    with OpenAiServer() as elsewhere:
        reader = RemoteReader("served", [elsewhere.address])
        with client(make(reader=reader, servers=reader.servers)) as asking:
            url = data_url(photo, "jpeg")
            assert asking.post("/v1/chat/completions", json=chat("what", url)).is_success
            about = asking.get("/v1/info").json()
            assert about["reader"]["servers"] == [elsewhere.address]
        sent = [json.dumps(body) for _, _, body in elsewhere.requests]
    assert sent and not any(SECRET in body for body in sent)
    packed = re.findall(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", "".join(sent))
    assert packed
    for each in packed:
        data = base64.b64decode(each)
        assert SECRET.encode() not in data and b"Exif" not in data


def test_nothing_is_kept_from_one_question_to_the_next(make, reader) -> None:
    with client(make()) as asking:
        for shape in ((30, 100), (100, 30)):
            asking.post("/v1/chat/completions", json=chat("what", data_url(shaped(shape))))
        sizes = [ImageOpener().open(part.image).size for prompt in reader.prompts[-2:]
                 for part in prompt.parts if hasattr(part, "image")]  # fmt: skip
    assert sizes == [(30, 100), (100, 30)]


def shaped(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return buffer.getvalue()


def test_questions_are_written_down_where_the_operator_said(make, tmp_path) -> None:
    log = QuestionLog(tmp_path / "asked", 7)
    photo = data_url(with_exif(SECRET), "jpeg")
    with client(make(log=log)) as asking:
        about = asking.get("/v1/info").json()
        assert about["log_questions"] == {"days": 7} and about["feedback"] is True
        first = asking.post("/v1/chat/completions", json=chat(QUESTION, photo)).json()
        second = asking.post("/v1/chat/completions", json=chat("and storks")).json()
        for sent, good in ((first, True), (second, False)):
            opinion = {"id": sent["id"], "good": good}
            assert asking.post("/v1/feedback", json=opinion).is_success
            assert asking.post("/v1/feedback", json=opinion).status_code == 404
    day = log.folder / date.today().isoformat()
    assert SECRET.encode() not in everything_under(log.folder)
    asked = list(open_questions("own", day, split="questions").examples())
    assert [(each.id, each.query.text) for each in asked] == [
        (first["id"], QUESTION), (second["id"], "and storks")
    ]  # fmt: skip
    assert asked[0].query.image is not None and asked[1].query.image is None
    (good,) = open_questions("own", day, split="good").examples()
    assert good.answers == ("In burrows [1].",) and good.relevant == ("puffin",)
    (bad,) = open_questions("own", day, split="bad").examples()
    assert (bad.id, bad.answers) == (second["id"], ())
    assert oct(log.folder.stat().st_mode)[-2:] == "00"


def test_without_being_asked_for_nothing_is_written(make) -> None:
    with client(make()) as asking:
        about = asking.get("/v1/info").json()
        assert about["log_questions"] is None and about["feedback"] is False
        sent = asking.post("/v1/chat/completions", json=chat()).json()
        opinion = {"id": sent["id"], "good": True}
        assert asking.post("/v1/feedback", json=opinion).status_code == 404


def test_days_that_are_over_are_removed_and_nothing_else(tmp_path) -> None:
    today = date(2026, 3, 10)
    kept = [today - timedelta(days=n) for n in (1, 2)]
    gone = [today - timedelta(days=n) for n in (3, 400)]
    for day in (*kept, *gone):
        (tmp_path / day.isoformat()).mkdir()
        (tmp_path / day.isoformat() / "questions.jsonl").write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "2020-01-01").symlink_to(tmp_path / "elsewhere")
    QuestionLog(tmp_path, 3, lambda: today)
    left = {entry.name for entry in tmp_path.iterdir()}
    days = {day.isoformat() for day in (today, *kept)}
    assert left == days | {"mine", "elsewhere", "2020-01-01"}


def test_days_end_where_nobody_asks(make, tmp_path, monkeypatch) -> None:
    today = [date(2026, 3, 10)]
    log = QuestionLog(tmp_path, 1, lambda: today[0])
    monkeypatch.setattr(app, "LOG_CLEANUP_SECONDS", 0.02)
    with client(make(log=log)):
        assert (tmp_path / "2026-03-10").is_dir()
        today[0] = date(2026, 3, 12)
        wait(lambda: not (tmp_path / "2026-03-10").exists())


def test_an_opinion_of_a_question_whose_day_is_gone_is_not_written(make, tmp_path) -> None:
    today = [date(2026, 3, 10)]
    log = QuestionLog(tmp_path, 1, lambda: today[0])
    with client(make(log=log)) as asking:
        sent = asking.post("/v1/chat/completions", json=chat()).json()
        today[0] = date(2026, 3, 11)
        log.delete_old_days()
        assert asking.post("/v1/feedback", json={"id": sent["id"], "good": True}).status_code == 404
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_question_found_good_after_midnight_has_its_picture(make, tmp_path) -> None:
    today = [date(2026, 3, 10)]
    log = QuestionLog(tmp_path, 2, lambda: today[0])
    with client(make(log=log)) as asking:
        sent = asking.post("/v1/chat/completions", json=chat(QUESTION, data_url(picture()))).json()
        today[0] = date(2026, 3, 11)
        assert asking.post("/v1/feedback", json={"id": sent["id"], "good": True}).is_success
    (good,) = open_questions("own", tmp_path / "2026-03-10", split="good").examples()
    assert (good.id, good.query.image is not None) == (sent["id"], True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_log_that_fails_costs_no_answer(make, tmp_path, monkeypatch, caplog, stream) -> None:
    log = QuestionLog(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "write_question", full)
    with client(make(log=log)) as asking:
        sent = asking.post("/v1/chat/completions", json=chat(stream=stream))
    assert sent.status_code == 200 and "burrows" in sent.text and "error" not in sent.text
    assert "OSError" in caplog.text


def test_a_log_that_cannot_be_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        QuestionLog(tmp_path / "log", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        QuestionLog(tmp_path / "file", 1)


def test_the_same_photo_is_there_once(tmp_path, make) -> None:
    log = QuestionLog(tmp_path, 1)
    url = data_url(picture())
    with client(make(log=log)) as asking:
        for _ in range(2):
            asking.post("/v1/chat/completions", json=chat("what", url))
    assert len(list(tmp_path.rglob("*.png"))) == 1
