"""An image, or a tensor, as the VLAE coder sees it: a raster of integers, cut into bands of rows.

See FORMAT.md, "Bands".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codec.errors import ModelError
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.vlae.wavefront import wave_count

LANES = 2
"""Lanes of a file with more than one band. Each lane can be decoded by a thread of its own."""
LANE_BYTES = 1536
"""Bytes that each lane of a file has on average, or the file has one lane. A lane more costs some 6 bytes, 0.2 % of two
such lanes, and files that short are decoded soon."""

I64 = NDArray[np.int64]
_NO_NUMBERS: I64 = np.zeros(0, dtype=np.int64)
_NO_PRICES: I64 = np.zeros((2, 0), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Image:
    """An image or a tensor while it is coded.

    Attributes are never assigned anew; `dataclasses.replace` makes another image. Coding fills the array ``raster``,
    the list ``z`` and the dictionary ``posteriors``.

    Attributes
    ----------
    model : Model
    raster : uint8 or int16 array (H, W, channels of the model's layout), contiguous
        The decoded values. A grey image has its channel three times.
    source : array like ``raster``, contiguous
        The values to be encoded. It is ``raster`` itself if they are coded exactly, or if the image is being decoded.
    channels : int
        Number of coded channels: all of the layout, or 1 if the image is grey.
    condition : int
        Row of the model's biases: the largest error d of an image, or quality - 1 of a tensor.
    lanes : int
        Number of messages to which bands go in turn, at most one a band.
    max_error : int
        Largest error of an image's samples; 0 for a tensor.
    moved : int64 array (bias count,) or None
        Adaptation of the biases: u of `codec.vlae.adaptation`.
    dry : bool
        Whether the messages are empty before this image is encoded. Then the last band of each lane has nothing to
        borrow. An image of an archive that is encoded onto others is not dry.
    known : int, prices : int64 array (2, channels), or empty, structure : int64 array (H * W,), or empty
        See `codec.frozen.likelihood.Band`.
    z : list of int64 arrays (tiles, latents) or None
        Latents of each band; None before the band is coded.
    posteriors : dict
        Raw parameters of q(z|x), by the index of the band, so that none is computed twice. See
        `codec.vlae.latents.posterior_raw`.

    Raises
    ------
    ModelError
        The model has no such condition.
    """

    model: Model
    raster: Raster
    source: Raster
    channels: int
    condition: int
    lanes: int
    max_error: int
    moved: I64 | None = None
    dry: bool = True
    known: int = 0
    prices: I64 = field(default_factory=_NO_PRICES.copy)
    structure: I64 = field(default_factory=_NO_NUMBERS.copy)
    z: list[I64 | None] = field(default_factory=list)
    posteriors: dict[int, I64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the condition, and make room for the latents of each band."""
        if not 0 <= self.condition < self.model.conditions:
            raise ModelError(
                f"model {self.model.number}: serves conditions up to {self.model.conditions - 1}, got {self.condition}"
            )
        self.z.extend([None] * (self.bands - len(self.z)))

    @classmethod
    def of(cls, model: Model, values: Raster, condition: int) -> Image:
        """Return the image or the tensor that is to be encoded.

        Parameters
        ----------
        model : Model
        values : uint8 array (H, W, 3 or 1) of samples, or int16 array (H, W, C) of a tensor
        condition : int
            Row of the model's biases: the largest error d of an image, or quality - 1 of a tensor.

        Raises
        ------
        TypeError
            The values have another dtype than the model codes.
        ValueError
            The values have another number of channels than the model codes, or are out of its range.
        ModelError
            The model has no such condition.
        """
        layout = model.layout
        channels = len(layout.order)
        if values.dtype != model.kind.dtype:
            raise TypeError(f"values: expected {model.kind.dtype} of model {model.number}, got {values.dtype}")
        if values.shape[2] not in ({1, channels} if model.kind.may_be_grey else {channels}):
            raise ValueError(f"values: expected {channels} channels, got {values.shape[2]}")
        if values.min() < layout.low or values.max() > layout.high:
            raise ValueError(f"values: expected {layout.low} to {layout.high}, got {values.min()} to {values.max()}")
        source = np.array(np.broadcast_to(values, (*values.shape[:2], channels)))
        rounded = source.copy() if _max_error(model, condition) else source
        return cls._cut(model, rounded, source, values.shape[2], condition, LANES)

    @classmethod
    def blank(cls, model: Model, shape: tuple[int, int, int], condition: int, lanes: int) -> Image:
        """Return an image or a tensor that is to be decoded; its raster is filled with zeros.

        Parameters
        ----------
        model : Model
        shape : tuple of int
            Rows, columns and coded channels.
        condition : int
            Row of the model's biases: the largest error d of an image, or quality - 1 of a tensor.
        lanes : int
            Number of messages, at least 1.

        Raises
        ------
        ModelError
            The model has no such condition.
        """
        raster = np.zeros((*shape[:2], len(model.layout.order)), dtype=model.kind.dtype)
        return cls._cut(model, raster, raster, shape[2], condition, lanes)

    @classmethod
    def _cut(cls, model: Model, raster: Raster, source: Raster, channels: int, condition: int, lanes: int) -> Image:
        lanes = min(lanes, -(-raster.shape[0] // (model.band * model.tile)))
        return cls(model, raster, source, channels, condition, lanes, _max_error(model, condition))

    @property
    def height(self) -> int:
        """Rows of the raster."""
        return int(self.raster.shape[0])

    @property
    def width(self) -> int:
        """Columns of the raster."""
        return int(self.raster.shape[1])

    @property
    def rows(self) -> int:
        """Rows of a band; the last one may have fewer."""
        return self.model.band * self.model.tile

    @property
    def bands(self) -> int:
        """Number of bands of the image."""
        return -(-self.height // self.rows)

    @property
    def across(self) -> int:
        """Number of tiles from the left to the right."""
        return -(-self.width // self.model.tile)

    @property
    def tiles(self) -> int:
        """Number of tiles of a band."""
        return self.model.band * self.across

    @cached_property
    def wave_counts(self) -> list[int]:
        """Number of waves of each band."""
        heights = (min(self.rows, self.height - top) for top in range(0, self.height, self.rows))
        return [wave_count(self.width, rows) for rows in heights]

    @property
    def samples(self) -> Raster:
        """The decoded samples (H, W, channels), or the decoded values of a tensor, contiguous."""
        return np.ascontiguousarray(self.raster[..., : self.channels])

    def area(self, index: int) -> Raster:
        """Return a band's source (rows, columns, channels), its last row and column repeated to fill whole tiles."""
        area = self.source[index * self.rows : (index + 1) * self.rows]
        more = self.rows - len(area), -self.width % self.model.tile
        return np.pad(area, ((0, more[0]), (0, more[1]), (0, 0)), "edge") if any(more) else area

    def is_dry(self, index: int) -> bool:
        """Return whether a band finds no bits to borrow: it is the first that is encoded in its lane."""
        return self.dry and index >= self.bands - self.lanes


def _max_error(model: Model, condition: int) -> int:
    return condition if model.kind.is_rounded else 0
