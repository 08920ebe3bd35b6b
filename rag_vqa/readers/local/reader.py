"""LocalReader: a vision-language model of transformers on this machine, quantised or not.

Knows how the model generates answers and scores choices. Does not know how prompts are encoded
(prompt_encoder.py), how text streams (row_streamer.py) or how weights load (model_loading.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from transformers import AutoConfig, GenerationConfig, StoppingCriteriaList

from rag_vqa.devices import resolve_device
from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.readers.base import check_choice, check_positive, count_images, prompt_limits
from rag_vqa.readers.local.batching import LengthBatcher, ModelPool, is_out_of_memory
from rag_vqa.readers.local.choice_scoring import ChoiceScorer
from rag_vqa.readers.local.model_loading import DTYPES, load_model, unquantised_layers
from rag_vqa.readers.local.row_streamer import RowStreamer
from rag_vqa.readers.model_files import (
    check_model_folder,
    load_processor,
    model_record_name,
    translate_loading_errors,
)
from rag_vqa.readers.prompt_encoder import PromptEncoder
from rag_vqa.types import Completion, OnText, Prompt, Quantization, Scalar

_FEWER_PIXELS = 640 * 28**2  # said where memory runs out: a picture that small is still legible


class LocalReader:
    """Reads with a model of `AutoModelForImageTextToText`, greedily. Several threads may call
    `generate` at once; `at_once` of them gain by it.

    Args:
        model: folder or hub id.
        revision: commit, tag or branch of a hub id.
        quantization: of the language model's linear layers; the vision tower stays as it is.
        device: "auto", "cpu", "cuda" (all GPUs), "cuda:1", "mps".
        dtype: "auto" is bfloat16 on CUDA and float32 elsewhere.
        max_new_tokens: of one answer.
        max_pixels: of one picture; larger ones are scaled down. None leaves that to the processor.
        max_images: in one prompt. None is 1: most models were trained so, and none says it.
        max_context: tokens of a prompt and its answer, where the model itself takes as many;
            memory grows with them.
        batch_size: prompts read at once, those of like length together; where memory runs out,
            half as many, which is said once.
        stop_at_newline: an answer ends with its first line, as short ones do.
        offline: take what is in the cache, ask nobody.

    Raises:
        UsageError: an argument that cannot be meant.
        Missing: the model is not here, or has no safetensors.
        ReaderError: the model cannot be read by this code.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        revision: str | None = None,
        quantization: Quantization = "none",
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        max_new_tokens: int = 64,
        max_pixels: int | None = None,
        max_images: int | None = None,
        max_context: int = 8192,
        batch_size: int = 16,
        stop_at_newline: bool = False,
        offline: bool = False,
    ) -> None:
        model = str(model)
        check_positive(max_new_tokens=max_new_tokens, batch_size=batch_size)
        check_positive(max_pixels=max_pixels, max_images=max_images, max_context=max_context)
        check_choice("quantization", quantization, get_args(Quantization))
        check_choice("dtype", dtype, DTYPES)
        check_model_folder(model)
        where = {"revision": revision or "main", "local_files_only": offline}
        device = resolve_device(device)
        default = torch.bfloat16 if device.startswith("cuda") else torch.float32
        self._dtype: torch.dtype = default if dtype == "auto" else getattr(torch, dtype)
        with (
            translate_loading_errors(model, offline),
            _translate_out_of_memory(partial(_loading_out_of_memory, quantization)),
        ):
            config = AutoConfig.from_pretrained(model, trust_remote_code=False, **where)
            processor = load_processor(model, config, **where)
            self.model = load_model(model, config, quantization, device, self._dtype, **where)
        commit = getattr(config, "_commit_hash", None) or revision
        self.name = model_record_name(model, commit, quantization)
        self.settings: dict[str, Scalar] = {
            "max_new_tokens": max_new_tokens,
            "max_pixels": max_pixels,
            "stop_at_newline": stop_at_newline,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": torch.device(device).type,
        }
        self._tokenizer = processor.tokenizer
        self._quantization = quantization
        self._max_pixels = max_pixels
        self._batches = LengthBatcher(batch_size)
        self._one_line = stop_at_newline
        self._ends = _end_token_ids(self.model, self._tokenizer)
        # Of the model's own settings only the ends are kept: sampling and penalties are not ours.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(self._ends),
            pad_token_id=self._tokenizer.pad_token_id,
        )
        context = min(config.get_text_config().max_position_embeddings, max_context)
        self.limits = prompt_limits(max_images, context, max_new_tokens)
        self._encoder = PromptEncoder(processor, max_pixels, self.limits.context)
        # Two batches at once use two cores better than one batch does, where a model is small. On
        # a GPU one fills it.
        on_cpu = torch.device(device).type == "cpu"
        self.at_once = 2 if on_cpu and torch.get_num_threads() > 1 else 1
        self._sharing = ModelPool(self.model)
        self._words = threading.RLock()  # how a tokenizer pads is its own state
        pad = self._tokenizer.pad_token_id
        self._choosing = ChoiceScorer(self.model, self._encoder, self._inputs, self._batches, pad)

    def count(self, prompt: Prompt) -> int:
        """Tokens that the prompt takes, image tokens and chat template among them."""
        with self._words:
            return self._encoder.count(prompt)

    def render(self, prompt: Prompt) -> str:
        """What the tokenizer is given: chat template, neutralised texts, image placeholders."""
        return self._encoder.render(prompt.parts)

    @property
    def unquantised(self) -> tuple[str, ...]:
        """Names of the linear layers that were left as they are: of vision, projector, head."""
        return unquantised_layers(self.model)

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """One completion for each prompt, in their order; see `Reader`."""
        several = len(prompts) > self._batches.size
        lengths = [self.count(prompt) if several else 0 for prompt in prompts]
        most = max_tokens or [None] * len(prompts)
        with torch.inference_mode(), _translate_out_of_memory(self._out_of_memory):
            return self._batches.read(
                lengths,
                lambda rows: self._generate(
                    rows, [prompts[row] for row in rows], [most[row] for row in rows], on_text
                ),
            )

    def _generate(
        self,
        rows: Sequence[int],
        prompts: Sequence[Prompt],
        most: Sequence[int | None],
        on_text: OnText | None,
    ) -> list[Completion]:
        """Of one batch, whose rows are told by these numbers."""
        inputs = self._inputs(prompts)
        streamer = RowStreamer(self._tokenizer, rows, self._ends, on_text, self._one_line, most)
        try:
            with self._sharing.acquire() as model:
                model.generate(**inputs, stopping_criteria=StoppingCriteriaList([streamer]))
        except (MemoryError, RuntimeError) as error:
            if streamer.has_text and is_out_of_memory(error):  # what was told cannot be taken back
                raise self._out_of_memory() from error
            raise
        streamer.close()
        return streamer.completions(inputs["attention_mask"].sum(dim=1).tolist())

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): how likely each choice follows; see `Reader`.

        A choice's probability is that of all its tokens, as it is given, plus those of its other
        spellings that are one token: "yes" also counts " yes", "Yes" and " Yes". Nothing is
        corrected for length. What neighbouring prompts begin with, their pictures included, is
        read once (see `Choosing`): put what differs last.
        """
        ids = [self._choice_ids(choice) for choice in choices]
        every = [spelling for spellings in ids for spelling in spellings]
        if len(ids) < 2 or len(set(every)) < len(every):
            raise UsageError(
                f"choices {list(choices)!r}: give two or more that differ, in more than a capital"
            )
        with torch.inference_mode(), _translate_out_of_memory(self._out_of_memory):
            return self._choosing.probabilities(prompts, ids)

    def _choice_ids(self, choice: str) -> tuple[tuple[int, ...], ...]:
        """Its tokens, then those of other spellings that are one token: longer ones would each
        be a further reading of every prompt."""
        ids = self._plain_ids(choice)
        if not ids:
            raise UsageError(f"the choice {choice!r} has no tokens: give it a text")
        written = (choice, choice[:1].upper() + choice[1:])
        others = map(self._plain_ids, [*written, *(f" {text}" for text in written)])
        unknown = self._tokenizer.unk_token_id
        return tuple(dict.fromkeys([ids, *(i for i in others if len(i) == 1 and i[0] != unknown)]))

    def _plain_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _out_of_memory(self) -> ReaderError:
        """With the flags that would lower something."""
        pixels = self._max_pixels is None or self._max_pixels > _FEWER_PIXELS
        flags = {
            "a lower -k": True,
            "batch_size=1 (in Python)": self._batches.size > 1,
            f"--max-pixels {_FEWER_PIXELS}": pixels,
            "--max-images 1": self.limits.images > 1,
            "--quantization nf4": self._quantization != "nf4",
        }
        tried = ", ".join(flag for flag, lowers in flags.items() if lowers)
        return ReaderError(f"out of memory while reading: try one or more of {tried}")

    def _inputs(self, prompts: Sequence[Prompt]) -> Any:
        for prompt in prompts:
            count_images(prompt, self.limits)
        with self._words:
            inputs = self._encoder.encode(prompts)
        longest = inputs["input_ids"].shape[1]
        if longest > self.limits.context:
            raise ReaderError(
                f"the prompt has {longest} tokens and the reader takes {self.limits.context}: "
                "use a lower -k or --max-pixels"
            )
        return inputs.to(self.model.device, dtype=self._dtype)


def _end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: the model's, which may be several, and the tokenizer's."""
    stated = model.generation_config.eos_token_id
    ids = stated if isinstance(stated, list) else [stated]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


@contextmanager
def _translate_out_of_memory(told: Callable[[], ReaderError]) -> Iterator[None]:
    """Out of memory, in words that name the flags."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise told() from error


def _loading_out_of_memory(quantization: Quantization) -> ReaderError:
    smaller = "" if quantization == "nf4" else "--quantization nf4, or "
    return ReaderError(f"out of memory while loading the reader: try {smaller}a smaller model")
