"""LocalReader: a model of transformers on this machine, which reads images, or text alone.

Knows how prompts become answers and probabilities of choices. Does not know how prompts are encoded
(prompt_encoder.py), how batches run and stream (generation.py) or how weights load
(model_loading.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from transformers import AutoConfig, GenerationConfig, StoppingCriteriaList

from rag_vqa.devices import resolve_device
from rag_vqa.errors import ReaderError, UsageError
from rag_vqa.hub.model_files import ensure_available
from rag_vqa.model_structure import context_length, is_text_only
from rag_vqa.readers.base import (
    answer_length,
    check_choice,
    check_max_images,
    check_positive,
    count_images,
    prompt_limits,
)
from rag_vqa.readers.chat_template import ChatTemplate
from rag_vqa.readers.local.choice_scoring import ChoiceScorer
from rag_vqa.readers.local.generation import (
    LengthBatcher,
    ModelPool,
    RowStreamer,
    hidden_token_ids,
    is_out_of_memory,
)
from rag_vqa.readers.model_loading import (
    DTYPES,
    gguf_file,
    load_model,
    model_record_name,
    refuse_quantised_experts,
    resolve_quantization,
    unquantised_layers,
)
from rag_vqa.readers.processor_loading import check_vocabulary, load_processor
from rag_vqa.readers.prompt_encoder import PromptEncoder
from rag_vqa.readers.refusals import check_model_folder, translate_loading_errors
from rag_vqa.readers.thoughts import ThoughtSplitter
from rag_vqa.types import Completion, OnText, Prompt, Quantization, Scalar, Thinking

_log = logging.getLogger("rag_vqa")
_FEWER_PIXELS = 640 * 28**2  # advised when memory runs out; such an image is still legible


class LocalReader:
    """Answers with a model of `AutoModelForImageTextToText`, by greedy decoding.

    A model of `AutoModelForCausalLM` reads documents without images (`limits.images` is 0); it may
    be a folder with one GGUF file.

    Several threads may call `generate` at once; up to `parallel_calls` of them raise throughput.

    Args:
        model: folder or hub id.
        revision: commit, tag or branch of a hub id.
        quantization: for the linear layers of the language model; the vision tower is not
            quantised.
        device: "auto", "cpu", "cuda" (all GPUs), "cuda:1", "mps".
        dtype: "auto" is bfloat16 on CUDA and float32 elsewhere.
        max_new_tokens: longest answer in tokens, thoughts included. None: 128, or more where the
            model thinks (`answer_length`).
        max_pixels: pixels of one image; larger ones are scaled down. None leaves that to the
            processor.
        max_images: images in one prompt. None means 1: most models were trained with one image,
            and no configuration states it.
        max_context: tokens of a prompt and its answer together, if the model's own context is not
            shorter. Memory grows with it.
        batch_size: prompts read at once; prompts of similar length share a batch. After the first
            out-of-memory error it is halved, with a warning in the log.
        stop_at_newline: an answer ends with its first line, for benchmarks of short answers.
        thinking: how much the model thinks before it answers, where its chat template can say
            that. Thoughts are no part of an answer (`Completion.reasoning`).
        offline: use only files in the cache.

    Raises:
        UsageError: an invalid argument.
        Missing: the model is not on this machine, or has no safetensors.
        ReaderError: the model's family or files are not supported.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        revision: str | None = None,
        quantization: Quantization = "none",
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        max_new_tokens: int | None = None,
        max_pixels: int | None = None,
        max_images: int | None = None,
        max_context: int = 8192,
        batch_size: int = 16,
        stop_at_newline: bool = False,
        thinking: Thinking = "off",
        offline: bool = False,
    ) -> None:
        model = str(model)
        check_positive(max_new_tokens=max_new_tokens, batch_size=batch_size)
        check_positive(max_pixels=max_pixels, max_context=max_context)
        check_max_images(max_images)
        check_choice("quantization", quantization, get_args(Quantization))
        check_choice("dtype", dtype, DTYPES)
        check_choice("thinking", thinking, get_args(Thinking))
        check_model_folder(model)
        packed = gguf_file(model)
        where = {**ensure_available(model, revision or "main", offline=offline), **packed}
        if not Path(model).is_dir():  # it may have been downloaded just now
            check_model_folder(model, revision)
        if packed and quantization != "none":
            _log.warning("%s: weights in GGUF are unpacked, and not quantised again", model)
            quantization = "none"
        device = resolve_device(device)
        default = torch.bfloat16 if device.startswith("cuda") else torch.float32
        self._dtype: torch.dtype = default if dtype == "auto" else getattr(torch, dtype)
        with (
            translate_loading_errors(model, offline),
            _translate_out_of_memory(partial(_loading_error, quantization)),
        ):
            config = AutoConfig.from_pretrained(model, trust_remote_code=False, **where)
            quantization = resolve_quantization(model, config, quantization)
            refuse_quantised_experts(model, config, quantization, self._dtype)
            processor = load_processor(model, config, **where)
            check_vocabulary(model, processor.tokenizer, config)
            self.encoder = PromptEncoder(processor, max_pixels, thinking=thinking)
            self.model = load_model(model, config, quantization, device, self._dtype, **where)
        commit = getattr(config, "_commit_hash", None) or revision
        self.name = model_record_name(model, commit, quantization)
        self.tokenizer = processor.tokenizer
        self._quantization = quantization
        self._max_pixels = max_pixels
        self.batcher = LengthBatcher(batch_size)
        self._one_line = stop_at_newline
        self.end_ids = _end_token_ids(self.model, self.tokenizer)
        self._hidden_ids = hidden_token_ids(self.tokenizer)
        thinks = _amount_of_thinking(self.name, self.encoder.template, thinking)
        context = min(context_length(config) or max_context, max_context)
        max_new_tokens = answer_length(max_new_tokens, thinks, context)
        if is_text_only(config):
            max_images = 0
        self.limits = prompt_limits(max_images, context, max_new_tokens)
        self.encoder.context = self.limits.context
        # Only the end tokens of the model's own settings are kept: decoding is greedy.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(self.end_ids),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        self.settings: dict[str, Scalar] = {
            "max_new_tokens": max_new_tokens,
            "max_pixels": max_pixels,
            "stop_at_newline": stop_at_newline,
            "thinking": thinking,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": torch.device(device).type,
        }
        # With a small model, two parallel batches use two cores better than one batch does. A GPU
        # needs only one.
        on_cpu = torch.device(device).type == "cpu"
        self.parallel_calls = 2 if on_cpu and torch.get_num_threads() > 1 else 1
        self.pool = ModelPool(self.model)
        self._tokenizer_lock = threading.RLock()  # padding is state of the tokenizer

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of the prompt, including image tokens and the chat template."""
        with self._tokenizer_lock:
            return self.encoder.count(prompt)

    def render(self, prompt: Prompt) -> str:
        """The tokenizer's input: chat template, neutralised texts, image placeholders."""
        return self.encoder.render(prompt.parts)

    @property
    def full_precision_layers(self) -> tuple[str, ...]:
        """Names of the linear layers that are not quantised: vision tower, projector, head."""
        return unquantised_layers(self.model)

    unquantised = full_precision_layers  # its first name, which users may know

    def generate(
        self,
        prompts: Sequence[Prompt],
        on_text: OnText | None = None,
        max_tokens: Sequence[int | None] | None = None,
    ) -> list[Completion]:
        """One completion for each prompt, in the order of the prompts; see `Reader`."""
        several = len(prompts) > self.batcher.size
        lengths = [self.count(prompt) if several else 0 for prompt in prompts]
        limits = max_tokens or [None] * len(prompts)
        with torch.inference_mode(), _translate_out_of_memory(self._out_of_memory_error):
            return self.batcher.run(
                lengths,
                lambda rows: self._generate_batch(
                    rows, [prompts[row] for row in rows], [limits[row] for row in rows], on_text
                ),
            )

    def _generate_batch(
        self,
        rows: Sequence[int],
        prompts: Sequence[Prompt],
        max_tokens: Sequence[int | None],
        on_text: OnText | None,
    ) -> list[Completion]:
        """Completions of one batch; `rows` are the numbers of its prompts, for `on_text`."""
        inputs = self.encode(prompts)
        streamer = RowStreamer(
            self.tokenizer,
            rows,
            self.end_ids,
            on_text,
            self._one_line,
            max_tokens,
            self._hidden_ids,
            self._make_splitter,
        )
        try:
            with self.pool.acquire() as model:
                model.generate(**inputs, stopping_criteria=StoppingCriteriaList([streamer]))
        except (MemoryError, RuntimeError) as error:
            if streamer.has_text and is_out_of_memory(error):  # no second try of streamed text
                raise self._out_of_memory_error() from error
            raise
        streamer.close()
        return streamer.completions(inputs["attention_mask"].sum(dim=1).tolist())

    def choice_probability(
        self, prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[list[float]]:
        """(prompts, choices): probability that each choice follows the prompt; see `Reader`.

        A choice's probability is that of all its tokens as given, plus those of its other spellings
        that are one token: "yes" also counts " yes", "Yes" and " Yes". There is no correction for
        length. A prefix that neighbouring prompts share, images included, is read once (see
        `ChoiceScorer`), so put the parts that differ last. The model does not think before: it is
        switched off, or thoughts that its chat template begins are ended at once.
        """
        ids = [self._choice_ids(choice) for choice in choices]
        all_spellings = [spelling for spellings in ids for spelling in spellings]
        if len(ids) < 2 or len(set(all_spellings)) < len(all_spellings):
            raise UsageError(
                f"choices {list(choices)!r}: give two or more that differ, not only in capitals"
            )
        with torch.inference_mode(), _translate_out_of_memory(self._out_of_memory_error):
            return self._choice_scorer.probabilities(prompts, ids)

    @cached_property
    def _choice_scorer(self) -> ChoiceScorer:
        pad = self.tokenizer.pad_token_id
        encoder = self.encoder.for_choices()
        encode = partial(self._encode, encoder)
        return ChoiceScorer(self.model, encoder, encode, self.batcher, pad)

    def _make_splitter(self) -> ThoughtSplitter:
        template = self.encoder.template
        return ThoughtSplitter(opened=template.opens_thoughts, held=template.may_think)

    def _choice_ids(self, choice: str) -> tuple[tuple[int, ...], ...]:
        """Token ids of the choice, then those of its other spellings that are one token.

        Longer spellings are left out: each of them would need one more pass over every prompt.
        """
        ids = self._plain_ids(choice)
        if not ids:
            raise UsageError(f"the choice {choice!r} has no tokens: give it a text")
        cases = (choice, choice[:1].upper() + choice[1:])
        others = map(self._plain_ids, [*cases, *(f" {text}" for text in cases)])
        unknown = self.tokenizer.unk_token_id
        return tuple(dict.fromkeys([ids, *(i for i in others if len(i) == 1 and i[0] != unknown)]))

    def _plain_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _out_of_memory_error(self) -> ReaderError:
        """The error for out-of-memory while reading, with the flags that would help."""
        pixels = self._max_pixels is None or self._max_pixels > _FEWER_PIXELS
        flags = {
            "a lower -k": True,
            "batch_size=1 (in Python)": self.batcher.size > 1,
            f"--max-pixels {_FEWER_PIXELS}": pixels,
            "--max-images 1": self.limits.images > 1,
            "--quantization nf4": self._quantization != "nf4",
        }
        advice = ", ".join(flag for flag, helps in flags.items() if helps)
        return ReaderError(f"out of memory while reading: try one or more of {advice}")

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        """The model's inputs for these prompts, on its device: input_ids (B, L), …

        Raises:
            ReaderError: a prompt over the limits.
        """
        return self._encode(self.encoder, prompts)

    def _encode(self, encoder: PromptEncoder, prompts: Sequence[Prompt]) -> Any:
        for prompt in prompts:
            count_images(prompt, self.limits)
        with self._tokenizer_lock:
            inputs = encoder.encode(prompts)
        longest = inputs["input_ids"].shape[1]
        # The marks that end thoughts before a choice take some of the room of an answer.
        if longest - len(encoder.answer_begin) > self.limits.context:
            raise ReaderError(
                f"the prompt has {longest} tokens and the reader takes {self.limits.context}: "
                "use a lower -k or --max-pixels"
            )
        return inputs.to(self.model.device, dtype=self._dtype)


def _amount_of_thinking(name: str, template: ChatTemplate, asked: Thinking) -> Thinking:
    """How much the model is going to think; warns where the chat template leaves no choice."""
    if asked == "off" and template.opens_thoughts:
        _log.warning(
            "%s thinks before every answer: its chat template begins the thoughts, and has no "
            "switch. Answers take longer, and more tokens",
            name,
        )
        return "on"
    if asked != "off" and not template.is_switchable and not template.opens_thoughts:
        _log.warning("%s has a chat template without a switch for thinking", name)
    return asked


def _end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Token ids that end an answer: the model's (one or several) and the tokenizer's."""
    stated = model.generation_config.eos_token_id
    ids = stated if isinstance(stated, list) else [stated]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


@contextmanager
def _translate_out_of_memory(make_error: Callable[[], ReaderError]) -> Iterator[None]:
    """Raises `make_error()` for an out-of-memory error inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise make_error() from error


def _loading_error(quantization: Quantization) -> ReaderError:
    smaller = "" if quantization == "nf4" else "--quantization nf4, or "
    return ReaderError(f"out of memory while loading the reader: try {smaller}a smaller model")
