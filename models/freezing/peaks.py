"""The largest activations of a model on calibration crops, from which freezing chooses the scales of integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.freezing.quantise import F64, to_f64
from models.nets.likelihood import Likelihood
from models.nets.vlae import VLAE


@dataclass
class Peaks:
    """Records the largest activation of each unit, by layer, while a model runs on calibration crops."""

    values: dict[str, F64] = field(default_factory=dict)
    handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)

    def inputs(self, name: str, module: nn.Module, follower: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Record the inputs of a module, after ``follower`` was applied."""
        keep = self._keep(name, module)
        self.handles.append(module.register_forward_pre_hook(lambda _module, inputs: keep(follower(inputs[0]))))

    def outputs(self, name: str, module: nn.Module, follower: Callable[[Tensor], Tensor]) -> None:
        """Record the results of a module, after ``follower`` was applied. Several modules may share a name."""
        keep = self._keep(name, module)
        self.handles.append(module.register_forward_hook(lambda _module, _inputs, out: keep(follower(out))))

    def stop(self) -> None:
        """Stop recording."""
        while self.handles:
            self.handles.pop().remove()

    def _keep(self, name: str, module: nn.Module) -> Callable[[Tensor], None]:
        def keep(x: Tensor) -> None:
            axis = x.dim() - 1 if isinstance(module, (nn.Linear, nn.ReLU)) else 1
            peak = to_f64(x.amax([i for i in range(x.dim()) if i != axis]))
            self.values[name] = np.maximum(peak, self.values.get(name, peak))

        return keep


def watch_likelihood(likelihood: Likelihood, peaks: Peaks) -> None:
    """Record the largest activations of the likelihood's hidden layers."""
    followers = {
        "hidden1": likelihood.hidden2,
        "hidden2": likelihood.hidden3,
        "hidden3": likelihood.split,
        **{f"head{i}": layer for i, layer in enumerate(likelihood.outputs)},
    }
    for name, module in followers.items():
        peaks.inputs(name, module)


def watch_coder(model: VLAE, peaks: Peaks) -> None:
    """Record the largest activations of all hidden layers."""
    watch_likelihood(model.likelihood, peaks)
    if not model.config.latents:
        return
    followers = {
        "conv1": model.posterior.conv2,
        "conv2": model.posterior.conv3,
        "dense": model.posterior.out,
        "modulation": model.modulate2,
        "prior": model.prior.out,
    }
    for name, module in followers.items():
        peaks.inputs(name, module)
    peaks.outputs("conv3", model.posterior.conv3, F.relu)
