"""TF-Hub's BEM → a folder that transformers loads: `python -m rag_vqa.eval.convert_bem NPZ OUT`.

Knows the names and shapes of TensorFlow's BERT ("Model Garden", official/nlp), exported as an .npz.
Does not know TensorFlow: docs/bem.md has the lines that write the .npz where it is installed.

The file could not be downloaded here, so the name of the classification head is not verified. It is
recognised by its shape instead: the only kernel with two columns. GELU is Model Garden's, the
approximation by tanh.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_vqa.errors import BadInput, Missing

Array = NDArray[Any]

# TensorFlow's name → that of transformers. A kernel is (in, out) there and (out, in) here.
_OUTER = {
    "word_embeddings/embeddings": "embeddings.word_embeddings.weight",
    "position_embedding/embeddings": "embeddings.position_embeddings.weight",
    "type_embeddings/embeddings": "embeddings.token_type_embeddings.weight",
    "embeddings/layer_norm/gamma": "embeddings.LayerNorm.weight",
    "embeddings/layer_norm/beta": "embeddings.LayerNorm.bias",
    "pooler_transform/kernel": "pooler.dense.weight",
    "pooler_transform/bias": "pooler.dense.bias",
}
_PARTS = {
    "self_attention/query": "attention.self.query",
    "self_attention/key": "attention.self.key",
    "self_attention/value": "attention.self.value",
    "self_attention/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_FIELDS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_LAYER = re.compile(r"transformer/layer_(\d+)/(.+)/(kernel|bias|gamma|beta)")
_SEGMENTS = 3  # candidate, reference, question


def torch_state(variables: Mapping[str, Array]) -> dict[str, Array]:
    """The state of a `BertForSequenceClassification`, by name.

    If TensorFlow has two segment types, the third row is zero here: its one-hot look-up gives zero
    for segment 2, that of the question.

    Args:
        variables: by TensorFlow's names, with or without a prefix and ":0".

    Raises:
        BadInput: a variable is missing, unknown, or repeated.
    """
    state: dict[str, Array] = {}
    rest: dict[str, Array] = {}
    for full, array in variables.items():
        name = full.removesuffix(":0")
        target = _torch_name(name)
        if target is None:
            rest[name] = array
        elif target in state:
            raise BadInput(f"{full}: this variable is repeated.")
        else:
            state[target] = _torch_layout(name, np.asarray(array, np.float32))
    types = state.get("bert.embeddings.token_type_embeddings.weight")
    if types is not None and len(types) < _SEGMENTS:
        more = np.zeros((_SEGMENTS - len(types), types.shape[1]), np.float32)
        state["bert.embeddings.token_type_embeddings.weight"] = np.concatenate([types, more])
    return state | _classifier_head(rest)


def _torch_name(name: str) -> str | None:
    if found := _LAYER.search(name):
        layer, part, field = found.groups()
        if part in _PARTS:
            return f"bert.encoder.layer.{layer}.{_PARTS[part]}.{_FIELDS[field]}"
    else:
        for outer, target in _OUTER.items():
            if name == outer or name.endswith(f"/{outer}"):
                return f"bert.{target}"
    return None


def _torch_layout(name: str, array: Array) -> Array:
    """Flatten heads and transpose kernels.

    Shapes there: query (H, heads, d) with a bias of (heads, d); output (heads, d, H).
    """
    if name.endswith("attention_output/kernel"):
        array = array.reshape(-1, array.shape[-1])
    elif name.endswith("/kernel"):
        array = array.reshape(array.shape[0], -1)
    else:
        return array if name.endswith("/embeddings") else array.reshape(-1)
    return np.ascontiguousarray(array.T)


def _classifier_head(arrays: Mapping[str, Array]) -> dict[str, Array]:
    kernels = [name for name, array in arrays.items() if array.ndim == 2 and array.shape[1] == 2]
    biases = [name for name, array in arrays.items() if array.shape == (2,)]
    others = sorted(set(arrays) - set(kernels) - set(biases))
    if len(kernels) != 1 or len(biases) != 1 or others:
        raise BadInput(
            "the classification head is one kernel (H, 2) and one bias (2,); here are "
            f"{len(kernels)} and {len(biases)}, and {len(others)} unknown: {', '.join(others[:3])}."
        )
    kernel = np.asarray(arrays[kernels[0]], np.float32)
    return {
        "classifier.weight": np.ascontiguousarray(kernel.T),
        "classifier.bias": np.asarray(arrays[biases[0]], np.float32),
    }


def bert_config(variables: Mapping[str, Array], state: Mapping[str, Array]) -> dict[str, Any]:
    """The configuration, read from the shapes; the kernel of a query has the number of heads."""
    queries = [a for n, a in variables.items() if "/self_attention/query/kernel" in n]
    if not queries or queries[0].ndim != 3:
        raise BadInput("no query kernel of shape (H, heads, d): this is not Model Garden's BERT.")
    words = state["bert.embeddings.word_embeddings.weight"]
    return {
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "num_hidden_layers": len(queries),
        "num_attention_heads": queries[0].shape[1],
        "intermediate_size": state["bert.encoder.layer.0.intermediate.dense.bias"].shape[0],
        "max_position_embeddings": len(state["bert.embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(state["bert.embeddings.token_type_embeddings.weight"]),
        "hidden_act": "gelu_new",
        "num_labels": 2,
    }


def convert(npz: Path, out: Path, vocab: Path) -> None:
    """Write a folder with configuration, weights (safetensors) and tokenizer.

    Args:
        vocab: vocab.txt of BERT uncased, a token a line.

    Raises:
        Missing: a file does not exist.
        BadInput: the variables are not those of a BERT classifier, or the vocabulary has another
            size.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    for file in (npz, vocab):
        if not file.is_file():
            raise Missing(f"{file} does not exist. docs/bem.md says how to make it.")
    with np.load(npz, allow_pickle=False) as archive:
        variables = {name: archive[name] for name in archive.files}
    state = torch_state(variables)
    try:
        config = BertConfig(**bert_config(variables, state))
        model = BertForSequenceClassification(config)
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise BadInput(f"{npz} does not contain a complete BERT classifier: {error}") from error
    tokens = vocab.read_text("utf-8").removesuffix("\n").split("\n")
    if len(tokens) != config.vocab_size:
        raise BadInput(f"{vocab} has {len(tokens)} tokens, the model {config.vocab_size}.")
    numbered = {token: number for number, token in enumerate(tokens)}
    model.save_pretrained(out)
    BertTokenizer(vocab=numbered, do_lower_case=True).save_pretrained(out)


def main(args: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("npz", type=Path, help="TensorFlow's variables, by name")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--vocab", type=Path, required=True, help="vocab.txt of BERT uncased")
    given = parser.parse_args(args)
    convert(given.npz, given.out, given.vocab)
    print(f"{given.out} is written. Use it: rag-vqa eval score evqa … --bem {given.out}")


if __name__ == "__main__":
    main()
