"""The words of a report: each term in one line, for readers who have not read the paper."""

from __future__ import annotations

ROW_TERMS = {
    "prior": ("latents", "The numbers that say what kind of picture each tile is, as the model codes them."),
    "pixel": ("samples", "The samples themselves, predicted from the latents and the samples before them."),
    "posterior": (
        "returned latents",
        "The bits that chose the latents: decoding gives them back, so they count off.",
    ),
    "initial": (
        "first latents",
        "The bits of latents that decoding cannot give back: nothing was coded yet that could lend them.",
    ),
    "rounding": ("rounding", "The cost of probabilities that are whole numbers of 1/16,777,216."),
    "rans": ("entropy coder", "Bits of the coder's messages over those that probabilities ask for."),
    "header": ("header", "Size, mode, and how the file was coded."),
    "lane_table": ("lane table", "Where the parts begin that can be decoded at the same time."),
    "metadata": ("metadata", "ICC profile, EXIF and XMP, kept as they were."),
    "adaptation": ("adaptation", "Changes of the model for this image."),
    "alpha": ("alpha", "The channel of transparency, exact."),
    "checksum": ("checksums", "They tell a damaged file from a sound one."),
    "stored": ("stored PNG", "The whole image as PNG: no model was at work."),
}
"""What a row of the ledger is called, and what it is."""
TENSOR_TERM = (
    "transformed samples",
    "The rounded numbers that the learned transform makes of samples, predicted from those before them.",
)
"""Stands for the samples in a lossy file."""

TERMS = {
    "sub-pixel": "One number of a pixel: its red, green or blue, its gray, or its alpha. Uncoded it has 8 bits.",
    "latents": "A few numbers that sum up a part of the picture; all else is predicted with their help.",
    "bits-back": "The latents are chosen by bits of the rest of the file, which the decoder gets back from them.",
    "predicted bits": "Minus the evidence lower bound (ELBO): how long the model says that the file is, on average.",
    "difference": "How much longer the file is than predicted, but for metadata and alpha, which no model predicts.",
    "quality": "1 to 100: how finely a lossy file is rounded.",
    "largest error": "The largest difference of a sub-pixel between original and decoded, of 255.",
    "PSNR": "Peak signal-to-noise ratio of the colours, in decibels: higher is closer to the original.",
    "MS-SSIM": "Multi-scale structural similarity of the colours: 1 is equal.",
    "stored": "The image is in the file as PNG, as that was shorter, or as there are no colours to predict.",
}

MODES = {
    "L": "gray",
    "LA": "gray with alpha",
    "RGB": "RGB",
    "RGBA": "RGB with alpha",
    "P": "palette",
    "1": "black and white",
    "I;16": "gray of 16 bits",
    "LA;16": "gray of 16 bits with alpha",
    "RGB;16": "RGB of 16 bits",
    "RGBA;16": "RGB of 16 bits with alpha",
    "CMYK": "CMYK",
}
"""Words for the modes of images."""
