"""What a lossy model makes small beside bits: squared error, and what people see of structure."""

from __future__ import annotations

from pytorch_msssim import ms_ssim
from torch import Tensor

from models.recipe import Training


def distortion(restored: Tensor, samples: Tensor, train: Training) -> Tensor:
    """Return the distortion of each image (B,), of the kind that a recipe asks for.

    Parameters
    ----------
    restored, samples : float tensors (B, 3, S, S)
        Samples minus 128. For MS-SSIM, S is above `codec.metrics.MS_SSIM_SIDE_PX`.
    """
    lost = train.squared_error * (restored - samples).square().mean((1, 2, 3))
    if train.structure:
        alike = ms_ssim(restored + 128, samples + 128, data_range=255, size_average=False)
        lost = lost + train.structure * (1 - alike)
    return lost
