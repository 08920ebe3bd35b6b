"""Chat completions from real clients: OpenAI's, curl, Open WebUI; full queues and disconnects."""

import json
import subprocess
import threading

import httpx
import openai
import pytest
from served import BEARER, QUESTION, TOKEN, chat, data_url, guarded, picture, running, wait


def test_the_official_client_works(make) -> None:
    with running(make(access=guarded())) as address:
        asking = openai.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0)
        assert [model.id for model in asking.models.list()] == ["rag-vqa"]
        assert asking.models.retrieve("rag-vqa").id == "rag-vqa"
        content = chat("where do puffins nest", data_url(picture()))["messages"]
        whole = asking.chat.completions.create(model="rag-vqa", messages=content, temperature=0)
        assert whole.choices[0].message.content == "In burrows [1]."
        assert whole.usage.completion_tokens == 3
        assert whole.model_extra["rag_vqa"]["hits"][0]["document"]["id"] == "puffin"
        stream = asking.chat.completions.create(
            model="rag-vqa", messages=content, stream=True, extra_body={"rag_vqa": {"k": 1}}
        )
        chunks = list(stream)
        assert len(chunks[0].model_extra["rag_vqa"]["hits"]) == 1
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "In burrows [1]."
        assert chunks[-1].choices[0].finish_reason == "stop"
        with pytest.raises(openai.BadRequestError, match="greedy"):
            asking.chat.completions.create(model="rag-vqa", messages=content, temperature=1)
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{address}/v1", api_key="other", max_retries=0).models.list()


def test_curl_works(make) -> None:
    with running(make()) as address:
        base = ["curl", "-sS", "-H", "Content-Type: application/json"]
        asked = json.dumps(chat(stream=True))
        done = subprocess.run(
            [*base, "-N", f"{address}/v1/chat/completions", "-d", asked],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        assert "burrows" in done.stdout and done.stdout.rstrip().endswith("data: [DONE]")


def test_what_open_webui_sends_works(make) -> None:
    # As its backend forwards a chat: the models first, then streams of whole conversations; titles
    # are asked for without a stream, and every message may hold parts.
    with running(make(access=guarded())) as address, httpx.Client(headers=BEARER) as asking:
        (model,) = asking.get(f"{address}/v1/models").json()["data"]
        assert model["object"] == "model"
        url = data_url(picture("JPEG"), "jpeg")
        talk = {
            "stream": True, "model": model["id"], "stream_options": {"include_usage": True},
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "what is this"},
                                             {"type": "image_url", "image_url": {"url": url}}]},
                {"role": "assistant", "content": "A puffin."},
                {"role": "user", "content": QUESTION},
            ],
        }  # fmt: skip
        sent = asking.post(f"{address}/v1/chat/completions", json=talk)
        assert sent.status_code == 200 and sent.text.endswith("data: [DONE]\n\n")
        title = {"model": model["id"], "stream": False, "max_completion_tokens": 1000,
                 "messages": [{"role": "user", "content": "Give a title"}]}  # fmt: skip
        assert asking.post(f"{address}/v1/chat/completions", json=title).is_success


def test_a_full_queue_is_told_at_once(make, gate) -> None:
    service = make(reader=gate, queue=2)
    with running(service) as address, httpx.Client(timeout=20) as asking:
        streams = [
            asking.stream("POST", f"{address}/v1/chat/completions", json=chat(stream=True))
            for _ in range(3)
        ]
        opened = []
        for number, stream in enumerate(streams):
            opened.append(stream.__enter__())
            wait(
                lambda n=number: (
                    service.engine.reading_count == 1 and service.engine.waiting_count == n
                )
            )
        for path, body in (("chat/completions", chat()), ("chat/completions", chat(stream=True))):
            refused = asking.post(f"{address}/v1/{path}", json=body)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "queue_full"
        assert asking.get(f"{address}/health").is_success
        gate.opened.set()
        for response, stream in zip(opened, streams, strict=True):
            response.read()
            assert response.text.endswith("data: [DONE]\n\n")
            stream.__exit__(None, None, None)


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_frees_a_place(make, gate, stream) -> None:
    service = make(reader=gate)
    with running(service) as address, httpx.Client(timeout=20) as asking:
        body = chat(stream=stream)
        if stream:
            with asking.stream("POST", f"{address}/v1/chat/completions", json=body):
                wait(gate.begun.is_set)
        else:
            with pytest.raises(httpx.ReadTimeout):
                asking.post(f"{address}/v1/chat/completions", json=body, timeout=0.5)
            assert gate.begun.is_set()
        wait(
            lambda: service.engine.reading_count == 0 and service.engine.waiting_count == 0,
            seconds=1.0,
        )
        gate.opened.set()
        assert asking.post(f"{address}/v1/chat/completions", json=chat()).is_success


def test_what_is_in_flight_is_finished_when_the_server_ends(make, gate) -> None:
    service = make(reader=gate)
    with httpx.Client(timeout=20) as asking:
        with running(service) as address:
            url = f"{address}/v1/chat/completions"
            stream = asking.stream("POST", url, json=chat(stream=True))
            response = stream.__enter__()
            wait(gate.begun.is_set)
            threading.Timer(0.5, gate.opened.set).start()
        response.read()
        assert response.text.endswith("data: [DONE]\n\n")
        stream.__exit__(None, None, None)
        with pytest.raises(httpx.ConnectError):
            asking.get(f"{address}/health")


def test_below_a_path_of_a_proxy_all_is_found(make) -> None:
    with running(make(access=guarded()), root_path="/rag") as address:  # which the proxy cuts off
        for path in ("/", "/static/main.js", "/health", "/v1/info", "/v1/documents/puffin"):
            sent = httpx.get(f"{address}{path}", headers=BEARER)
            assert sent.status_code == 200, path
            assert "/rag/rag" not in sent.text
        assert httpx.get(f"{address}/v1/info").status_code == 401
        assert 'href="static/' in httpx.get(f"{address}/").text
