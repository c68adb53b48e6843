"""The gain of refining y by gradients, compared with the encoder's rounding and its linear refinement.

    python -m benchmarks.experiments.refinement run METHOD... --data DIR --results FILE [--images N]
    python -m benchmarks.experiments.refinement table --results FILE

The shipped weights, thawed, give gradients in float. A method finds integers, which the frozen model codes and decodes.
So bits are those of real messages, and samples are those that a decoder returns. Seconds are processor time on one
thread. Figures are kept in a file of JSON lines, and are not measured again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import markdown_table
from benchmarks.quality import Curve, bd_rate, ms_ssim, ms_ssim_db
from codec.encoder import encoding, masking, rounding
from codec.entropy.rate_distortion import FINE, PRICE_UNIT, WORTH_UNIT
from codec.format.headers import Latents
from codec.frozen.model import Model
from codec.frozen.shipped import weights_path
from codec.frozen.weights import parse_model
from codec.images import lossy_decoder, lossy_encoder
from codec.images.metrics import psnr
from codec.networks.transform import PATCH, Transforms, analyse
from models.data.crops import centre, load_images
from models.freezing.freeze_transforms import CONDITIONS
from models.freezing.thaw_lossy import thaw_lossy
from models.nets.lossy import Lossy, LossyConfig, mixtures, price
from models.recipes.reading import load_recipe
from models.recipes.tables import Recipe
from models.tasks.distortion import distortion

RECIPE = "lossy"
FOLDERS = ("photos_valid", "photos_past_valid")
QUALITIES = (20, 40, 60, 80)
SIDE = 256
BD_RANGE_BPP = (0.15, 2.5)
BASELINE = "effort 2"
SHARE = 0.75
"""Share of the way that y moves in each of `Steps`, as in `codec.images.lossy_encoder`."""
FIGURES = ("bpp", "psnr_db", "ms_ssim", "cost_bpp")
GRADIENT = 0.5
"""Gradients below this, in bits for a step of y, count as small in `Bounded`."""
I16 = NDArray[np.int16]
U8 = NDArray[np.uint8]


def price_of(quality: int) -> float:
    """Return the bits a pixel that a distortion of 1 is worth, at a quality 1 to 100."""
    return float(price(torch.tensor((quality - 1) / (CONDITIONS - 1))))


class Tools:
    """The shipped model: frozen, and thawed for gradients."""

    def __init__(self) -> None:
        data = weights_path(RECIPE).read_bytes()
        self.frozen: Model = parse_model(data)
        self.recipe: Recipe = load_recipe(RECIPE)
        if self.frozen.transforms is None or not isinstance(self.recipe.model, LossyConfig):
            raise TypeError(f"recipe {RECIPE}: expected a lossy model")
        self.transforms: Transforms = self.frozen.transforms
        self.model = Lossy(self.recipe.model)
        thaw_lossy(data, self.model)
        self.model.requires_grad_(False)


class Case:
    """An image (H, W, 3), whose sides are multiples of 8, at a quality 1 to 100. Its methods have y in steps."""

    def __init__(self, tools: Tools, samples: U8, quality: int) -> None:
        self.tools, self.samples, self.condition = tools, samples, quality - 1
        model, share = tools.model, torch.tensor([self.condition / (CONDITIONS - 1)])
        self.pixels = samples.shape[0] * samples.shape[1]
        self.x = torch.tensor(samples).permute(2, 0, 1)[None].float() - 128
        self.level = model.level(share)
        self.price = price_of(quality)
        self.steps = torch.tensor(tools.transforms.steps[self.condition] / 65536.0).float()[None, :, None, None]
        self.biases = model.coder.biases_off(self.level)[:, None]

    @cached_property
    def y(self) -> Tensor:
        """The result of analysis, in steps (1, C, h, w)."""
        with ThreadPoolExecutor(1) as pool:
            y = analyse(self.samples, self.tools.transforms, self.condition, pool, 1)
        return torch.from_numpy(y).permute(2, 0, 1)[None].float() / 256 / self.steps

    @cached_property
    def structure(self) -> NDArray[np.int64]:
        """The factors of errors at each position, see `codec.encoder.masking`."""
        return masking.structure(self.samples)

    @cached_property
    def curvature(self) -> Tensor:
        """The bits that a squared error of one step is worth to the encoder's quantiser, (1, C, h, w)."""
        prices = torch.tensor(masking.prices(self.tools.transforms, self.condition) / PRICE_UNIT).float()
        squared, alike = prices[:, None, :, None, None]
        return squared + alike * torch.tensor(self.structure / WORTH_UNIT).float()

    def bits(self, contexts: Tensor, coded: Tensor) -> Tensor:
        """Return the bits of ``coded``, a scalar, if ``contexts`` are the values that contexts show."""
        model = self.tools.model
        return mixtures(model, contexts, self.biases).bits(coded, model.config.limit).sum()

    def lost(self, q: Tensor, *, structure: bool = True) -> Tensor:
        """Return the priced distortion of q in bits: the recipe's or, without ``structure``, mean squared error.

        With factor 1, squared error counts about as much in photographs as the recipe's two parts together.
        """
        restored = self.tools.model.synthesise(q * self.steps, self.level)
        if structure:
            lost = distortion(restored, self.x, self.tools.recipe.train).sum()
        else:
            lost = (restored - self.x).square().mean()
        return self.pixels * self.price * lost

    def quantised(self, y: Tensor) -> I16:
        """Return the integers (h, w, C) near y that the encoder's quantiser chooses."""
        limit = self.tools.frozen.layout.high
        fine = to_numbers(FINE * y, FINE * limit)
        prices = masking.prices(self.tools.transforms, self.condition)
        nearest = to_numbers(y, limit)
        return rounding.optimise(self.tools.frozen, nearest, fine, self.condition, prices, self.structure, threads=1)


def to_numbers(values: Tensor, limit: int) -> I16:
    """Return the nearest integers, int16 array (h, w, C), of values (1, C, h, w)."""
    return values.round().clamp(-limit, limit)[0].permute(1, 2, 0).contiguous().numpy().astype(np.int16)


def to_tensor(numbers: I16) -> Tensor:
    """Return an int16 array (h, w, C) as a float tensor (1, C, h, w)."""
    return torch.from_numpy(numbers.astype(np.float32)).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class Effort:
    """The method of the codec's encoder at an effort."""

    effort: int

    def __call__(self, case: Case) -> I16:
        """Return the numbers (h, w, C)."""
        frozen, samples = case.tools.frozen, case.samples
        coded = lossy_encoder.encode(
            frozen, samples, case.condition + 1, Latents.NONE, effort=self.effort, threads=1
        ).encoded.samples
        return np.asarray(coded, dtype=np.int16)


@dataclass(frozen=True)
class Steps:
    """The encoder's quantiser, applied several times. Each time its input is made from gradients at its last result.

    The quantiser weighs bits against curvature * (y - q)**2. At q this has the gradient that the true cost has
    there, without the bits of q itself, which the quantiser knows, if

        y = q - gradient / (2 curvature)

    Attributes
    ----------
    steps : int
    contexts : bool
        Whether the gradient includes the effect of q on the bits of later values.
    """

    steps: int
    contexts: bool = True

    def __call__(self, case: Case) -> I16:
        """Return the numbers (h, w, C)."""
        y = case.y
        numbers = case.quantised(y)
        for _ in range(self.steps):
            q = to_tensor(numbers).requires_grad_()
            cost = case.lost(q)
            if self.contexts:
                cost = cost + case.bits(q, q.detach())
            (gradient,) = torch.autograd.grad(cost, q)
            y = y + SHARE * (q.detach() - gradient / (2 * case.curvature) - y)
            numbers = case.quantised(y)
        return numbers


@dataclass(frozen=True)
class Descent:
    """Adam on y, through rounding that gets harder. At the end y is rounded, or the encoder's quantiser chooses.

    Attributes
    ----------
    steps : int
    random : bool
        Whether rounding goes to one of both neighbours at random, relaxed (SGA; Yang, Bamler and Mandt, *Improving
        inference for neural image compression*, NeurIPS 2020), or along a smooth staircase.
    quantiser : bool
    contexts : bool
        Whether the gradient includes the effect of q on the bits of later values.
    structure : bool
        Whether the distortion is the recipe's; if not, it is mean squared error.
    rate : float
        First learning rate, in steps of y. It falls to a tenth.
    """

    steps: int
    random: bool = False
    quantiser: bool = False
    contexts: bool = True
    structure: bool = True
    rate: float = 0.1

    def __call__(self, case: Case) -> I16:
        """Return the numbers (h, w, C)."""
        limit = case.tools.frozen.layout.high
        y = case.y.clone().requires_grad_()
        adam = torch.optim.Adam([y], self.rate, betas=(0.9, 0.99))
        generator = torch.Generator().manual_seed(0)
        for step in range(self.steps):
            done = step / self.steps
            adam.param_groups[0]["lr"] = self.rate * 0.1**done
            bounded = y.clamp(-limit, limit)
            q = at_random(bounded, done, generator) if self.random else staircase(bounded, done)
            cost = case.lost(q, structure=self.structure) + case.bits(q if self.contexts else q.detach(), q)
            adam.zero_grad()
            cost.backward()
            adam.step()
        found = y.detach()
        return case.quantised(found) if self.quantiser else to_numbers(found, limit)


@dataclass(frozen=True)
class Bounded:
    """A few steps along the gradient, for which an encoder has time. Each moves y by at most ``rate`` of a step.

    A gradient g moves y by rate * g / (abs(g) + GRADIENT), and the rate falls to a tenth. The staircase is that of
    `Descent`.

    Attributes
    ----------
    steps : int
    rate : float
    """

    steps: int
    rate: float = 0.2

    def __call__(self, case: Case) -> I16:
        """Return the numbers (h, w, C)."""
        limit, y = case.tools.frozen.layout.high, case.y
        for step in range(self.steps):
            done = step / self.steps
            bounded = y.clamp(-limit, limit).requires_grad_()
            q = staircase(bounded, done)
            (gradient,) = torch.autograd.grad(case.lost(q) + case.bits(q, q), bounded)
            y = y - self.rate * 0.1**done * gradient / (gradient.abs() + GRADIENT)
        return to_numbers(y, limit)


def staircase(y: Tensor, done: float) -> Tensor:
    """Return a staircase with slopes that get steeper as ``done`` goes from 0 to 1."""
    sharpness = 2.0 * 8.0**done
    middle = y.detach().floor() + 0.5
    return middle + torch.tanh(sharpness * (y - middle)) / (2 * np.tanh(sharpness / 2))


def at_random(y: Tensor, done: float, generator: torch.Generator) -> Tensor:
    """Return a relaxed random choice between the integers below and above y. The nearer one is more likely."""
    heat = 0.5 * 0.1**done
    below = y.detach().floor()
    part = (y - below).clamp(1e-4, 1 - 1e-4)
    logits = torch.stack([-torch.atanh(part), -torch.atanh(1 - part)]) / heat
    uniform = torch.rand(logits.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    share = F.softmax((logits - torch.log(-torch.log(uniform))) / heat, 0)[1]
    return below + share


METHODS: dict[str, Callable[[Case], I16]] = {
    "effort 1": Effort(1),
    "effort 2": Effort(2),
    "effort 3": Effort(3),
    "1 gradient step": Steps(1),
    "2 gradient steps": Steps(2),
    "2 gradient steps, contexts out": Steps(2, contexts=False),
    "3 bounded steps": Bounded(3),
    "5 bounded steps": Bounded(5),
    "Adam 2": Descent(2, rate=0.15),
    "Adam 5": Descent(5),
    "Adam 10": Descent(10),
    "Adam 30": Descent(30, rate=0.05),
    "Adam 100": Descent(100, rate=0.03),
    "Adam 300": Descent(300, rate=0.02),
    "Adam 5, then the quantiser": Descent(5, quantiser=True),
    "Adam 10, contexts out": Descent(10, contexts=False),
    "Adam 10, squared error": Descent(10, structure=False),
    "Adam 100, at random": Descent(100, random=True, rate=0.05),
    "Adam 300, at random": Descent(300, random=True, rate=0.03),
}


def measure(case: Case, method: Callable[[Case], I16]) -> dict[str, Any]:
    """Return the figures of a method. ``cost_bpp`` is bits plus priced distortion, which is the loss of training."""
    begin = time.process_time()
    numbers = method(case)
    seconds = time.process_time() - begin
    frozen, condition = case.tools.frozen, case.condition
    coded = encoding.encode(frozen, numbers, condition, Latents.NONE, threads=1)
    decoded = lossy_decoder.decoded(frozen, numbers, condition + 1, case.samples.shape, 1)
    bits = 8 * len(coded.payload)
    restored = torch.tensor(decoded).permute(2, 0, 1)[None].float() - 128
    lost = case.pixels * case.price * float(distortion(restored, case.x, case.tools.recipe.train))
    return {
        "bpp": bits / case.pixels,
        "psnr_db": psnr(case.samples, decoded),
        "ms_ssim": ms_ssim(case.samples, decoded),
        "cost_bpp": (bits + lost) / case.pixels,
        "seconds": seconds,
    }


def crops(data: Path, images: int) -> Iterator[tuple[str, U8]]:
    """Yield names and centres of the first images of each folder."""
    for folder in FOLDERS:
        for number, image in enumerate(load_images(data / folder)[:images]):
            yield f"{folder} {number}", centre(image, SIDE, PATCH)


def rows_of(results: Path) -> list[dict[str, Any]]:
    """Return the figures that were measured before."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def saved(other: Curve, own: Curve) -> str:
    """Return the BD-rate between two curves, in percent."""
    try:
        return f"{bd_rate(other, own, *BD_RANGE_BPP):+.1f} %"
    except ValueError:  # a method gave less quality for more bits, or was measured at one quality
        return "none"


def compared(rows: list[dict[str, Any]], method: str) -> list[str]:
    """Return a row of the table. It compares a method with the baseline, on the cases that both were measured on."""
    own = {(row["image"], row["quality"]): row for row in rows if row["method"] == method}
    other = {(row["image"], row["quality"]): row for row in rows if row["method"] == BASELINE}
    shared = sorted(own.keys() & other.keys())
    qualities = sorted({quality for _, quality in shared})

    def curve(found: dict[Any, dict[str, Any]], decibels: Callable[[dict[str, float]], float]) -> Curve:
        points = []
        for quality in qualities:
            cases = [found[key] for key in shared if key[1] == quality]
            mean = {name: float(np.mean([case[name] for case in cases])) for name in FIGURES}
            mean["lost"] = (mean["cost_bpp"] - mean["bpp"]) / price_of(quality)
            points.append((mean["bpp"], decibels(mean)))
        return points

    cells = [method, str(len(shared))]
    metrics: tuple[Callable[[dict[str, float]], float], ...] = (
        lambda mean: mean["psnr_db"],
        lambda mean: ms_ssim_db(mean["ms_ssim"]),
        lambda mean: -10 * math.log10(mean["lost"]),
    )
    cells += [saved(curve(other, metric), curve(own, metric)) for metric in metrics]
    cost = np.mean([own[key]["cost_bpp"] / other[key]["cost_bpp"] for key in shared])
    cells += [f"{100 * (cost - 1):+.1f} %", f"{np.mean([own[key]['seconds'] for key in shared]):.2f}"]
    return cells


@click.group()
def main() -> None:
    """Measure refinements of y, and compare them."""
    torch.set_num_threads(1)


@main.command()
@click.argument("methods", nargs=-1, type=click.Choice(list(METHODS)), required=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--results", type=click.Path(path_type=Path), required=True)
@click.option("--images", type=click.IntRange(min=1), default=4, show_default=True, help="Images of each folder.")
def run(methods: tuple[str, ...], data: Path, results: Path, images: int) -> None:
    """Measure methods on centres of validation images."""
    known = {(row["image"], row["quality"], row["method"]) for row in rows_of(results)}
    tools = Tools()
    for name, samples in crops(data, images):
        for quality in QUALITIES:
            case = Case(tools, samples, quality)
            for method in methods:
                if (name, quality, method) in known:
                    continue
                row = {"image": name, "quality": quality, "method": method} | measure(case, METHODS[method])
                click.echo(json.dumps(row), err=True)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


@main.command()
@click.option("--results", type=click.Path(exists=True, path_type=Path), required=True)
def table(results: Path) -> None:
    """Print the gain of the methods over effort 2."""
    rows = rows_of(results)
    names = {row["method"] for row in rows}
    head = ["method", "cases", "BD-rate, PSNR", "BD-rate, MS-SSIM", "BD-rate, distortion", "cost", "s a case"]
    click.echo(markdown_table([head, *(compared(rows, name) for name in METHODS if name in names)]))


if __name__ == "__main__":
    main()
