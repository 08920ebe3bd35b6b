"""Muon for hidden matrices, AdamW for all else, as one optimizer that scales by a schedule.

Muon (Jordan et al., 2024): momentum whose matrix is replaced by its nearest orthogonal one, by
five steps of a Newton-Schulz iteration. Here in float32 and batched over matrices of one shape,
which is what makes it pay on a CPU and on small models. Knows nothing of models or data.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic, from the paper
MOMENTUM = 0.95


class MuonAdamW:
    """Steps all parameters given; embeddings (names with "embed") count as not hidden."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        *,
        matrix_rate: float = 0.02,
        rate: float = 2e-3,
        weight_decay: float = 0.01,
    ) -> None:
        trained = [(name, p) for name, p in named if p.requires_grad]
        self.matrix_rate, self.rate, self.weight_decay = matrix_rate, rate, weight_decay
        self.matrices: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        rest = []
        for name, p in trained:
            if p.ndim == 2 and "embed" not in name:
                self.matrices[p.shape].append(p)
            else:
                rest.append(p)
        self.momentum = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.matrices.items()}
        self.adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.parameters = [p for _, p in trained]

    @torch.no_grad()
    def step(self, scale: float = 1.0, clip: float = 1.0) -> float:
        """One update at `scale` times the rates; returns the norm of the gradients."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, clip))
        for shape, ps in self.matrices.items():
            grad = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in ps])
            momentum = self.momentum[shape].lerp_(grad, 1 - MOMENTUM)
            update = orthogonal(grad.lerp(momentum, MOMENTUM))
            rate = self.matrix_rate * scale
            fan = max(1.0, shape[0] / shape[1]) ** 0.5
            for p, u in zip(ps, update, strict=True):
                p.mul_(1 - rate * self.weight_decay).sub_(rate * fan * u)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * scale
        self.adam.step()
        for p in self.parameters:
            p.grad = None
        return norm

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs, as named tensors."""
        out = {f"muon.{i}": m for i, m in enumerate(self.momentum.values())}
        for i, entry in self.adam.state_dict()["state"].items():
            out |= {f"adam.{i}.{key}": value for key, value in entry.items()}
        return out

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`, on an optimizer of the same parameters."""
        for i, momentum in enumerate(self.momentum.values()):
            momentum.copy_(state[f"muon.{i}"])
        entries: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, value in state.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                entries[int(number)][key] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": dict(entries)})


def orthogonal(matrices: Tensor) -> Tensor:
    """(n, r, c) → about the nearest matrices with all singular values 1 (to .3), same shape."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x if wide else x.mT
    return out


def cosine(step: int, steps: int, warmup: int, floor: float = 0.02) -> float:
    """Rate of step 0 … steps - 1: linear warm-up, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(progress * torch.pi))))
