import json
import subprocess
import threading

import httpx
import openai
import pytest
from served import BEARER, QUESTION, TOKEN, chat, client, data_url, guarded, picture, running, wait


def events(response) -> list:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_the_answer_comes_with_its_evidence(make) -> None:
    with client(make()) as asking:
        sent = asking.post("/v1/chat/completions", json=chat(rag_vqa={"prompt": True})).json()
    assert sent["object"] == "chat.completion" and sent["model"] == "rag-vqa"
    (choice,) = sent["choices"]
    assert choice["message"] == {"role": "assistant", "content": "In burrows [1]."}
    assert choice["finish_reason"] == "stop"
    more = sent["rag_vqa"]
    assert more["hits"][0]["document"]["id"] == "puffin"
    assert [hit["rank"] for hit in more["hits"]] == [1, 2]
    assert (more["citations"], more["invalid_citations"]) == ([1], [])
    assert more["kept"] == [hit["rank"] for hit in more["hits"]]
    assert more["finish"] == "stop" and more["id"] == sent["id"]
    assert set(more["seconds"]) >= {"retrieve", "read"}
    assert "burrows on sea cliffs" in more["prompt"]
    assert sent["usage"]["total_tokens"] == (
        sent["usage"]["prompt_tokens"] + sent["usage"]["completion_tokens"]
    )


def test_a_stream_says_evidence_then_text_then_the_rest(make) -> None:
    asked = chat(stream=True, stream_options={"include_usage": True})
    with client(make()) as asking:
        response = asking.post("/v1/chat/completions", json=asked)
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *pieces, last, usage = events(response)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert first["rag_vqa"]["hits"][0]["document"]["id"] == "puffin"
    text = "".join(piece["choices"][0]["delta"]["content"] for piece in pieces)
    assert text == "In burrows [1]."
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert last["rag_vqa"]["citations"] == [1] and "hits" not in last["rag_vqa"]
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 3
    assert len({event["id"] for event in (first, *pieces, last, usage)}) == 1


def test_without_retrieval_nothing_is_looked_for(make, reader) -> None:
    with client(make()) as asking:
        asked = chat(rag_vqa={"retrieval": False})
        more = asking.post("/v1/chat/completions", json=asked).json()["rag_vqa"]
        assert more["hits"] == [] and "burrows" not in reader.prompts[-1].text
        asked = chat(rag_vqa={"k": 1})
        assert len(asking.post("/v1/chat/completions", json=asked).json()["rag_vqa"]["hits"]) == 1
        asked = chat(rag_vqa={"where": {"lang": "de"}})
        hits = asking.post("/v1/chat/completions", json=asked).json()["rag_vqa"]["hits"]
        assert [hit["document"]["id"] for hit in hits] == ["swift"]


def test_a_conversation_is_its_last_question_and_its_last_picture(make, reader) -> None:
    first, second = data_url(picture()), data_url(picture("JPEG"), "jpeg")
    turns = [
        {"role": "system", "content": "You are a pirate."},
        chat("what is this", first)["messages"][0],
        {"role": "assistant", "content": "A puffin.", "tool_calls": None, "refusal": None},
        chat("and this", second)["messages"][0],
        {"role": "assistant", "content": [{"type": "text", "text": "A stork."}]},
        {"role": "user", "content": "where does it nest", "name": "me"},
    ]
    with client(make()) as asking:
        assert asking.post("/v1/chat/completions", json={"messages": turns}).is_success
    prompt = reader.prompts[-1]
    assert "where does it nest" in prompt.text
    assert "pirate" not in prompt.text and "what is this" not in prompt.text
    assert [part.image for part in prompt.parts if hasattr(part, "image")] == [picture("JPEG")] or (
        [part.image[:3] for part in prompt.parts if hasattr(part, "image")] == [b"\xff\xd8\xff"]
    )


@pytest.mark.parametrize(
    ("more", "place"),
    [({"temperature": 0.7}, "temperature"), ({"n": 2}, "n"), ({"tools": [{"x": 1}]}, "tools"),
     ({"response_format": {"type": "json_object"}}, "response_format"),
     ({"logprobs": True}, "logprobs"), ({"frequency_penalty": 0.5}, "frequency_penalty"),
     ({"template": "short"}, "template"), ({"reader": "x"}, "reader"),
     ({"messages": []}, "messages"),
     ({"max_tokens": 0}, "max_tokens"), ({"stop": ["a"] * 5}, "stop"), ({"stop": ""}, "stop"),
     ({"rag_vqa": {"template": "short"}}, "rag_vqa.template"),
     ({"rag_vqa": {"k": 101}}, "rag_vqa.k"),
     ({"rag_vqa": {"k": -1}}, "rag_vqa.k"), ({"rag_vqa": {"where": {"lang": {}}}}, "rag_vqa.where"),
     ({"rag_vqa": {"where": {"year": float("inf")}}}, "rag_vqa.where"),
     ({"stream": "yes"}, "stream"),
     ({"messages": [{"role": "user", "content": "a\ud800"}]}, "messages"),
     ({"messages": [{"role": "user", "content": "x" * 16_001}]}, "messages"),
     ({"messages": [{"role": "user", "content": " "}]}, "messages"),
     ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
     ({"messages": [{"role": "judge", "content": "x"}]}, "messages"),
     ({"messages": chat()["messages"] * 257}, "messages"),
     (chat("x", *[data_url(picture())] * 65), "messages")],
)  # fmt: skip
def test_what_is_not_done_is_refused_by_name(make, more, place) -> None:
    with client(make()) as asking:
        data = json.dumps({**chat(), **more})
        headers = {"Content-Type": "application/json"}
        response = asking.post("/v1/chat/completions", content=data, headers=headers)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"].startswith(place)


@pytest.mark.parametrize(
    "more",
    [{"temperature": 0, "top_p": 1, "seed": 7, "n": 1, "user": "u", "store": False},
     {"model": "fake reader", "max_completion_tokens": 5, "stop": None, "tools": []},
     {"tool_choice": "none", "response_format": {"type": "text"}, "presence_penalty": 0},
     {"rag_vqa": {"where": {"lang": 2**70}}}, {"rag_vqa": {"where": {"lang": [True, None, 1.5]}}},
     {"rag_vqa": {}, "metadata": {"chat_id": "1"}, "stream_options": None, "logit_bias": {}}],
)  # fmt: skip
def test_what_changes_nothing_is_taken(make, more) -> None:
    with client(make()) as asking:
        assert asking.post("/v1/chat/completions", json=chat(**more)).status_code == 200


def test_an_unknown_model_is_named_as_such(make) -> None:
    with client(make()) as asking:
        response = asking.post("/v1/chat/completions", json=chat(model="gpt-4o"))
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "https://127.1/x.png", "file:///etc/passwd", "/etc/passwd",
     "//evil/x", "data:text/html;base64,PGI+", "data:image/png,raw",
     "data:image/svg+xml;base64,PA==", "data:image/png;base64",
     "data:image/png;base64,%%%", "data:image/png;base64,", "ftp://x/y"],
)  # fmt: skip
def test_addresses_are_not_fetched_and_only_pictures_are_taken(make, url) -> None:
    with client(make()) as asking:
        for path, body in (
            ("chat/completions", chat("what", url)),
            ("prompt", chat("what", url)),
            ("search", {"text": "what", "image": url}),
        ):
            response = asking.post(f"/v1/{path}", json=body)
            assert response.status_code == 400, response.text
            if not url.startswith("data:"):
                assert "not fetched" in response.json()["error"]["message"]


def test_one_picture_a_question(make) -> None:
    with client(make()) as asking:
        url = data_url(picture())
        response = asking.post("/v1/chat/completions", json=chat("what", url, url))
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "too_many_images"


def test_length_and_stops_end_an_answer(make) -> None:
    with client(make()) as asking:
        sent = asking.post("/v1/chat/completions", json=chat(stop=" [1]")).json()
        assert sent["choices"][0]["message"]["content"] == "In burrows"
        assert sent["choices"][0]["finish_reason"] == "stop"
        sent = asking.post("/v1/chat/completions", json=chat(max_tokens=1)).json()
        assert sent["choices"][0]["message"]["content"] == "In"
        assert sent["choices"][0]["finish_reason"] == "length"


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
