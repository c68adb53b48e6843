"""The likelihood p(x|z): a small network at each position, which sees the decoded positions around it.

All models have it. In `models.nets.vlae` z sets its biases. In `models.nets.spatial` z becomes a map of features, which
are further inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy import tables
from codec.frozen import layout
from codec.frozen.layout import Layout
from models.nets.layers import Layers, bias_of, lowered

CONTEXT_UNIT = tables.COMPRESS_UNIT
"""Units of the codec's integer table that make 1 in the float network's inputs."""

MAX_ERROR = 10
"""Largest error d of near-lossless coding that a model serves."""


@dataclass(frozen=True)
class Coded:
    """The integer tensor (H, W, C) that a model codes.

    Attributes
    ----------
    channels : int
    groups : int
        Number of equal groups in which the channels are coded. Each group sees those before it.
    references : int
        The first channels, of this number, enter as differences to a prediction from their neighbours.
    features : tuple of int
        For each group, the number of its inputs from the channels coded before.
    links : tuple of int
        For each group, the number of earlier channels that its means follow linearly.
    planes : int
        Number of the posterior's input planes.
    conditions : int
        Rows of biases: one for each error d, or for each level of quality.
    limit : int or None
        Values of a tensor are -limit..limit. None stands for an image's samples or bits.
    """

    channels: int
    groups: int
    references: int
    features: tuple[int, ...]
    links: tuple[int, ...]
    planes: int
    conditions: int
    limit: int | None = None

    @property
    def layout(self) -> Layout:
        """The codec's layout of this tensor."""
        if self.limit is None:
            return layout.samples() if self.channels > 1 else layout.bits()
        return layout.tensor(self.channels, self.groups, self.limit, self.references)

    @property
    def group(self) -> int:
        """Number of channels in a group."""
        return self.channels // self.groups


SAMPLES = Coded(3, 3, 3, features=(0, 1, 3), links=(0, 1, 2), planes=9, conditions=MAX_ERROR + 1)
"""The samples of an image: green, red and blue are three groups."""
BITS = Coded(1, 1, 0, features=(0,), links=(0,), planes=1, conditions=1)
"""A black-and-white image. Only the mean of its likelihood's mixture is trained: one logistic of fixed scale on two
numbers is a Bernoulli distribution."""


@dataclass(frozen=True)
class LikelihoodShape:
    """Shape of a `Likelihood`."""

    width: int = 160
    head: int = 48
    mixtures: int = 4

    @property
    def coded(self) -> Coded:
        """The tensor that is coded."""
        raise NotImplementedError

    @property
    def bias_count(self) -> int:
        """Number of the likelihood's biases: those of three hidden layers and of the heads."""
        return 3 * self.width + self.coded.groups * self.head

    def outputs(self, group: int) -> int:
        """Return the number of raw outputs of a group's head."""
        return 3 * self.mixtures * self.coded.group + self.coded.links[group]

    def multiply_adds(self, inputs: int) -> int:
        """Return the likelihood's multiply-adds for each position, given the number of its inputs."""
        heads = sum(
            self.head * (self.width + seen + self.outputs(group)) for group, seen in enumerate(self.coded.features)
        )
        return inputs * self.width + 2 * self.width**2 + heads


class Likelihood(nn.Module):
    """The likelihood p(x|z): it returns the parameters of a mixture of logistics for each channel, in coding order.

    Attributes
    ----------
    in_bfloat16 : bool
        Whether the hidden layers multiply in bfloat16. Only training uses it, on processors that are faster then.
    """

    def __init__(self, config: LikelihoodShape, inputs: int) -> None:
        super().__init__()
        c = config
        self.config = c
        self.in_bfloat16 = False
        self.hidden1 = nn.Linear(inputs, c.width)
        self.hidden2 = nn.Linear(c.width, c.width)
        self.hidden3 = nn.Linear(c.width, c.width)
        self.split = nn.Linear(c.width, c.coded.groups * c.head)
        groups = range(c.coded.groups)
        self.conditioning: Layers[nn.Linear] = Layers([nn.Linear(n, c.head, bias=False) for n in c.coded.features[1:]])
        self.outputs: Layers[nn.Linear] = Layers([nn.Linear(c.head, c.outputs(group)) for group in groups])
        with torch.no_grad():
            for group, layer in enumerate(self.outputs):
                layer.weight.mul_(0.3)
                bias = bias_of(layer).zero_()
                own = bias[: 3 * c.mixtures * c.coded.group].view(c.coded.group, 3, c.mixtures)
                own[:, 1] = torch.linspace(-0.2, 0.2, c.mixtures)
                own[:, 2] = torch.linspace(-1, 1.0, c.mixtures)
                if c.coded.links[group]:
                    bias[own.numel() :] = 0.8 / c.coded.links[group]

    def forward(self, inputs: Tensor, seen: Sequence[Tensor], biases: Tensor) -> list[Tensor]:
        """Return the raw outputs of the heads.

        Parameters
        ----------
        inputs : float tensor (..., C P + references)
        seen : sequence of float tensors (..., features)
            For each head but the first, its inputs from the channels coded before.
        biases : float tensor that broadcasts to (..., bias_count)
        """
        c = self.config
        b1, b2, b3, b4 = biases.split([c.width, c.width, c.width, c.coded.groups * c.head], -1)
        with lowered(inputs, self.in_bfloat16):
            h = F.relu(self.hidden1(inputs) + b1)
            h = F.relu(self.hidden2(h) + b2)
            h = F.relu(self.hidden3(h) + b3)
            split = self.split(h)
        heads = (split.to(b4.dtype) + b4).split(c.head, -1)
        result = []
        for group, output in enumerate(self.outputs):
            a = heads[group]
            if group:
                a = a + self.conditioning[group - 1](seen[group - 1])
            result.append(output(F.relu(a)))
        return result

    def mixture(self, raw: Tensor, reference: Tensor, earlier: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights, means and scales (..., M) of a mixture, in samples, from a head's raw outputs.

        Parameters
        ----------
        raw : float tensor (..., 3 M + len(earlier))
        reference : float tensor (...)
        earlier : list of float tensors (...)
            For each channel coded before, its difference to its reference.
        """
        m = self.config.mixtures
        shift = reference
        for i, difference in enumerate(earlier):
            shift = shift + raw[..., 3 * m + i] * difference
        means = shift[..., None] + 8 * raw[..., m : 2 * m]
        scales = torch.exp2((raw[..., 2 * m : 3 * m] + 0.5).clamp(-4, 7))
        return F.softmax(raw[..., :m], -1), means, scales
