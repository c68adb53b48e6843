"""Structural similarity at several scales, on the device and with a gradient."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.images.metrics import DEVIATION_TERM, MEAN_TERM, SIGMA, WEIGHTS, WINDOW


@lru_cache(maxsize=4)
def _window(channels: int, device: torch.device) -> Tensor:
    """Return a row of the window for each channel. It is cached on the device, because copies to it would wait."""
    place = torch.arange(WINDOW) - WINDOW // 2
    row = torch.exp(-(place**2) / (2 * SIGMA**2))
    return (row / row.sum()).repeat(channels, 1)[:, None, None].to(device)


def _blurred(x: Tensor) -> Tensor:
    window = _window(x.shape[1], x.device)
    return F.conv2d(F.conv2d(x, window.transpose(2, 3), groups=x.shape[1]), window, groups=x.shape[1])


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the MS-SSIM (B,) of images (B, C, H, W) of samples 0..255, whose sides are above 160.

    Notes
    -----
    Wang et al. (2003), averaged over channels. It computes the same as `codec.images.metrics.ms_ssim`, but on the
    device and with a gradient.
    """
    alike = x.new_ones(x.shape[:2])
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            odd = [side % 2 for side in x.shape[2:]]
            x, y = F.avg_pool2d(x, 2, padding=odd), F.avg_pool2d(y, 2, padding=odd)
        mean_x, mean_y = _blurred(x), _blurred(y)
        spread = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
        value = (2 * (_blurred(x * y) - mean_x * mean_y) + DEVIATION_TERM) / (spread + DEVIATION_TERM)
        if scale == len(WEIGHTS) - 1:
            value = value * (2 * mean_x * mean_y + MEAN_TERM) / (mean_x**2 + mean_y**2 + MEAN_TERM)
        alike = alike * F.relu(value.mean((2, 3))) ** weight
    return alike.mean(1)
