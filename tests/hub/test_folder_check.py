"""Broken numbers in loaded weights: found wherever they stand, and without a copy."""

from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from rag_vqa.errors import RagVqaError
from rag_vqa.hub.folder_check import refuse_broken_numbers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("place", [0, 517, -1])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_one_broken_number_is_found_anywhere(dtype: Any, place: int, number: float) -> None:
    weight = torch.full((1000,), 60_000.0, dtype=dtype)  # their sum is above float16's largest
    refuse_broken_numbers("org/m", [("whole", weight), ("empty", torch.empty(0))])
    weight[place] = number
    with pytest.raises(RagVqaError, match=r"in spoiled\)"):
        refuse_broken_numbers("org/m", [("spoiled", weight)])


def test_looking_for_broken_numbers_copies_no_weights() -> None:
    weight = torch.ones(1_000_000, dtype=torch.bfloat16)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        refuse_broken_numbers("org/m", [("weight", weight)])
    taken = max(event.self_cpu_memory_usage for event in seen.events())
    assert taken < weight.nbytes / 100
