"""The processes and the arithmetic of a training, as accelerate sets them up.

`accelerate launch` starts several processes, and what it was configured with holds here: DDP is
tested; FSDP and DeepSpeed are not. Does not know what is trained.
"""

from collections.abc import Callable
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from rag_vqa.errors import UsageError

NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # ours: accelerate's
# For how long processes wait for the first one, which packs data and validates alone. One that
# dies ends the others at once: the launcher sees to that.
WAIT = timedelta(days=2)


def accelerator(precision: str, note: Callable[[str], None] = lambda message: None) -> Accelerator:
    """What moves, wraps and steps. Weights stay float32; `precision` is that of forward passes.

    On a CPU bf16 holds where the processor multiplies it natively (a small model's step takes half
    the time there), and is said to be fp32 elsewhere, where it would only be slower.

    Raises:
        UsageError: fp16 without a GPU.
    """
    # A process may train twice, in another precision: accelerate keeps the first one's otherwise.
    AcceleratorState._reset_state()
    # Not PartialState: it overlooks ACCELERATE_USE_CPU, and then several processes are one each.
    wait = InitProcessGroupKwargs(timeout=WAIT)
    first = Accelerator(mixed_precision="no", kwargs_handlers=[wait])
    on_cpu = first.device.type == "cpu"
    if on_cpu and precision == "fp16":
        raise UsageError("precision fp16 needs a GPU. Here: precision: bf16, or fp32.")
    if on_cpu and precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        told = note if first.is_main_process else lambda message: None
        told("This processor does not multiply bf16 natively: fp32 is computed instead.")
        precision = "fp32"
    AcceleratorState._reset_state()
    if not on_cpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Accelerator(mixed_precision=NAMES[precision], kwargs_handlers=[wait])
