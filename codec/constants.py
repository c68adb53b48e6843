"""Numbers of the format that several modules share or that are compiled into kernels, in the order of docs/FORMAT.md.

Another value makes another format. Limits of the header stand in `codec.format.headers`, those of weights files in the
modules that read them, what tables are made of in `codec.entropy.tables`.
"""

from __future__ import annotations

# Constants

PRECISION = 24
"""Bits of a frequency. With a head of at least `LOWER` the loss is under 10**-6 bits a symbol."""
LOWER = 1 << 31
"""A head is at least this; below, a word is taken from the stack."""
SLOPE = 2
"""Columns a wave advances per row; 2 makes 1,790 waves of 768x512 and allows north-east contexts."""
NO_PIXEL = 128
"""Sample that stands for the missing neighbours of the very first pixel: mid grey."""
EXACT = 1 << 24
"""Largest sum of a network, so that a product with a multiplier of 38 bits fits, and decoders may sum in float32."""
BIAS_LIMIT = 1 << 22
"""Biases that depend on latents are clipped to this, so that a layer's bound is known."""
ADAPTATION_STEP = 4
"""A unit of adaptation changes an activation by this much."""
ADAPTATION_LIMIT = 127
"""Largest unit of an adaptation."""
ADAPTATION_SCALE = -96
"""What is added to a byte to make the scale of a layer's prior of units: from 1/8 of a unit to 31 units."""

# Distributions

LARGEST_SAMPLE = 255
"""Samples have 8 bits."""
MEAN_STEPS = 256
"""Means and edges are in 1/256 of a grid unit."""
SUM_BITS = 15
"""The weights of a mixture sum to 2**15."""
COMPONENTS = 4
"""Most components of a mixture. Loops run over all of them, unused ones have weight 0: a compiler
that knows the count makes the search five times faster."""

# Posterior, Prior

POSTERIOR_SCALES = -32, 128
"""Scales of latents given the pixels: from 1/2 to 16 steps of their grid. Far below a step, none would be uncertain."""
PRIOR_SCALES = -32, 160
"""Scales of latents before: up to 32 steps, for a prior that knows nothing."""

# Maps of features, Transforms

RAW_LIMIT = 32767
"""Largest mean or scale that a spatial posterior's network returns, before both are clipped to the grid: 16 bits."""
SUM_LIMIT = (1 << 31) - 1
"""Largest sum of a convolution of maps of features or of transforms: 32 bits."""
STEP_BITS = 16
"""Steps of y are in 1/65536 of a sample, so that 1/4 is known within 3e-5 of itself."""
VALUE_BITS = 4
"""Dequantised y is in 1/16 of a sample, so that it fits 16 bits."""
VALUE_LIMIT = 32767
"""Largest dequantised y."""
OUTPUT_SHIFT = 32
"""Fraction bits of the multipliers of transforms."""
Y_BITS = 8
"""Results of analysis are in 1/256 of a sample, of which the finest step of use, 1/4, has 64."""
Y_LIMIT = 1 << 20
"""Largest result of analysis: 4096 samples."""
