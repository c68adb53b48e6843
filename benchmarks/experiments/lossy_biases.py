"""The gain of biases that are adapted to one image, in the entropy model and in the synthesis of lossy files.

    python -m benchmarks.experiments.lossy_biases --data DIR [--images N]

Effort 2 chooses the integers. They stay, while Adam moves biases of the thawed model: those of the entropy model to
make the bits fewer, those of the synthesis to make the distortion smaller. What the biases cost is counted: each is
rounded, and costs as many bits as the entropy of the rounded biases of its network says.

Figures are sums over the centres of validation images, in percent of the bits of y. "Larger" is what would be left of
an image eight times as large, such as a photograph of two megapixels, with biases that cost as much.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.common import markdown_table
from benchmarks.experiments.refinement import FOLDERS, METHODS, Case, Tools, to_tensor
from models.data.crops import centre, load_images
from models.nets.lossy import near, near_bits

QUALITIES = 20, 60, 80
SIDE = 512
LARGER = 8
ROUNDS = 20
"""Steps of Adam."""
RATE = 0.01
STEP = 0.04
"""The step to which biases are rounded. Hidden units are of the size of 1."""


def side_bits(numbers: Tensor) -> float:
    """Return the bits of rounded biases."""
    _, counts = torch.unique(numbers, return_counts=True)
    shares = counts / counts.sum()
    return -float((counts * torch.log2(shares)).sum())


def adapted(cost: Callable[[Tensor], Tensor], count: int) -> tuple[float, float]:
    """Return by how much ``count`` adapted biases lower a cost, and the bits of the biases."""
    moved = torch.zeros(count, requires_grad=True)
    adam = torch.optim.Adam([moved], RATE, betas=(0.9, 0.99))
    for done in range(ROUNDS):
        adam.param_groups[0]["lr"] = RATE * (1 - done / ROUNDS)
        (moved.grad,) = torch.autograd.grad(cost(moved), moved)
        adam.step()
    with torch.no_grad():
        numbers = (moved / STEP).round()
        return float(cost(torch.zeros(count))) - float(cost(numbers * STEP)), side_bits(numbers)


def entropy_model(case: Case, q: Tensor) -> tuple[float, float]:
    """Return the bits that adapted biases of the entropy model save, and the bits of the biases."""
    model = case.tools.model
    with torch.no_grad():
        inputs, reference = near(q, model.config, model.offsets)

    def bits(moved: Tensor) -> Tensor:
        biases = case.biases + moved
        return near_bits(model.coder.likelihood, model.config.limit, inputs, reference, q, q, biases).sum()

    return adapted(bits, case.biases.shape[-1])


def synthesis(case: Case, q: Tensor) -> tuple[float, float]:
    """Return the priced distortion that adapted biases of the synthesis save, in bits, and the bits of the biases."""
    network = case.tools.model.synthesis
    rows = {name: row for name, row in network.named_parameters() if name.endswith("levels.weight")}
    sizes = [row.shape[1] for row in rows.values()]

    def lost(moved: Tensor) -> Tensor:
        parts = moved.split(sizes)
        changed = {name: row + part for (name, row), part in zip(rows.items(), parts, strict=True)}
        return case.priced(torch.func.functional_call(network, changed, (q * case.steps, case.level)))

    return adapted(lost, sum(sizes))


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--images", type=click.IntRange(min=1), default=3, show_default=True, help="Images of each folder.")
def main(data: Path, images: int) -> None:
    """Print what adapted biases gain, in percent of the bits."""
    torch.set_num_threads(1)
    tools = Tools()
    rows = [["quality", "bits a pixel", "biases of", "saved", "their bits", "left", "larger"]]
    for quality in QUALITIES:
        found = []
        for folder in FOLDERS:
            for image in list(load_images(data / folder))[:images]:
                case = Case(tools, centre(image, SIDE, 8), quality)
                q = to_tensor(METHODS["effort 2"](case))
                found.append([float(case.bits(q, q)), case.pixels, *entropy_model(case, q), *synthesis(case, q)])
                click.echo(f"{folder} {quality} {found[-1]}", err=True)
        bits, pixels, *gains = np.sum(found, axis=0)
        for name, saved, cost in (("entropy model", *gains[:2]), ("synthesis", *gains[2:])):
            shares = (100 * part / bits for part in (saved, cost, saved - cost, saved - cost / LARGER))
            rows.append(
                [str(quality), f"{bits / pixels:.3f}", name, *(f"{100 * share / bits:.2f} %" for share in shares)]
            )
    click.echo(markdown_table(rows))


if __name__ == "__main__":
    main()
