"""The value of multiply-adds in the lossy decoder: in the synthesis, by its kind of layers, and in the entropy model.

    python -m benchmarks.experiments.decoder train ARM --data DIR --runs DIR [--steps N]
    python -m benchmarks.experiments.decoder table --runs DIR

The shipped analysis, thawed, makes y of the lossy recipe's photographs, and stays as it is. Each arm is either a
synthesis, trained from random weights for squared error, or an entropy model, trained for the bits of y. So
syntheses differ in quality at exactly the same bits, and entropy models in bits at exactly the same quality. Far less
training tells them apart than whole models need. All arms see the same crops and qualities in the same order. The gain
of an analysis that is trained together with them is not measured.

Minutes are processor time on one thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common import markdown_table
from benchmarks.experiments.training import orthogonal_bfloat16
from benchmarks.quality import bd_rate
from codec.frozen.shipped import weights_path
from codec.networks.transform import PATCH, SAMPLES
from models.data.crops import Crops, centre, load_images
from models.freezing.thaw_lossy import thaw_lossy
from models.nets.depthwise import DepthwiseSynthesis, Shape
from models.nets.layers import Condition, Residual
from models.nets.lossy import Lossy, LossyConfig, price, tensor_bits
from models.nets.transforms import Y_UNIT, Transform, linear_rows, multiply_adds
from models.recipes.reading import load_recipe
from models.training.device import fast_memory
from models.training.optimizer import Optimizer

RECIPE = "lossy"
CROP, BATCH, CROPS = 128, 8, 5600
"""Side of the crops in pixels, crops of a step, and crops in the pool, which steps take in turn."""
RATE, WARM, FALL, AVERAGE = 0.001, 0.02, 0.4, 0.99
"""Learning rate; share of the steps in which it rises; share of the steps after which it falls; and decay of the
weights' running mean."""
SEED = 1
SIDE, EVERY = 256, 2
"""Side of the validation images' centres in pixels; each second image is used."""
QUALITIES = (0.15, 0.3, 0.5, 0.7, 0.85)
FOLDERS = ("photos_valid", "photos_past_valid")
BD_RANGE_BPP = (0.1, 2.5)
DENSE = 192, 3
"""Width and blocks of the dense synthesis."""


@dataclass(frozen=True)
class Arm:
    """An arm of the experiment: a synthesis or an entropy model to train.

    Attributes
    ----------
    title : str
    synthesis : Shape, "dense" or None
    edges : bool
        Whether a dense synthesis repeats the edges of the image. Others see zeros outside of it.
    width : int or None
        Width of an entropy model's hidden layers.
    """

    title: str
    synthesis: Shape | str | None = None
    edges: bool = False
    width: int | None = None


ARMS = {
    "dense": Arm("dense 3 x 3, 3 blocks of 192", "dense"),
    "dense-edges": Arm("the same, edges repeated", "dense", edges=True),
    "depthwise": Arm("depthwise, 8 blocks of 256, hidden 512", Shape()),
    "fine": Arm("depthwise, 6 blocks of 256, then 2 of 96 at 1/4", Shape(blocks=6, fine_width=96, fine_blocks=2)),
    "depthwise-5": Arm("depthwise, 5 blocks of 256", Shape(blocks=5)),
    "entropy-256": Arm("width 256", width=256),
    "entropy-512": Arm("width 512", width=512),
    "entropy-640": Arm("width 640", width=640),
}


class DenseBlock(Residual):
    """A residual block of dense convolutions, whose hidden units have biases of the level."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__(width)
        self.levels = Condition(levels, width)

    def forward(self, s: Tensor, level: Tensor) -> Tensor:
        """Return the stream (B, width, H, W) after the block; ``level`` is the input of a `Condition`."""
        moved = self.levels(level)[:, :, None, None]
        after: Tensor = s + self.conv2(F.relu(self.conv1(s) + moved))
        return after


class DenseSynthesis(Transform[DenseBlock]):
    """Synthesis by dense convolutions of 3 x 3, as the first lossy model had it."""

    def __init__(self, channels: int, levels: int) -> None:
        width, blocks = DENSE
        first = nn.Conv2d(channels, width, 3, padding=1)
        last = nn.Conv2d(width, SAMPLES, 1)
        stack = [DenseBlock(width, levels) for _ in range(blocks)]
        super().__init__(linear_rows(channels).T.copy(), first, last, stack, (Y_UNIT, PATCH))

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Return samples minus 128 (B, 3, H, W) of y (B, C, H/8, W/8)."""
        return F.pixel_shuffle(super().forward(y, level), PATCH)


def shipped() -> Lossy:
    """Return the shipped model, thawed."""
    config = load_recipe(RECIPE).model
    if not isinstance(config, LossyConfig):
        raise TypeError(f"recipe {RECIPE}: expected a lossy model, got {type(config).__name__}")
    model = Lossy(config)
    thaw_lossy(weights_path(RECIPE).read_bytes(), model)
    return model.requires_grad_(False)


def new_model(arm: Arm, base: Lossy) -> Lossy:
    """Return a model with the shipped analysis. The part that the arm trains is freshly initialised."""
    torch.manual_seed(SEED)
    config, model = base.config, copy.deepcopy(base)
    if arm.width is not None:
        fresh = Lossy(replace(config, vlae=config.vlae | {"width": arm.width}))
        model.config, model.coder = fresh.config, fresh.coder
    elif isinstance(arm.synthesis, Shape):
        model.synthesis = DepthwiseSynthesis(config.channels, arm.synthesis, config.levels)
    else:
        model.synthesis = DenseSynthesis(config.channels, config.levels)
        for layer in model.synthesis.modules():
            if isinstance(layer, nn.Conv2d) and arm.edges:
                layer.padding_mode = "replicate"
    if arm.width is None:
        model.synthesis.linear.load_state_dict(base.synthesis.linear.state_dict())
        model.synthesis.requires_grad_(True)
    return model.to(memory_format=torch.channels_last)


def trained(model: Lossy, arm: Arm) -> nn.Module:
    """Return the part of a model that an arm trains."""
    return model.synthesis if arm.width is None else model.coder


@dataclass
class Pool:
    """Crops, and their quantised y from the shipped analysis at random qualities.

    Attributes
    ----------
    crops : uint8 array (N, S, S, 3)
    numbers : int16 array (N, C, S/8, S/8)
        Quantised y.
    qualities : float32 array (N,)
    """

    crops: NDArray[np.uint8]
    numbers: NDArray[np.int16]
    qualities: NDArray[np.float32]


@torch.no_grad()
def quantised(base: Lossy, images: Tensor, quality: Tensor) -> Tensor:
    """Return quantised y (B, C, H/8, W/8) of samples minus 128 (B, 3, H, W)."""
    level, limit = base.level(quality), base.config.limit
    return (base.analyse(images, level) / base.steps(level)).round().clamp(-limit, limit)


def to_images(crops: NDArray[np.uint8]) -> Tensor:
    """Return samples minus 128 (B, 3, H, W) of crops (B, H, W, 3)."""
    images = torch.tensor(crops).permute(0, 3, 1, 2).float() - 128
    return images.contiguous(memory_format=torch.channels_last)


def load_pool(base: Lossy, data: Path, runs: Path) -> Pool:
    """Return the pool. It is kept in ``runs``, because to read and age photographs takes longer than a step."""
    path = runs / "pool.npz"
    if not path.exists():
        source = Crops(data, load_recipe(RECIPE).data, CROP, SEED)
        qualities = np.random.default_rng(SEED).random(CROPS, dtype=np.float32)
        crops, numbers = [], []
        for index in range(CROPS // BATCH):
            crops.append(source.batch(index, BATCH))
            part = torch.from_numpy(qualities[index * BATCH : (index + 1) * BATCH])
            numbers.append(quantised(base, to_images(crops[-1]), part).numpy().astype(np.int16))
        np.savez(path, crops=np.concatenate(crops), numbers=np.concatenate(numbers), qualities=qualities)
    with np.load(path) as file:
        return Pool(file["crops"], file["numbers"], file["qualities"])


def coded_bits(model: Lossy, q: Tensor, level: Tensor) -> Tensor:
    """Return the bits (B,) of quantised y, without latents."""
    return tensor_bits(model, q, None, model.coder.biases_off(level)[:, None])


def restored(model: Lossy, q: Tensor, level: Tensor) -> Tensor:
    """Return samples minus 128 of quantised y."""
    return model.synthesise(q * model.steps(level), level)


def costs(model: Lossy, arm: Arm, images: Tensor, q: Tensor, quality: Tensor) -> Tensor:
    """Return the loss of an arm for each image (B,): bits a pixel, or priced squared error."""
    level = model.level(quality)
    if arm.width is not None:
        return coded_bits(model, q, level) / (images.shape[2] * images.shape[3])
    return price(quality) * (restored(model, q, level) - images).square().mean((1, 2, 3))


def rate_at(share: float) -> float:
    """Return the learning rate after a share 0..1 of the steps."""
    return RATE * min(1.0, share / WARM, (1 - share) / (1 - FALL))


def fit(model: Lossy, arm: Arm, pool: Pool, steps: int) -> tuple[Lossy, float]:
    """Train for a number of steps. Return the model with averaged weights, and the minutes of processor time."""
    fast_memory()
    average = copy.deepcopy(model)
    for network in (model.synthesis, model.coder.likelihood):
        network.in_bfloat16 = True
    optimizer = Optimizer(model, nearest=orthogonal_bfloat16)
    begin, recent = time.process_time(), 0.0
    for step in range(steps):
        at = step * BATCH % len(pool.crops)
        part = slice(at, at + BATCH)
        quality = torch.from_numpy(pool.qualities[part])
        q = torch.from_numpy(pool.numbers[part]).float().contiguous(memory_format=torch.channels_last)
        cost = (costs(model, arm, to_images(pool.crops[part]), q, quality) / (0.3 + 3 * quality)).mean()
        cost.backward()
        torch.nn.utils.clip_grad_norm_(trained(model, arm).parameters(), 1.0)
        optimizer.step(rate_at(step / steps))
        with torch.no_grad():
            for mean, p in zip(trained(average, arm).parameters(), trained(model, arm).parameters(), strict=True):
                mean.lerp_(p, 1 - min(AVERAGE, (1 + step) / (10 + step)))
        recent += 0.02 * (float(cost.detach()) - recent) if step else float(cost.detach())
        if step % 50 == 0:
            click.echo(f"step {step}, loss {recent:.4f}, {(time.process_time() - begin) / 60:.1f} minutes", err=True)
    return average, (time.process_time() - begin) / 60


@torch.no_grad()
def judge(model: Lossy, data: Path) -> dict[str, list[tuple[float, float]]]:
    """Return for each validation folder mean bits a pixel and mean PSNR in dB at each of `QUALITIES`."""
    result = {}
    for folder in FOLDERS:
        crops = [centre(image, SIDE, 8) for image in load_images(data / folder)[::EVERY]]
        points = []
        for value in QUALITIES:
            quality, rows = torch.tensor([value]), []
            for crop in crops:
                images, level = to_images(crop[None]), model.level(quality)
                q = quantised(model, images, quality)
                error = float((restored(model, q, level).round().clamp(-128, 127) - images).square().mean())
                bits = float(coded_bits(model, q, level)) / (images.shape[2] * images.shape[3])
                rows.append((bits, 10 * np.log10(255**2 / error)))
            points.append(tuple(float(mean) for mean in np.mean(rows, axis=0)))
        result[folder] = points
    return result


def multiply_adds_of(model: Lossy, arm: Arm) -> float:
    """Return the multiply-adds for a pixel of the part that an arm trains."""
    coder, side = model.coder, 8
    if arm.width is not None:
        return coder.config.multiply_adds(coder.likelihood.hidden1.in_features) / 64
    y = torch.zeros(1, model.config.channels, side, side)
    return multiply_adds(model.synthesis, y, torch.zeros(1, model.config.levels), 64 * side**2)


def options(*names: str) -> Callable[[Any], Any]:
    """Return a decorator with the options of folders."""

    def add(command: Any) -> Any:
        for name in names:
            command = click.option(f"--{name}", type=click.Path(path_type=Path), required=True)(command)
        return command

    return add


@click.group()
def main() -> None:
    """Train arms, and compare them."""
    torch.set_num_threads(1)


@main.command()
@click.argument("name", type=click.Choice(list(ARMS)))
@options("data", "runs")
@click.option("--steps", type=click.IntRange(min=1), default=700, show_default=True)
def train(name: str, data: Path, runs: Path, steps: int) -> None:
    """Train an arm, and keep its weights and figures in the folder of runs."""
    runs.mkdir(parents=True, exist_ok=True)
    base, arm = shipped(), ARMS[name]
    pool = load_pool(base, data, runs)
    model, minutes = fit(new_model(arm, base), arm, pool, steps)
    tensors = {key: value.contiguous() for key, value in trained(model, arm).state_dict().items()}
    save_file(tensors, runs / f"{name}.safetensors")
    found = {"steps": steps, "minutes": minutes, "macs": multiply_adds_of(model, arm), "figures": judge(model, data)}
    (runs / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _rows(found: dict[str, dict[str, Any]], value: int) -> list[list[str]]:
    """Return a row for each arm, with values (0: bits, 1: PSNR), and BD-rates against the first."""
    rows = []
    for name, values in found.items():
        row = [ARMS[name].title, f"{values['macs'] / 1000:.1f}", str(values["steps"]), f"{values['minutes']:.1f}"]
        for folder in FOLDERS:
            first, own = next(iter(found.values()))["figures"][folder], values["figures"][folder]
            saved = bd_rate([tuple(point) for point in first], [tuple(point) for point in own], *BD_RANGE_BPP)
            row += [", ".join(f"{point[value]:.{3 - value}f}" for point in own), f"{saved:+.1f} %"]
        rows.append(row)
    return rows


@main.command()
@options("runs")
def table(runs: Path) -> None:
    """Print the results of the arms. Each kind is compared with its first arm."""
    found = {name: json.loads((runs / f"{name}.json").read_text()) for name in ARMS if (runs / f"{name}.json").exists()}
    kinds: Sequence[tuple[str, bool, int, str]] = (
        ("synthesis", True, 1, "PSNR"),
        ("entropy model", False, 0, "bits a pixel"),
    )
    for title, synthesis, value, unit in kinds:
        chosen = {name: values for name, values in found.items() if (ARMS[name].width is None) == synthesis}
        head = [title, "kMAC a pixel", "steps", "minutes"]
        for folder in FOLDERS:
            head += [f"{folder}: {unit} at quality " + ", ".join(f"{quality:g}" for quality in QUALITIES), "BD-rate"]
        if chosen:
            click.echo(markdown_table([head, *_rows(chosen, value)]) + "\n")


if __name__ == "__main__":
    main()
