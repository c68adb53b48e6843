"""The task "maps": the seed paper's models of small images. The loss is minus the ELBO in bits a sub-pixel."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from codec.frozen.model import Model
from codec.vlae.image import Image
from codec.vlae.latents import mode, prior_intervals
from codec.vlae.pixels import intervals
from models.data.small import SmallImages, load_small
from models.freezing.freeze import weights_file
from models.freezing.freeze_spatial import freeze_spatial, watch_spatial
from models.freezing.peaks import Peaks
from models.freezing.quantise import F64
from models.freezing.thaw_spatial import thaw_spatial
from models.nets.inputs import Inputs, Places, read_at_all
from models.nets.latents import Latent
from models.nets.objective import Batch, pixel_bits
from models.nets.spatial import INPUT_UNIT, MapModel, MapShape, Spatial, SpatialConfig, draw_latents
from models.noise import CPU, Noise
from models.recipes.tables import Recipe

U8 = NDArray[np.uint8]
AT_ONCE = 250
"""Images that are evaluated at once."""
COMPARED = 200
"""Images on which freezing is judged."""
NATS = math.log(2)


class WholeImages:
    """The code length of all pixels of small images, given features of each."""

    def __init__(self, config: MapShape, device: torch.device) -> None:
        self.config = config
        offsets = config.offsets
        y, x = np.mgrid[0 : config.size, 0 : config.size].reshape(2, -1)
        self.gather = Inputs(offsets, grey=config.grey, device=device)
        self.places = Places(*(torch.from_numpy(a.copy())[None, None].to(device) for a in (y, x)))
        self.where = read_at_all(config.size, config.size, offsets, device)

    def bits(self, model: MapModel, images: Tensor, features: Tensor) -> Tensor:
        """Return -log2 p(x|z) of uint8 images (B, S, S, C), given features (B, F, S, S): (B,)."""
        flat = features.flatten(2).transpose(1, 2)
        nothing = features.new_zeros(1, 1, self.config.bias_count, dtype=torch.float32)
        if self.config.kind == "bits":
            return self._of_bits(model, images, flat, nothing)
        lossless = Batch.lossless(images)
        own = pixel_bits(model.likelihood, self.gather, lossless, self.places, nothing, flat[:, None])
        return own.sum((1, 2, 3))

    def _of_bits(self, model: MapModel, images: Tensor, features: Tensor, biases: Tensor) -> Tensor:
        values = images.flatten(1)
        seen = F.pad(values, (0, 1)).to(features.dtype)[:, self.where]  # (B, S S, P)
        (raw,) = model.likelihood(torch.cat([seen, features], -1), (), biases)
        logit = 8 * raw[..., 1] - 0.5
        return F.binary_cross_entropy_with_logits(logit, values.float(), reduction="none").sum(1) / NATS


def posterior_inputs(images: Tensor, kind: str) -> Tensor:
    """Return the posterior's inputs (B, C, S, S) of uint8 images (B, S, S, C), in network units."""
    x = images.permute(0, 3, 1, 2).float()
    centred = 128 * x - 64 if kind == "bits" else x - 128
    return (centred / INPUT_UNIT).contiguous(memory_format=torch.channels_last)


class SmallImagesTask:
    """What is the same for all models of small images whose latents become a map.

    A task adds how its models are made, watched, frozen and thawed; see `models.tasks.interface.Task`.
    """

    condition = "d"

    def __init__(self, recipe: Recipe, config: MapShape, device: torch.device = CPU) -> None:
        self.recipe = recipe
        self.config = config
        self.device = device
        self.crop = config.size
        self.whole = WholeImages(config, device)

    def material(self, data: Path, seed: int) -> SmallImages:
        """Return the small images from which batches are drawn."""
        return SmallImages(data, self.recipe.data, self.crop, seed)

    def set_bfloat16(self, model: MapModel, on: bool) -> None:
        """Let all networks multiply in bfloat16, or not."""
        model.in_bfloat16 = model.likelihood.in_bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Tensor:
        """Return what is coded: of grey digits bits drawn with their brightness; colour images, some mirrored."""
        if self.config.kind == "bits":
            if crops.max() > 1:
                crops = (rng.integers(0, 255, crops.shape) < crops).astype(np.uint8)
        else:
            mirror = rng.random(len(crops)) < 0.5
            crops = np.where(mirror[:, None, None, None], crops[:, :, ::-1], crops)
        return torch.from_numpy(crops)

    def terms(
        self, model: MapModel, images: Tensor, noise: Noise | None, on: Tensor | None = None
    ) -> tuple[Tensor, Latent]:
        """Return the bits of pixels (B,), and the latents; those of images that are not ``on`` (B,) are not seen.

        Without noise latents are the posterior's mode.
        """
        latent = draw_latents(model, posterior_inputs(images, self.config.kind), noise)
        features = model.features(latent.z)
        if on is not None:
            features = features * on[:, None, None, None]
        return self.whole.bits(model, images, features), latent

    def loss(self, model: MapModel, batch: Tensor, noise: Noise, step: int) -> Tensor:
        """Return minus the ELBO, but for each latent at least the free bits of its KL divergence."""
        train = self.recipe.train
        on = noise.uniform(len(batch)) >= train.drop_latents
        bits, latent = self.terms(model, batch, noise, on if train.drop_latents else None)
        kl = ((latent.prior_bits - latent.posterior_bits) * on[:, None, None]).mean(0)
        # What is free is decided by the whole batch, of which this process has a share.
        free = train.free_bits * train.fall(step)
        counted = torch.where(noise.ranks.mean(kl) > free, kl, free).sum()
        return (bits.mean() + train.latent_price(step) * counted) / batch[0].numel()

    @torch.no_grad()
    def evaluate(self, model: MapModel, folder: Path) -> dict[str, float]:
        """Return minus the ELBO and the KL divergence, in nats an image and bits a sub-pixel."""
        noise, device = Noise(device=self.device), self.device
        images = self.batch(load_small(folder, self.crop)[: self.recipe.validation_pixels], np.random.default_rng(0))
        parts = [self.terms(model, some.to(device), noise) for some in images.split(AT_ONCE)]
        bits = torch.cat([pixels for pixels, _ in parts])
        kl = torch.cat([(latent.prior_bits - latent.posterior_bits).sum((1, 2)) for _, latent in parts])
        if self.recipe.train.drop_latents == 1:
            kl = torch.zeros_like(kl)
        total = float((bits + kl).mean())
        return {"nats": total * NATS, "KL": float(kl.mean()) * NATS, "bpsp": total / images[0].numel()}

    def compare(self, model: MapModel, frozen: Model, folder: Path, condition: float) -> dict[str, float]:
        """Return minus the ELBO and the KL divergence, and what freezing costs: both with z at the posterior's mode."""
        figures = self.evaluate(model, folder)
        images = self.batch(load_small(folder, self.crop)[:COMPARED], np.random.default_rng(0))
        with torch.no_grad():
            pixels, latent = self.terms(model, images.to(self.device), None)
        own = float((pixels.sum() + latent.prior_bits.sum()) / len(images))
        coded = 0.0
        for values in images.numpy():
            image = Image.of(frozen, values, 0)
            for band in range(image.bands):
                z = mode(image, band)
                coded += intervals(image, band, z, ideal=True).ideal_bits + prior_intervals(image, z).ideal_bits
        return figures | {"freezing_percent": 100 * (coded / len(images) / own - 1)}


class MapsTask(SmallImagesTask):
    """The seed paper's models; see `models.tasks.interface.Task`."""

    config: SpatialConfig

    def __init__(self, recipe: Recipe, config: SpatialConfig, device: torch.device = CPU) -> None:
        super().__init__(recipe, config, device)

    def new_model(self) -> Spatial:
        """Return a freshly initialised model."""
        torch.manual_seed(self.recipe.train.seed)
        model = Spatial(self.config).to(self.device)
        converted: Spatial = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it
        return converted

    def thaw(self, data: bytes, model: Spatial) -> None:
        """Fill a fresh model with frozen weights."""
        thaw_spatial(data, model)

    def watch(self, model: Spatial, peaks: Peaks) -> None:
        """Record the largest activations of all networks."""
        watch_spatial(model, peaks)

    def freeze(self, model: Spatial, peaks: dict[str, F64], crops: U8) -> bytes:
        """Return the weights file; it needs no more images."""
        return weights_file(self.recipe, *freeze_spatial(model, peaks))

    def multiply_adds(self, model: Spatial) -> dict[str, int]:
        """Return the multiply-adds of each network for each pixel."""
        area = self.config.size**2
        positions = (self.config.size // self.config.patch) ** 2

        def per_pixel(network: torch.nn.Module) -> int:
            convolved = sum(p.numel() for p in network.parameters() if p.dim() == 4) * positions
            dense = sum(p.numel() for p in network.parameters() if p.dim() == 2) * self.config.cells**2
            return round((convolved + dense) / area)

        return {
            "posterior": per_pixel(model.posterior),
            "features": per_pixel(model.decoder),
            "likelihood": self.config.multiply_adds(self.config.inputs),
        }
