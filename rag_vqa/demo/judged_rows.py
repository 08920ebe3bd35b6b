"""The critic's training questions as rows of tokens: documents of one question never see another.

A row's context is what the prompts of one question share (photo, question); each document with its
yes or no is a branch of it. Prompts are made by the package's own critic and encoder, so that
training sees what use does. Knows tokens, not the model.
"""

from functools import partial
from os.path import commonprefix

from transformers import PreTrainedTokenizerFast

from rag_vqa.critic import CHOICES
from rag_vqa.demo import tokenizer as vocabulary
from rag_vqa.demo.judgements import Judged
from rag_vqa.demo.matcher import IMAGE_TOKENS
from rag_vqa.demo.rows import LIMITS, Row
from rag_vqa.prompts import build
from rag_vqa.prompts.template import CRITIC
from rag_vqa.readers.encoding import PromptEncoder


def judged_row(judged: Judged, encoder: PromptEncoder, tokenizer: PreTrainedTokenizerFast) -> Row:
    """Tokens of one question; a yes looks at the value that answers it, a no at the beginning."""
    tokens = partial(tokenizer, return_offsets_mapping=True)
    texts = [
        encoder.render(build(judged.query, [j.hit], LIMITS, lambda _: 0, CRITIC).parts).replace(
            vocabulary.IMAGE, vocabulary.IMAGE * IMAGE_TOKENS
        )
        for j in judged.judgements
    ]
    # To the end of a line, so that no token is cut in two.
    shared = commonprefix(texts).rpartition("\n")[0] + "\n"  # noqa: RUF071 - no paths
    ids = list(tokens(shared)["input_ids"])
    image = tokenizer.convert_tokens_to_ids(vocabulary.IMAGE)
    photo = ids.index(image)
    branch, answer = [0] * len(ids), [False] * len(ids)
    source, alike, look = ([-1] * len(ids) for _ in range(3))
    for number, (text, judgement) in enumerate(zip(texts, judged.judgements, strict=True), 1):
        read = tokens(text.removeprefix(shared))
        asked = read["input_ids"]
        starts = [start for start, _ in read["offset_mapping"]]
        drawing = len(ids) + asked.index(image)
        alike += [-1] * len(asked)
        alike[drawing] = photo if judgement.alike else 0
        at = text.find(f" {judgement.value}", len(shared)) - len(shared) if judgement.value else -1
        place = len(ids) + starts.index(at) if at in starts else -1
        reply = tokenizer(CHOICES[not judgement.value])["input_ids"]
        look += [-1] * len(asked) + [drawing if judgement.alike else 0] + [-1] * (len(reply) - 1)
        source += [-1] * len(asked)
        source += [place if judgement.value else 0] + [-1] * (len(reply) - 1)
        ids += [*asked, *reply]
        branch += [number] * (len(asked) + len(reply))
        answer += [False] * len(asked) + [True] * len(reply)
        alike += [-1] * len(reply)
    return Row(ids, branch, answer, source, alike, look)
