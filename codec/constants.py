"""Numbers of the format that several modules share or that are compiled into kernels, in the order of docs/FORMAT.md.

Another value makes another format. Limits of the header stand in `codec.format.headers`, limits of weights files in the
modules that read them, and the numbers of the tables in `codec.entropy.tables`.
"""

from __future__ import annotations

# Constants

PRECISION = 24
"""Bits of a frequency. With a head of at least `LOWER` the loss is less than 10**-6 bits a symbol."""
LOWER = 1 << 31
"""Least value of a head. When a pop makes the head smaller, a word is taken from the stack."""
SLOPE = 2
"""Columns by which a wave moves to the left with each row down. With 2, an image of 768x512 has 1,790 waves, and the
pixel above to the right is a context."""
NO_PIXEL = 128
"""Sample that stands for the missing neighbours of the very first pixel. It is mid grey."""
EXACT = 1 << 24
"""Largest sum of a layer whose results are multiplied. Its product with a multiplier of 38 bits fits 64 bits."""
SUM_LIMIT = (1 << 31) - 1
"""Largest sum of other layers, which has 32 bits."""
BIAS_LIMIT = 1 << 30
"""Biases of the likelihood's hidden layers are clipped to this magnitude, so that the bound of these layers is known:
latents and adaptations move them."""
ADAPTATION_STEP = 4
"""A unit of adaptation changes an activation by this much."""
ADAPTATION_LIMIT = 127
"""Largest magnitude of an adaptation, in its units."""
ADAPTATION_SCALE = -96
"""Added to a byte to make the scale of a layer's prior of adaptations. Scales go from 1/8 of a unit to 31 units."""

# Distributions

LARGEST_SAMPLE = 255
"""Samples have 8 bits."""
MEAN_STEPS = 256
"""Means and edges are in 1/256 of a grid unit."""
SUM_BITS = 15
"""The weights of a mixture sum to 2**15."""
COMPONENTS = 4
"""Most components of a mixture. Loops run over all of them, and unused ones have weight 0: since the compiler knows
their number, the search is five times faster."""

# Posterior, Prior

POSTERIOR_SCALES = -32, 128
"""Smallest and largest scale code of q(z|x): from 1/2 to 16 steps of the grid. With scales far below a step, latents
would be certain, and could borrow no bits."""
PRIOR_SCALES = -32, 160
"""Smallest and largest scale code of p(z): from 1/2 to 32 steps of the grid, for a prior that knows nothing."""

# Maps of features, Transforms

RAW_LIMIT = 32767
"""Largest mean or scale that a spatial posterior's network returns, before both are clipped to the grid: 16 bits."""
STEP_BITS = 16
"""Steps of y are in 1/2**16 of a sample, so that the relative error of a step of 1/4 is at most 3e-5."""
VALUE_BITS = 4
"""Dequantised y is in 1/2**4 of a sample, so that it fits 16 bits."""
VALUE_LIMIT = 32767
"""Largest dequantised y."""
OUTPUT_SHIFT = 32
"""Fraction bits of the multipliers of transforms."""
Y_BITS = 8
"""Results of analysis are in 1/2**8 of a sample. The finest useful step, 1/4, has 64 of them."""
Y_LIMIT = 1 << 20
"""Largest magnitude of a result of analysis, which is 4096 samples."""
