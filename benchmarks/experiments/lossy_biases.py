"""The gain of biases that are adapted to one image, in the entropy model and in the synthesis of lossy files.

    python -m benchmarks.experiments.lossy_biases --data DIR [--images N]

Effort 2 chooses the integers. They stay, while Adam moves biases of the thawed model: those of the entropy model to
make the bits fewer, those of the synthesis to make the distortion smaller. What the biases cost is counted: each is
rounded to a step, and costs as many bits as the entropy of the rounded biases of its network says, plus 32 bits for
their distribution. Of several steps and numbers of passes the cheapest is taken, or no adaptation. Figures are means
over whole validation images, at most a quarter of a megapixel of each.
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

QUALITIES = 20, 40, 60, 80
SIDE = 512
ROUNDS = 30
"""Steps of Adam. Twice as many gain a tenth more."""
RATE = 0.003
STEPS = 0.005, 0.01, 0.02, 0.04
"""Steps to which biases are rounded. The first network's inputs and hidden units are of the size of 1."""
HEADER_BITS = 32.0


def side_bits(numbers: Tensor) -> float:
    """Return the bits of rounded biases."""
    _, counts = torch.unique(numbers, return_counts=True)
    shares = counts / counts.sum()
    return HEADER_BITS - float((counts * torch.log2(shares)).sum())


def adapted(cost: Callable[[Tensor], Tensor], count: int) -> tuple[float, float]:
    """Return the cost with the best adaptation of ``count`` biases, their bits included, and those bits alone."""
    moved = torch.zeros(count, requires_grad=True)
    adam = torch.optim.Adam([moved], RATE, betas=(0.9, 0.99))
    for done in range(ROUNDS):
        adam.param_groups[0]["lr"] = RATE * (1 - done / ROUNDS)
        (moved.grad,) = torch.autograd.grad(cost(moved), moved)
        adam.step()
    with torch.no_grad():
        found = [(float(cost(torch.zeros(count))), 0.0)]
        for step in STEPS:
            numbers = (moved / step).round()
            bits = side_bits(numbers)
            found.append((float(cost(numbers * step)) + bits, bits))
    return min(found)


def entropy_model(case: Case, q: Tensor) -> list[float]:
    """Return the bits without and with adaptation of the entropy model, and the bits of the adaptation."""
    model = case.tools.model
    with torch.no_grad():
        inputs, reference = near(q, model.config, model.offsets)

    def bits(moved: Tensor) -> Tensor:
        biases = case.biases + moved
        return near_bits(model.coder.likelihood, model.config.limit, inputs, reference, q, q, biases).sum()

    with torch.no_grad():
        before = float(bits(torch.zeros(case.biases.shape[-1])))
    return [before, *adapted(bits, case.biases.shape[-1])]


def synthesis(case: Case, q: Tensor) -> list[float]:
    """Return the priced distortion without and with adaptation of the synthesis, and the bits of the adaptation."""
    rows = [weight for name, weight in case.tools.model.synthesis.named_parameters() if name.endswith("levels.weight")]
    kept = [row.detach().clone() for row in rows]
    count = sum(row.shape[1] for row in rows)

    def lost(moved: Tensor) -> Tensor:
        parts = moved.split([row.shape[1] for row in rows])
        names = [name for name, _ in case.tools.model.synthesis.named_parameters() if name.endswith("levels.weight")]
        changed = {name: row + part for name, row, part in zip(names, kept, parts, strict=True)}
        restored = torch.func.functional_call(case.tools.model.synthesis, changed, (q * case.steps, case.level))
        return case.priced(restored)

    with torch.no_grad():
        before = float(lost(torch.zeros(count)))
    return [before, *adapted(lost, count)]


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--images", type=click.IntRange(min=1), default=3, show_default=True, help="Images of each folder.")
def main(data: Path, images: int) -> None:
    """Print what adapted biases gain, in percent of the bits."""
    torch.set_num_threads(1)
    tools = Tools()
    rows = [["quality", "bits a pixel", "entropy model", "of it biases", "synthesis", "of it biases"]]
    for quality in QUALITIES:
        found = []
        for folder in FOLDERS:
            every = load_images(data / folder)
            for image in list(every)[:: max(30 // images, 1)][:images]:
                case = Case(tools, centre(image, SIDE, 8), quality)
                q = to_tensor(METHODS["effort 2"](case))
                coder, restored = entropy_model(case, q), synthesis(case, q)
                bits = coder[0]
                gains = [coder[1] - coder[0], coder[2], restored[1] - restored[0], restored[2]]
                found.append([bits / case.pixels, *(100 * gain / bits for gain in gains)])
                click.echo(f"{folder} {quality} {found[-1]}", err=True)
        mean = np.mean(found, axis=0)
        rows.append([str(quality), f"{mean[0]:.3f}", *(f"{value:+.2f} %" for value in mean[1:])])
    click.echo(markdown_table(rows))


if __name__ == "__main__":
    main()
