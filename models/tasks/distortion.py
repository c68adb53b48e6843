"""The distortion of a lossy model: squared error, and loss of structural similarity."""

from __future__ import annotations

from torch import Tensor

from models.nets.structure import ms_ssim
from models.recipes.tables import Training


def distortion(restored: Tensor, samples: Tensor, train: Training) -> Tensor:
    """Return the distortion of each image (B,), weighted as the recipe says.

    Parameters
    ----------
    restored, samples : float tensors (B, 3, S, S)
        Samples minus 128. For MS-SSIM, S is above `codec.images.metrics.MS_SSIM_SIDE_PX`.
    """
    lost = train.squared_error * (restored - samples).square().mean((1, 2, 3))
    if train.structure:
        lost = lost + train.structure * (1 - ms_ssim(restored + 128, samples + 128))
    return lost
