"""The scales of hidden units in thawed weights. They are free, because a rectifier commutes with positive factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.nets.layers import bias_of
from models.nets.likelihood import Likelihood
from models.nets.vlae import VLAE

ROUNDS = 50
"""Rounds of balancing. Afterwards, the norms on both sides of the shipped model's units agree within 1 %."""


class Units(NamedTuple):
    """The hidden units of one layer, as views of parameters with the units along the first axis.

    Attributes
    ----------
    weights : list of Tensor
        Weights from the layer before.
    biases : list of Tensor
        Everything else that is added to the units' sums, in the same scale.
    outgoing : list of Tensor
        Weights of the layers that read the units.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    outgoing: list[Tensor]


def hidden_units(model: VLAE) -> list[Units]:
    """Return the units of all layers that a rectifier follows."""
    config = model.config

    def moved(begin: int, count: int) -> list[Tensor]:
        at = slice(begin, begin + count)
        by_z = [model.modulate2.weight[at], model.modulate2.bias[at]] if config.latents else []
        return [model.condition.weight[:, at].T, model.off[at], *by_z]

    units = likelihood_units(model.likelihood, moved)
    if not config.latents:
        return units
    q, prior = model.posterior, model.prior
    dense, channels = q.dense.weight, config.posterior[2]
    around_z = [
        Units([q.conv1.weight], [bias_of(q.conv1)], [q.conv2.weight.transpose(0, 1)]),
        Units([q.conv2.weight], [bias_of(q.conv2)], [q.conv3.weight.transpose(0, 1)]),
        Units([q.conv3.weight], [bias_of(q.conv3)], [dense[:, :channels].T, dense[:, channels:].T]),
        Units([dense], [q.dense.bias, q.condition.weight.T], [q.out.weight.T]),
        Units([prior.hidden.weight], [prior.hidden.bias, prior.condition.weight.T], [prior.out.weight.T]),
        Units([model.modulate1.weight], [model.modulate1.bias], [model.modulate2.weight.T]),
    ]
    return around_z + units


def likelihood_units(net: Likelihood, moved: Callable[[int, int], list[Tensor]]) -> list[Units]:
    """Return the hidden units of a likelihood.

    ``moved(begin, count)`` returns the parameters that are added to ``count`` biases from ``begin`` on.
    """
    config, result = net.config, []
    chain = [net.hidden1, net.hidden2, net.hidden3, net.split]
    for i in range(3):
        biases = [chain[i].bias, *moved(i * config.width, config.width)]
        result.append(Units([chain[i].weight], biases, [chain[i + 1].weight.T]))
    for place, out in enumerate(net.outputs):
        begin = place * config.head
        at = slice(begin, begin + config.head)
        conditioning = [net.conditioning[place - 1].weight] if place else []
        biases = [net.split.bias[at], *moved(3 * config.width + begin, config.head)]
        result.append(Units([net.split.weight[at], *conditioning], biases, [out.weight.T]))
    return result


def norm(parts: list[Tensor]) -> Tensor:
    """Return the norm of each unit's weights in several parameters."""
    result: Tensor = torch.linalg.vector_norm(torch.cat([p.flatten(1) for p in parts], 1), dim=1)
    return result


@torch.no_grad()
def balance(layers: list[Units]) -> None:
    """Rescale each hidden unit, in place, so that its incoming and outgoing weights have equal norms.

    Of all scales, these make the weights smallest. Gradient descent keeps the difference of the squared norms, so units
    stay balanced in training. A unit without incoming or outgoing weights gets the usual norm of its layer.
    """
    for _ in range(ROUNDS):
        for units in layers:
            before, after = norm(units.weights), norm(units.outgoing)
            dead = (before == 0) | (after == 0)
            product = before * after
            usual = product[~dead].median().sqrt() if (~dead).any() else torch.tensor(1.0, dtype=product.dtype)
            one = torch.ones_like(before)
            factor = torch.where(dead, one, (after / before).sqrt())
            factor = torch.where(dead & (before > 0), usual / before, factor)
            factor = torch.where(dead & (after > 0), after / usual, factor)
            for p in units.weights + units.biases:
                p.mul_(factor.reshape(-1, *[1] * (p.dim() - 1)))
            for p in units.outgoing:
                p.div_(factor.reshape(-1, *[1] * (p.dim() - 1)))
