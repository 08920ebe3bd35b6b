"""What both training commands of the demo take on their command line."""

import argparse
from pathlib import Path


def options(description: str | None, seed: int, steps: int) -> argparse.Namespace:
    """`out`, `tower` (folders), `seed`, `steps`; sets the threads of torch."""
    import torch

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--tower", type=Path, help="the vision tower's: OUT/../tower if left out")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    given.tower = given.tower or given.out.parent / "tower"
    torch.set_num_threads(given.threads)
    return given
