"""Which transforms and how large an entropy model: arms trained for the same time, compared.

    python -m benchmarks.experiments.transforms train ARM --data DIR --runs DIR [--steps N]
    python -m benchmarks.experiments.transforms table --runs DIR

An arm is trained from random weights, on the lossy recipe's photographs, for squared error alone and without
latents. Every arm sees the same crops in the same order, and the same qualities. Minutes are those of the process
on one thread, so other work on the machine does not count.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.common import markdown_table
from benchmarks.quality import bd_rate
from models.blocks import DepthwiseAnalysis, DepthwiseSynthesis, Shape, multiply_adds
from models.data import Crops, centre, load_images
from models.lossy import Lossy, LossyConfig, price, rounded, tensor_bits
from models.optimizer import Optimizer
from models.recipe import load_recipe
from models.train import keep_memory

RECIPE = "lossy"
CROP, BATCH, CROPS = 128, 8, 8192
"""Side of the crops, crops of a step, crops in the pool that steps take in turn."""
RATE, WARM, FALL, AVERAGE = 0.001, 0.02, 0.4, 0.995
"""Learning rate; the shares of the steps in which it rises and up to which it stays; of the averaged weights."""
SEED = 1
SIDE, EVERY = 256, 2
"""Side of the validation images' centres, and of which images: each second one."""
QUALITIES = (0.15, 0.3, 0.5, 0.7, 0.85)
FOLDERS = ("photos_valid", "photos_past_valid")
BD_RANGE_BPP = (0.2, 2.0)


@dataclass(frozen=True)
class Arm:
    """A model's shape.

    Attributes
    ----------
    title : str
    analysis, synthesis : Shape or None
        None: today's dense networks, as the recipe has them.
    width : int
        Of the entropy model's hidden layers.
    """

    title: str
    analysis: Shape | None = None
    synthesis: Shape | None = None
    width: int = 256


DEEP = Shape(blocks=6), Shape(blocks=8)
FINE = Shape(blocks=5, fine_width=96, fine_blocks=1), Shape(blocks=6, fine_width=96, fine_blocks=2)
ARMS = {
    "dense": Arm("dense 3×3 (today)"),
    "depthwise": Arm("depthwise", *DEEP),
    "fine": Arm("depthwise, some blocks at 1/4", *FINE),
    "half": Arm("depthwise, half for the entropy model", DEEP[0], Shape(blocks=5), 512),
    "half-60": Arm("the same, 60,000 in all", DEEP[0], Shape(blocks=7), 640),
    "dense-half": Arm("dense 3×3, more for the entropy model", width=640),
}


def new_model(arm: Arm) -> Lossy:
    """Return a freshly initialised model of an arm."""
    config = load_recipe(RECIPE).model
    if not isinstance(config, LossyConfig):
        raise TypeError(f"recipe {RECIPE}: expected a lossy model, got {type(config).__name__}")
    torch.manual_seed(SEED)
    model = Lossy(replace(config, vlae=config.vlae | {"width": arm.width}))
    if arm.analysis is not None:
        model.analysis = DepthwiseAnalysis(config.channels, arm.analysis, config.levels)
    if arm.synthesis is not None:
        model.synthesis = DepthwiseSynthesis(config.channels, arm.synthesis, config.levels)
    return model.to(memory_format=torch.channels_last)


def coded_bits(model: Lossy, y: Tensor, coded: Tensor, level: Tensor) -> Tensor:
    """Return the bits of y (B,) without latents; see `models.lossy.tensor_bits`."""
    return tensor_bits(model, y, coded, model.coder.biases(None, level)[:, None])


def loss(model: Lossy, images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return rate plus priced squared error of samples minus 128, weighted as `models.tasks.Transformed` does."""
    b, _, height, width = images.shape
    quality = torch.from_numpy(rng.random(b)).float()
    level = model.level(quality)
    steps = model.steps(level)
    y = model.analyse(images, level) / steps
    quantised = rounded(y.clamp(-model.config.limit, model.config.limit))
    bits = coded_bits(model, quantised, y + torch.rand_like(y) - 0.5, level)
    lost = (model.synthesise(quantised * steps, level) - images).square().mean((1, 2, 3))
    return ((bits / (height * width) + price(quality) * lost) / (0.3 + 3 * quality)).mean()



def crop_pool(data: Path, runs: Path) -> NDArray[np.uint8]:
    """Return the crops (`CROPS`, S, S, 3), kept in ``runs``: reading and ageing them takes longer than a step."""
    path = runs / "crops.npy"
    if not path.exists():
        source = Crops(data, load_recipe(RECIPE).data, CROP, SEED)
        crops = np.concatenate([source.batch(index, BATCH) for index in range(CROPS // BATCH)])
        np.save(path, crops)
    return np.load(path, mmap_mode="r")


def rate_at(share: float) -> float:
    """Return the learning rate when a share 0..1 of the steps is done."""
    return RATE * min(1.0, share / WARM, (1 - share) / (1 - FALL))


def fit(model: Lossy, crops: NDArray[np.uint8], steps: int) -> tuple[Lossy, float]:
    """Train for so many steps; return the averaged weights, and the minutes of this process."""
    torch.set_flush_denormal(True)
    keep_memory()
    average = copy.deepcopy(model)
    model.bfloat16 = model.coder.likelihood.bfloat16 = True
    optimizer = Optimizer(model, bfloat16=True)
    begin, recent = time.process_time(), 0.0
    for step in range(steps):
        rng = np.random.default_rng((SEED, step))
        torch.default_generator.manual_seed(SEED * 1_000_003 + step)
        at = step * BATCH % len(crops)
        images = torch.tensor(crops[at : at + BATCH]).permute(0, 3, 1, 2).float() - 128
        cost = loss(model, images.contiguous(memory_format=torch.channels_last), rng)
        cost.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(rate_at(step / steps))
        with torch.no_grad():
            for mean, p in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(p, 1 - min(AVERAGE, (1 + step) / (10 + step)))
        recent += 0.02 * (float(cost.detach()) - recent) if step else float(cost.detach())
        if step % 50 == 0:
            click.echo(f"step {step}, loss {recent:.4f}, {(time.process_time() - begin) / 60:.1f} minutes", err=True)
    return average, (time.process_time() - begin) / 60


@torch.no_grad()
def figures(model: Lossy, samples: NDArray[np.uint8], quality: float) -> tuple[float, float, float]:
    """Return bits a pixel, PSNR in dB and the cost in bits a pixel of samples (H, W, 3) at a quality."""
    value = torch.tensor([quality])
    level = model.level(value)
    steps, limit = model.steps(level), model.config.limit
    x = torch.tensor(samples).permute(2, 0, 1)[None].float() - 128
    y = (model.analyse(x, level) / steps).round().clamp(-limit, limit)
    bits = float(coded_bits(model, y, y, level)) / (x.shape[2] * x.shape[3])
    error = float((model.synthesise(y * steps, level).round().clamp(-128, 127) - x).square().mean())
    return bits, 10 * np.log10(255**2 / max(error, 1e-6)), bits + float(price(value)) * error


def judge(model: Lossy, data: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Return for each validation folder the mean figures at each of `QUALITIES`."""
    result = {}
    for folder in FOLDERS:
        crops = [centre(image, SIDE, 8) for image in load_images(data / folder)[::EVERY]]
        result[folder] = [
            tuple(float(mean) for mean in np.mean([figures(model, crop, quality) for crop in crops], axis=0))
            for quality in QUALITIES
        ]
    return result


def parts(model: Lossy) -> tuple[float, float, float]:
    """Return the multiply-adds a pixel of analysis, synthesis and entropy model."""
    side = 64
    image, level = torch.zeros(1, 3, side, side), torch.zeros(1, model.config.levels)
    y = torch.zeros(1, model.config.channels, side // 8, side // 8)
    coder = model.coder
    entropy = coder.config.multiply_adds(coder.likelihood.hidden1.in_features) / 64
    pixels = side * side
    return (
        multiply_adds(model.analysis, image, level, pixels),
        multiply_adds(model.synthesis, y, level, pixels),
        entropy,
    )


@click.group()
def main() -> None:
    """Train arms, and compare them."""
    torch.set_num_threads(1)


folders = [
    click.option("--data", type=click.Path(exists=True, path_type=Path), required=True),
    click.option("--runs", type=click.Path(path_type=Path), required=True),
]


@main.command()
@click.argument("name", type=click.Choice(list(ARMS)))
@folders[0]
@folders[1]
@click.option("--steps", type=int, default=1200, show_default=True)
def train(name: str, data: Path, runs: Path, steps: int) -> None:
    """Train an arm; its weights and figures are kept in the folder of runs."""
    runs.mkdir(parents=True, exist_ok=True)
    crops = crop_pool(data, runs)
    model, minutes = fit(new_model(ARMS[name]), crops, steps)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, runs / f"{name}.safetensors")
    found = {"steps": steps, "minutes": minutes, "parts": parts(model), "figures": judge(model, data)}
    (runs / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@main.command()
@folders[1]
def table(runs: Path) -> None:
    """Print what the arms gave, against the first one."""
    rows = [["arm", "kMAC a pixel: analysis, synthesis, entropy", "steps", "minutes"]]
    for folder in FOLDERS:
        rows[0] += [f"{folder}: cost at quality " + ", ".join(f"{quality:g}" for quality in QUALITIES), "BD-rate"]
    found = {name: json.loads((runs / f"{name}.json").read_text()) for name in ARMS if (runs / f"{name}.json").exists()}
    for name, values in found.items():
        row = [ARMS[name].title, ", ".join(f"{part / 1000:.1f}" for part in values["parts"]), str(values["steps"])]
        row.append(f"{values['minutes']:.1f}")
        for folder in FOLDERS:
            first, own = next(iter(found.values()))["figures"][folder], values["figures"][folder]
            saved = bd_rate([point[:2] for point in first], [point[:2] for point in own], *BD_RANGE_BPP)
            row += [", ".join(f"{point[2]:.3f}" for point in own), f"{saved:+.1f} %"]
        rows.append(row)
    click.echo(markdown_table(rows))


if __name__ == "__main__":
    main()
