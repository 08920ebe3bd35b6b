"""Conversion of TensorFlow's BERT, against its forward pass written out in numpy."""

from collections.abc import Callable
from math import erf, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bert_files import WORDS

from rag_vqa.errors import BadInput, Missing
from rag_vqa.eval.bem import Bem
from rag_vqa.eval.convert_bem import convert, main, torch_state

H, HEADS, D, INNER, LAYERS = 12, 3, 4, 20, 2  # width, heads, width of a head, feed-forward, layers
Weights = dict[str, np.ndarray[Any, Any]]


def variables(types: int = 2) -> Weights:
    """TensorFlow's names and shapes, random values."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "word_embeddings/embeddings": (len(WORDS), H),
        "position_embedding/embeddings": (512, H),
        "type_embeddings/embeddings": (types, H),
        "embeddings/layer_norm/gamma": (H,), "embeddings/layer_norm/beta": (H,),
        "pooler_transform/kernel": (H, H), "pooler_transform/bias": (H,),
        "head/kernel": (H, 2), "head/bias": (2,),
    }  # fmt: skip
    for layer in range(LAYERS):
        begin = f"transformer/layer_{layer}"
        for name in ("query", "key", "value"):
            shapes[f"{begin}/self_attention/{name}/kernel"] = (H, HEADS, D)
            shapes[f"{begin}/self_attention/{name}/bias"] = (HEADS, D)
        shapes |= {
            f"{begin}/self_attention/attention_output/kernel": (HEADS, D, H),
            f"{begin}/self_attention/attention_output/bias": (H,),
            f"{begin}/self_attention_layer_norm/gamma": (H,),
            f"{begin}/self_attention_layer_norm/beta": (H,),
            f"{begin}/intermediate/kernel": (H, INNER), f"{begin}/intermediate/bias": (INNER,),
            f"{begin}/output/kernel": (INNER, H), f"{begin}/output/bias": (H,),
            f"{begin}/output_layer_norm/gamma": (H,), f"{begin}/output_layer_norm/beta": (H,),
        }  # fmt: skip
    found = {name: rng.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}
    found["pooler_transform/kernel"] *= 0.2  # else tanh is near 1 whatever comes before it
    return found


def approximate(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))


def forward(
    w: Weights, tokens: list[int], segments: list[int], gelu: Callable[[Any], Any] = approximate
) -> float:
    """P(1) of one row, in TensorFlow's layout: einsums over (length, heads, width of a head)."""

    def norm(x: Any, name: str) -> Any:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}/gamma"] + w[f"{name}/beta"]

    types = w["type_embeddings/embeddings"]
    one_hot = np.array([[s == row for row in range(len(types))] for s in segments], float)
    x = w["word_embeddings/embeddings"][tokens] + one_hot @ types
    x = norm(x + w["position_embedding/embeddings"][: len(tokens)], "embeddings/layer_norm")
    for layer in range(LAYERS):
        at = f"transformer/layer_{layer}"
        q, k, v = (
            np.einsum("lh,hnd->lnd", x, w[f"{at}/self_attention/{name}/kernel"])
            + w[f"{at}/self_attention/{name}/bias"]
            for name in ("query", "key", "value")
        )
        scores = np.exp(np.einsum("lnd,mnd->nlm", q, k) / sqrt(D))
        context = np.einsum("nlm,mnd->lnd", scores / scores.sum(-1, keepdims=True), v)
        out = np.einsum("lnd,ndh->lh", context, w[f"{at}/self_attention/attention_output/kernel"])
        out = out + w[f"{at}/self_attention/attention_output/bias"]
        x = norm(x + out, f"{at}/self_attention_layer_norm")
        inner = x @ w[f"{at}/intermediate/kernel"] + w[f"{at}/intermediate/bias"]
        out = gelu(inner) @ w[f"{at}/output/kernel"] + w[f"{at}/output/bias"]
        x = norm(x + out, f"{at}/output_layer_norm")
    pooled = np.tanh(x[0] @ w["pooler_transform/kernel"] + w["pooler_transform/bias"])
    logits = pooled @ w["head/kernel"] + w["head/bias"]
    return float(1 / (1 + np.exp(logits[0] - logits[1])))


def write(folder: Path, arrays: Weights, prefix: str = "", suffix: str = "") -> tuple[Path, Path]:
    npz, vocab = folder / "bem.npz", folder / "words.txt"
    np.savez(npz, **{f"{prefix}{n}{suffix}": array for n, array in arrays.items()})  # type: ignore[arg-type]
    vocab.write_text("".join(f"{word}\n" for word in WORDS))
    return npz, vocab


@pytest.mark.parametrize("types", [2, 3])
@pytest.mark.parametrize(("prefix", "suffix"), [("", ""), ("bert/encoder/", ":0")])
def test_probabilities_equal_those_by_hand(
    tmp_path: Path, types: int, prefix: str, suffix: str
) -> None:
    arrays = variables(types)
    npz, vocab = write(tmp_path, arrays, prefix, suffix)
    main([str(npz), str(tmp_path / "out"), "--vocab", str(vocab)])
    bem = Bem.load(str(tmp_path / "out"), device="cpu", offline=True)
    rows = {
        ("which town?", "Oslo", "bergen"): (
            ["[CLS]", "ber", "##gen", "[SEP]", "oslo", "[SEP]", "which", "town", "?", "[SEP]"],
            [0, 0, 0, 0, 1, 1, 2, 2, 2, 2],
        ),
        ("a", "b c", ""): (
            ["[CLS]", "[SEP]", "b", "c", "[SEP]", "a", "[SEP]"],
            [0, 0, 1, 1, 1, 2, 2],
        ),
    }  # fmt: skip
    expected = [
        forward(arrays, [WORDS.index(w) for w in words], kinds) for words, kinds in rows.values()
    ]
    assert bem.probabilities(list(rows)) == pytest.approx(expected, abs=1e-6)
    # The comparison would notice another row, segment or activation:
    words, kinds = next(iter(rows.values()))
    tokens = [WORDS.index(word) for word in words]
    exact = np.vectorize(lambda x: 0.5 * x * (1 + erf(x / sqrt(2))))
    others = [expected[1], forward(arrays, tokens, [min(kind, 1) for kind in kinds]),
              forward(arrays, tokens, kinds, exact)]  # fmt: skip
    assert all(abs(other - expected[0]) > 3e-6 for other in others), (expected, others)


def test_what_is_missing_or_unknown_is_named(tmp_path: Path) -> None:
    arrays = variables()
    lacking = {n: a for n, a in arrays.items() if n != "transformer/layer_1/output/bias"}
    npz, vocab = write(tmp_path, lacking)
    with pytest.raises(BadInput, match=r"layer\.1\.output\.dense\.bias"):
        convert(npz, tmp_path / "out", vocab)
    with pytest.raises(BadInput, match="1 unknown: step"):
        torch_state({**arrays, "step": np.zeros(())})
    with pytest.raises(BadInput, match="this variable is repeated"):
        torch_state({**arrays, "again/pooler_transform/bias:0": np.zeros(H)})
    with pytest.raises(BadInput, match="0 and 1"):
        torch_state({n: a for n, a in arrays.items() if n != "head/kernel"})
    npz, vocab = write(tmp_path, arrays)
    vocab.write_text("a\n")
    with pytest.raises(BadInput, match=f"1 tokens, the model {len(WORDS)}"):
        convert(npz, tmp_path / "out", vocab)
    with pytest.raises(Missing, match="nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "out", vocab)
    assert not (tmp_path / "out").exists()


def test_an_archive_of_objects_is_not_opened(tmp_path: Path) -> None:
    npz, vocab = write(tmp_path, {})
    np.savez(npz, evil=np.array([object()]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        convert(npz, tmp_path / "out", vocab)
