"""Chat completions: evidence, streams, conversations, and fields that are refused or ignored."""

import json

import pytest
from served import chat, client, data_url, picture


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


def test_thoughts_are_told_apart_from_the_answer(make, reader) -> None:
    reader.thinks = "Cliffs, so it burrows."
    with client(make()) as asking:
        sent = asking.post("/v1/chat/completions", json=chat()).json()
        asked = chat(stream=True, stream_options={"include_usage": True})
        streamed = events(asking.post("/v1/chat/completions", json=asked))
    message = sent["choices"][0]["message"]
    assert message["content"] == "In burrows [1]."
    assert message["reasoning_content"] == reader.thinks
    assert sent["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    deltas = [event["choices"][0]["delta"] for event in streamed if event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "In burrows [1]."
    assert [x["reasoning_content"] for x in deltas if "reasoning_content" in x] == [reader.thinks]
    assert streamed[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}


def test_a_note_about_an_answer_is_sent(make, reader) -> None:
    reader.says, reader.thinks, reader.note = "", "Cliffs", "only thoughts: --max-new-tokens"
    with client(make()) as asking:
        sent = asking.post("/v1/chat/completions", json=chat()).json()
    assert sent["choices"][0]["message"]["content"] == ""
    assert sent["rag_vqa"]["notes"] == [reader.note]
