"""The optimiser: Muon for the large matrices, Adam for everything else.

Muon (Jordan et al. 2024) takes a step along the nearest orthogonal matrix of the momentum, found by
a Newton-Schulz iteration. On this model it gained twice as much per step as Adam; see docs/MODELS.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ADAM_BETAS = (0.9, 0.99)
MUON_MOMENTUM = 0.95
MUON_RATE = 7.0
"""Muon's learning rate, as a multiple of Adam's."""
MATRICES = re.compile(
    r"(coder\.)?likelihood\.(hidden[123]|split)\.weight"
    r"|(analysis|synthesis|posterior|decoder)\.(input|blocks\.\d+\.conv[12])\.weight"
)
"""Names of the parameters that Muon steps. A convolution counts as a matrix with a row for each output."""
DECAYED = re.compile(r"(analysis|synthesis|posterior|decoder)\..*")
DECAY = 0.3
"""At each step, the matrices named `DECAYED` shrink by Muon's rate times this. Without decay, the residual networks,
which have no normalisation, grew by orders of magnitude until all their units were dead."""
SLOW = re.compile(r"(analysis|synthesis)\.(linear|output)\.(weight|bias)")
SLOW_RATE = 0.03
"""Factor of Adam's rate for parameters named `SLOW`. Adam moves all weights by the same amount, and in these layers the
changes of hundreds of inputs, each worth many samples, add up."""
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration. Five rounds bring all singular values close to 1."""


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (..., rows, columns) whose singular values are moved close to 1."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    # Each round multiplies x by p, a polynomial of x x'. The product of all p needs only small square matrices.
    identity = torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    gram, product = x @ x.mT, identity
    for _ in range(5):
        p = a * identity + b * gram + c * gram @ gram
        product = p @ product
        gram = p @ gram @ p
    x = product @ x
    found: Tensor = x.mT if tall else x
    return found


def orthogonal_each(matrices: Sequence[Tensor], nearest: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return ``nearest`` of each of several matrices. Those of one shape are computed together, which keeps GPUs busy.

    A matrix with more rows than columns counts by its transpose.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, matrix in enumerate(matrices):
        alike.setdefault(tuple(sorted(matrix.shape)), []).append(place)
    found = dict[int, Tensor]()
    for places in alike.values():
        tall = [matrices[place].shape[0] > matrices[place].shape[1] for place in places]
        stacked = torch.stack(
            [matrices[place].mT if t else matrices[place] for place, t in zip(places, tall, strict=True)]
        )
        for place, t, result in zip(places, tall, nearest(stacked), strict=True):
            found[place] = result.mT.contiguous() if t else result
    return [found[place] for place in range(len(matrices))]


class Optimizer:
    """Steps all parameters of a model. Its state is a flat dict of tensors.

    Parameters
    ----------
    matrices : re.Pattern
        Names of the parameters that Muon steps.
    nearest : callable
        Returns the orthogonal matrices nearest to matrices (..., rows, columns).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        matrices: re.Pattern[str] = MATRICES,
        nearest: Callable[[Tensor], Tensor] = orthogonal,
    ) -> None:
        self.nearest = nearest
        self.matrices = {name: p for name, p in model.named_parameters() if matrices.fullmatch(name)}
        self.momentum = {name: torch.zeros_like(p) for name, p in self.matrices.items()}
        self.rest = {name: p for name, p in model.named_parameters() if name not in self.matrices}
        slow = [p for name, p in self.rest.items() if SLOW.fullmatch(name)]
        usual = [p for name, p in self.rest.items() if not SLOW.fullmatch(name)]
        groups = [{"params": usual, "share": 1.0}, {"params": slow, "share": SLOW_RATE}]
        self.adam = torch.optim.Adam([group for group in groups if group["params"]], betas=ADAM_BETAS)

    def step(self, rate: float) -> None:
        """Step along the gradients with the learning rate ``rate``, and clear them."""
        for group in self.adam.param_groups:
            group["lr"] = rate * group["share"]
        self.adam.step()
        with torch.no_grad():
            self._step_matrices(rate)
        self.adam.zero_grad()

    def _step_matrices(self, rate: float) -> None:
        stepped = {name: p for name, p in self.matrices.items() if p.grad is not None}
        if not stepped:
            return
        parameters: list[Tensor] = list(stepped.values())
        gradients = [p.grad for p in parameters if p.grad is not None]
        means = [self.momentum[name] for name in stepped]
        torch._foreach_lerp_(means, gradients, 1 - MUON_MOMENTUM)
        ahead = torch._foreach_lerp(gradients, means, MUON_MOMENTUM)
        updates = orthogonal_each([update.flatten(1) for update in ahead], self.nearest)
        torch._foreach_mul_(updates, [max(1.0, len(u) / u.shape[1]) ** 0.5 for u in updates])
        decayed: list[Tensor] = [p for name, p in stepped.items() if DECAYED.fullmatch(name)]
        if decayed:
            torch._foreach_mul_(decayed, 1 - DECAY * MUON_RATE * rate)
        views = [update.view_as(p) for update, p in zip(updates, parameters, strict=True)]
        torch._foreach_add_(parameters, views, alpha=-MUON_RATE * rate)
        for p in parameters:
            p.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the state as named tensors."""
        tensors = {f"momentum.{name}": m for name, m in self.momentum.items()}
        for name, p in self.rest.items():
            if p in self.adam.state:
                tensors[f"first_moment.{name}"] = self.adam.state[p]["exp_avg"]
                tensors[f"second_moment.{name}"] = self.adam.state[p]["exp_avg_sq"]
        return tensors

    def load(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Set the state to tensors that `state` returned after ``steps`` steps."""
        for name, mean in self.momentum.items():
            mean.copy_(tensors[f"momentum.{name}"])
        for name, p in self.rest.items():
            if f"first_moment.{name}" in tensors:
                self.adam.state[p] = {
                    "step": torch.tensor(float(steps)),
                    "exp_avg": tensors[f"first_moment.{name}"].to(p.device),
                    "exp_avg_sq": tensors[f"second_moment.{name}"].to(p.device),
                }
