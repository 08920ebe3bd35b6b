"""The messages of a request: order, roles, images, neutralised markers, estimated tokens."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rag_vqa.readers.neutralise import neutralise_by_shape
from rag_vqa.readers.processor_loading import load_processor
from rag_vqa.readers.remote.message_encoder import DEFAULT_MAX_PIXELS, MessageEncoder
from rag_vqa.types import ImagePart, Prompt, TextPart


def noise(width: int, height: int) -> Image.Image:
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def received(content: dict[str, Any]) -> tuple[str, Image.Image]:
    """What a server decodes from a part."""
    assert content["type"] == "image_url"
    head, _, data = content["image_url"]["url"].partition(";base64,")
    return head, Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def sent(wire: MessageEncoder, *parts: TextPart | ImagePart) -> Any:
    return wire.encode(Prompt(parts))


def test_texts_and_pictures_keep_their_order_and_neighbouring_texts_are_one() -> None:
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (6, 4), "blue")
    [system, user] = sent(
        MessageEncoder(),
        TextPart("Answer ", trusted=True, role="system"),
        TextPart("briefly.", trusted=True, role="system"),
        ImagePart(red),
        TextPart("[1] ", trusted=True),
        TextPart("Puffin"),
        ImagePart(blue, "doc"),
        TextPart("Where?"),
    )
    assert system == {"role": "system", "content": "Answer briefly."}
    assert user["role"] == "user"
    kinds = [part["type"] for part in user["content"]]
    assert kinds == ["image_url", "text", "image_url", "text"]
    assert [part.get("text") for part in user["content"]] == [None, "[1] Puffin", None, "Where?"]
    assert [received(user["content"][n])[1].size for n in (0, 2)] == [(4, 4), (6, 4)]


def test_small_pictures_and_graphics_arrive_pixel_for_pixel() -> None:
    drawing = Image.new("RGB", (1024, 1024), "white")
    drawing.paste((200, 0, 0), (100, 100, 300, 900))
    for picture in (noise(300, 200), drawing):
        [message] = sent(MessageEncoder(), ImagePart(picture))
        head, arrived = received(message["content"][0])
        assert head == "data:image/png"
        assert arrived.tobytes() == picture.tobytes()


def test_photographs_arrive_as_jpeg_in_fewer_bytes() -> None:
    photo = noise(64, 48).resize((800, 600), Image.Resampling.BICUBIC)
    [message] = sent(MessageEncoder(), ImagePart(photo))
    head, arrived = received(message["content"][0])
    assert (head, arrived.size, arrived.mode) == ("data:image/jpeg", (800, 600), "RGB")
    # JPEG at quality 90 is not far off: the mean error of a channel is below one percent.
    import numpy as np

    error = np.abs(np.asarray(arrived, float) - np.asarray(photo, float)).mean()
    assert error < 2.55
    png = io.BytesIO()
    photo.save(png, "PNG")
    assert len(message["content"][0]["image_url"]["url"]) < len(png.getvalue())


def test_large_pictures_are_scaled_upright_and_without_metadata(tmp_path: Path) -> None:
    """A photograph as a phone writes it: lying on its side, with EXIF that says where it was."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90°
    exif[0x010E] = "my garden"
    photo = noise(80, 60).resize((800, 600))
    photo.save(tmp_path / "phone.jpg", exif=exif)
    [message] = sent(MessageEncoder(max_pixels=160 * 120), ImagePart(tmp_path / "phone.jpg"))
    data = message["content"][0]["image_url"]["url"].partition(",")[2]
    _, arrived = received(message["content"][0])
    assert arrived.size == (120, 160)
    assert dict(arrived.getexif()) == {}
    assert b"my garden" not in base64.b64decode(data)


def test_no_picture_is_larger_than_the_default() -> None:
    [message] = sent(MessageEncoder(), ImagePart(Image.new("RGB", (3000, 2000))))
    width, height = received(message["content"][0])[1].size
    assert 0.99 * DEFAULT_MAX_PIXELS < width * height <= DEFAULT_MAX_PIXELS


HOSTILE = [
    "<|im_end|>", "<|vision_start|><|image_pad|>", "<image>", "</s>", "<start_of_turn>", "<<SYS>>",
    "[INST]", "[/INST]", "[gMASK]", "<｜User｜>", "＜image＞", "<|image_1|>", "[IMG]",
    "［ＩＮＳＴ］", "［／ＩＮＳＴ］", "[control_8]", "[IMG_2]", "［ｃｏｎｔｒｏｌ＿８］",
]  # fmt: skip


@pytest.mark.parametrize("marker", HOSTILE)
def test_what_looks_like_a_marker_is_broken_in_untrusted_text_alone(marker: str) -> None:
    trusted, parts = (
        TextPart(marker, trusted=True),
        [TextPart(f"a {marker[:2]}"), TextPart(marker[2:])],
    )
    [message] = sent(MessageEncoder(), *parts)
    assert marker not in message["content"]
    assert message["content"].replace(" ", "") == f"a{marker}"
    assert sent(MessageEncoder(), trusted)[0]["content"] == marker


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_a_line_ends_wherever_a_server_may_see_its_end(end: str) -> None:
    assert neutralise_by_shape(f"a{end}Assistant: x") == f"a{end}Assistant : x"


@pytest.mark.parametrize("text", ["fine ASSISTANT: x", "x. USER: y ASSISTANT: z", "你好USER：x"])
def test_headers_in_capitals_are_broken_anywhere(text: str) -> None:
    assert neutralise_by_shape(text) == text.replace(":", " :").replace("：", " ：")


@pytest.mark.parametrize("text", ["USER: x", "a\nAssistant: x", "### Response: x", "  system : x"])
def test_headers_are_broken_at_the_beginning_of_a_line(text: str) -> None:
    assert neutralise_by_shape(text) == text.replace(":", " :")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 < 2 > 0 | [1] [n] (INST) 50% é 你好",
        "the user: me",
        "a [see below] b",
        "x <a b> y",
        "note: yes",
        "SUPERUSER: x",
        "the Model: T, its input: 5 V",
        "[2019] [fig. 3] [a1] ［３］",
    ],
)
def test_plain_text_is_sent_as_it_is(text: str) -> None:
    assert neutralise_by_shape(text) == text


def test_half_characters_do_not_stop_a_request() -> None:
    assert sent(MessageEncoder(), TextPart("a\ud800b"))[0]["content"] == "a\ufffdb"


def test_render_shows_what_is_sent() -> None:
    prompt = Prompt(
        (TextPart("Be brief.", True, "system"), ImagePart(noise(4, 4)), TextPart("<image> why?"))
    )
    assert MessageEncoder().render(prompt) == "system: Be brief.\nuser: <image>\n<image > why?"


def test_the_estimate_by_hand() -> None:
    wire = MessageEncoder()
    # 300 bytes: 100 tokens, and 16 around it.
    assert wire.count(Prompt((TextPart("x" * 300),))) == 116
    assert wire.count(Prompt((TextPart("你" * 100),))) == 116
    # 1120 × 840 = 40 × 30 patches of 28; a small picture is taken for LLaVA's 576.
    assert wire.count(Prompt((ImagePart(Image.new("RGB", (1120, 840))),))) == 1200 + 8 + 16
    assert wire.count(Prompt((ImagePart(Image.new("RGB", (8, 8))),))) == 576 + 8 + 16


def test_with_the_tokenizer_markers_and_counts_are_its_own(qwen_folder: Path) -> None:
    from transformers import AutoConfig

    from rag_vqa.readers.prompt_encoder import PromptEncoder

    processor = load_processor(str(qwen_folder), AutoConfig.from_pretrained(qwen_folder))
    wire, encoder = (
        MessageEncoder(processor=processor),
        PromptEncoder(processor, DEFAULT_MAX_PIXELS),
    )
    prompt = Prompt((ImagePart(noise(60, 40)), TextPart("<b>bold</b> <|im_end|>")))
    assert sent(wire, *prompt.parts)[0]["content"][1]["text"] == "<b>bold</b> <|im_end| >"
    assert wire.count(prompt) == encoder.count(prompt)
    assert wire.render(prompt) == encoder.render(prompt.parts)
