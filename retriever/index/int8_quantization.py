"""Int8 quantization of tokens: a quarter of their size, one scale a token, nothing trained.

Knows the format of a row and its arithmetic. Does not know files nor how codes are searched.

Apart because the store, the engines and the build estimate share it without torch or an index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MAX_CODE = 127  # the range is symmetric: -128 is never used
_ROWS_AT_ONCE = 4096  # so that memory stays flat

Codes = NDArray[np.void]  # (N,) rows of `code_dtype(K, D)`


def code_dtype(K: int, D: int) -> np.dtype[np.void]:
    """One row: for each token its values, the worth of one unit (scale), and their sum.

    The sums let a processor multiply unsigned by signed bytes: Σ (q + 128) d = Σ q d + 128 Σ d.
    """
    return np.dtype([("values", "i1", (K, D)), ("scales", "<f2", (K,)), ("sums", "<i4", (K,))])


def quantize(tokens: NDArray[np.floating]) -> Codes:
    """(N, K, D), finite → (N,) codes. Each number is off by at most half of its token's scale.

    >>> codes = quantize(np.array([[[1.0, -0.5]]]))
    >>> codes["values"].tolist(), codes["sums"].tolist()
    ([[[127, -63]]], [[64]])
    """
    N, K, D = tokens.shape
    codes = np.empty(N, code_dtype(K, D))
    for start in range(0, N, _ROWS_AT_ONCE):
        part = np.asarray(tokens[start : start + _ROWS_AT_ONCE], np.float32)
        coded = codes[start : start + _ROWS_AT_ONCE]
        scales = (np.abs(part).max(axis=2) / _MAX_CODE).astype(np.float16)
        # Rounding a scale down would carry the largest value beyond 127; 0 would divide by 0.
        scales = np.maximum(np.nextafter(scales, np.float16(np.inf)), np.finfo(np.float16).tiny)
        values = np.rint(part / scales[..., None].astype(np.float32))
        coded["values"], coded["scales"] = values, scales
        coded["sums"] = values.sum(axis=2)
    return codes


def dequantize(codes: Codes) -> NDArray[np.float32]:
    """(N,) codes → (N, K, D) tokens, to within half a scale."""
    scales = codes["scales"].astype(np.float32)
    tokens: NDArray[np.float32] = codes["values"].astype(np.float32) * scales[..., None]
    return tokens
