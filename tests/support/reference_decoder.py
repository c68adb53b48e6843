"""A second decoder, written from docs/FORMAT.md alone, in integers alone.

Nothing of `codec` is imported: no compiled kernel, no BLAS, no binary floating point between the
file and the samples. What this decodes, any machine decodes to the same samples; so are rasters, of
which only the message is known (`decode_raster`), and samples made of tensors (`synthesise`). It reads from top
to bottom in the order of FORMAT.md and is slow: some thousand pixels a second. It refuses damage by
ValueError; the guards of time and memory (pixel limit, shortest payload, metadata, chunks of a PNG)
are left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

STORED, LOSSLESS, LOSSY = 0, 1, 3
NO_LATENTS, BITS_BACK = 0, 1
MODES = ("L", "LA", "RGB", "RGBA", "P", "1")
WIDE_MODES = ("I;16", "LA;16", "RGB;16", "RGBA;16", "CMYK")
SLOPE = 2


def require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


# Container


class Fields:
    """Reads fields from their beginning."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def bytes(self, count: int) -> bytes:
        require(len(self.data) >= self.at + count, "cut")
        self.at += count
        return self.data[self.at - count : self.at]

    def fixed(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "little")

    def number(self) -> int:
        total = 0
        for i in range(5):
            byte = self.fixed(1)
            total += byte % 128 << 7 * i
            if byte < 128:
                require(byte > 0 or i == 0, "number: more bytes than needed")
                return total
        raise ValueError("number: more than 5 bytes")


@dataclass(frozen=True)
class Description:
    """What a file or an index says of an image."""

    fidelity: int
    mode_index: int
    width: int
    height: int
    degree: int
    latents: int
    lanes: int
    borrows: bool
    metadata_bytes: int
    adaptation_bytes: int
    alpha_bytes: int
    kind: int | None = None

    @property
    def mode(self) -> str:
        if self.kind is not None:
            return WIDE_MODES[self.kind % 8]
        return MODES[self.mode_index % 4 if self.mode_index > 5 else self.mode_index]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of the coded samples, without alpha."""
        return self.height, self.width, 3 if self.mode_index in (2, 3) else 1

    @property
    def has_alpha(self) -> bool:
        return self.mode.split(";")[0] in ("LA", "RGBA")

    @property
    def kinds(self) -> list[str]:
        """The kinds of models that may code it."""
        if self.fidelity == LOSSY:
            return ["tensor"]
        if self.fidelity == LOSSLESS and self.mode in ("1", "L"):
            return ["bits"] if self.mode == "1" else ["samples", "bits"]
        return ["samples"]


def read_description(fields: Fields) -> Description:
    form = fields.fixed(1)
    fidelity, mode_index = form % 4, (form >> 2) % 8
    legal = {STORED: (0, 1, 2, 3, 4, 5, 6), LOSSLESS: (0, 1, 2, 3, 5, 6, 7)}
    require(mode_index in legal.get(fidelity, (0, 1, 2, 3, 6, 7)), "mode")
    if form >> 7:
        width, height = fields.number() + 1, fields.number() + 1
        require(max(width, height) > 4096, "sides")
    else:
        sides = fields.fixed(3)
        width, height = sides % 4096 + 1, sides // 4096 + 1
    kind = fields.fixed(1) if fidelity == STORED and mode_index == 6 else None
    require(kind is None or (kind < 16 and kind % 8 < 5), "kind")
    most = {2: 10, LOSSY: 100}.get(fidelity, 0)
    degree = fields.fixed(1) if most else 0
    require(min(most, 1) <= degree <= most, "degree")
    coding = 0
    if (form >> 6) % 2:
        coding = fields.fixed(1)
        require(1 <= coding < 128 and fidelity != STORED, "coding")
    latents, borrows = coding % 4, coding >> 6 == 1
    require(latents <= 2 and (latents != BITS_BACK or fidelity != 2), "latents")
    require(latents == BITS_BACK or not borrows, "borrows")
    has_alpha = fidelity != STORED and mode_index in (1, 3, 7)
    lengths = []
    for there in ((form >> 5) % 2, (coding >> 5) % 2, has_alpha):
        lengths.append(fields.number() if there else 0)
        require(not there or lengths[-1] > 0, "length of 0")
    require(lengths[1] == 0 or fidelity != LOSSY, "adaptation_bytes")
    lanes = (coding >> 2) % 8 + 1
    return Description(fidelity, mode_index, width, height, degree, latents, lanes, borrows, *lengths, kind)


def checksum(samples: NDArray[np.uint8], has_alpha: bool) -> int:
    """Return samples_crc of samples (H, W, C), alpha last."""
    colours = samples.shape[2] - has_alpha
    samples = samples.astype("<u2") if samples.dtype == np.uint16 else samples
    crc = zlib.crc32(samples[:, :, :colours].tobytes())
    return zlib.crc32(samples[:, :, colours:].tobytes(), crc) % 2**31


def decode(data: bytes, weights_folder: str | Path) -> tuple[str, NDArray[Any]]:
    """Return the mode and the samples (H, W, C) of a file, alpha last; indices for P, 0 and 255 for 1."""
    require(len(data) >= 9 and data[:5] == b"VLAE\0", "not a file of version 0")
    require(zlib.crc32(data[9:], zlib.crc32(data[:5])) == int.from_bytes(data[5:9], "little"), "file_crc")
    fields = Fields(data)
    fields.bytes(9)
    said = read_description(fields)
    require(not said.borrows, "borrows")
    return said.mode, decode_rest(fields, said, Path(weights_folder))


def decode_rest(fields: Fields, said: Description, folder: Path) -> NDArray[Any]:
    """Return the samples of a file or a part, behind its description."""
    if said.fidelity == STORED:
        crc = fields.fixed(4)
        fields.bytes(said.metadata_bytes)
        samples = decode_stored(fields.data[fields.at :], said, folder)
    else:
        samples, crc = decode_coded(fields, said, folder)
    require(checksum(samples, said.has_alpha) == crc, "samples_crc")
    return with_equal_colours(said, samples)


def with_equal_colours(said: Description, samples: NDArray[Any]) -> NDArray[Any]:
    """Return samples (H, W, C), in modes 6 and 7 of coded images their one colour three times."""
    equal = said.mode_index > 5 and said.fidelity != STORED
    return np.concatenate([samples[:, :, :1]] * 2 + [samples], axis=2) if equal else samples


def decode_coded(fields: Fields, said: Description, folder: Path) -> tuple[NDArray[np.uint8], int]:
    """Return the samples of a coded file, and its samples_crc."""
    fields.number()  # the hash says as much
    model = load_model(folder, fields.bytes(2))
    table = [fields.number() for _ in range(said.lanes - 1)]
    fields.bytes(said.metadata_bytes)
    chunks = fields.bytes(said.adaptation_bytes), fields.bytes(said.alpha_bytes)
    messages = [Message(fields.bytes(length)) for length in table]
    messages.append(Message(fields.data[fields.at :]))
    samples = decode_image(model, said, messages, *chunks)
    crc = messages[0].head - 2**31
    messages[0].head = 2**31
    require(crc < 2**31 and all(message.is_empty() for message in messages), "message: more than the image")
    return samples, crc


def decode_image(
    model: Model, said: Description, messages: list[Message], adaptation: bytes, alpha: bytes
) -> NDArray[np.uint8]:
    """Return the samples (H, W, C) of an image, alpha last, and leave what follows in the messages."""
    lossy = said.fidelity == LOSSY
    require(model.kind in said.kinds, "model")
    condition = said.degree - lossy
    served = model.conditions if lossy else len(model.tensors["likelihood.fixed_biases"])
    require(condition < served, "model")
    moved = pop_adaptation(model, adaptation)
    raster = (-(-said.height // 8), -(-said.width // 8), model.channels) if lossy else said.shape
    samples = decode_bands(model, messages, raster, condition, said.latents, moved, not said.borrows)
    if lossy:
        samples = synthesise(model, samples, condition, said.shape)
    if model.kind == "bits":
        samples = 255 * samples
    return with_alpha(samples.astype(np.uint8), alpha)


def with_alpha(samples: NDArray[np.uint8], chunk: bytes) -> NDArray[np.uint8]:
    """Return samples with the alpha of a chunk, which is empty if there is none."""
    if not chunk:
        return samples
    height, width, _ = samples.shape
    if len(chunk) == 1:
        alpha = np.full((height, width, 1), chunk[0], dtype=np.uint8)
    else:
        alpha = open_png(chunk, width, height, "L")
    return np.concatenate([samples, alpha], axis=2)


# Stored images, Alpha


KINDS = {"LA": [(8, 4)], "P": [(1, 3), (2, 3), (4, 3), (8, 3)], "1": [(1, 0)], "CMYK": [(8, 6)]}
KINDS |= {"L": [(8, 0), *KINDS["P"]], "RGB": [(8, 2), *KINDS["P"]], "RGBA": [(8, 6), *KINDS["P"]]}
KINDS |= {"I;16": [(16, 0)], "LA;16": [(16, 4)], "RGB;16": [(16, 2), (16, 0)], "RGBA;16": [(16, 6), (16, 4)]}
"""The bit depths and colour types of each mode's PNG."""


def open_png(data: bytes, width: int, height: int, mode: str) -> NDArray[Any]:
    """Return the samples (H, W, C) of a bare PNG."""
    fields = Fields(data)
    kind = fields.fixed(1)
    depth, colour_type, transparent = 1 << kind % 8, (kind >> 3) % 8, kind >> 6 == 1
    require((depth, colour_type) in KINDS[mode] and kind < 128, "png: kind")
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    palette = np.zeros((256, 4), dtype=np.uint8)
    palette[:, 3] = 255
    if colour_type == 3:
        entries = fields.fixed(1) + 1
        palette[:entries, :3] = np.frombuffer(fields.bytes(3 * entries), np.uint8).reshape(-1, 3)
    if transparent:
        require(colour_type in (0, 2, 3) and mode not in WIDE_MODES, "png: transparency")
        require(colour_type != 3 or mode in ("P", "RGBA"), "png: transparency")
        alphas = fields.bytes(fields.fixed(1) + 1 if colour_type == 3 else {0: 2, 2: 6}[colour_type])
        if colour_type == 3:
            palette[: len(alphas), 3] = np.frombuffer(alphas, np.uint8)
    row_bytes = (width * channels * depth + 7) // 8
    stream = zlib.decompressobj(-15)
    rows = stream.decompress(data[fields.at :], height * (row_bytes + 1) + 1)
    require(stream.eof and not stream.unused_data and len(rows) == height * (row_bytes + 1), "png: rows")
    plain = np.frombuffer(unfiltered(rows, row_bytes, max(channels * depth // 8, 1)), np.uint8).reshape(height, -1)
    if depth == 16:
        samples = plain.view(">u2").astype(np.uint16).reshape(height, width, channels)
    else:
        bits = np.unpackbits(plain, axis=1).reshape(height, -1, depth)
        values = (bits.astype(np.int64) << np.arange(depth)[::-1]).sum(axis=2)[:, : width * channels]
        samples = values.astype(np.uint8).reshape(height, width, channels)
    if colour_type == 3 and mode != "P":
        return palette[samples[:, :, 0]][:, :, : {"L": 1, "RGB": 3, "RGBA": 4}[mode]]
    if mode in ("RGB;16", "RGBA;16") and channels < 3:
        samples = np.concatenate([samples[:, :, :1]] * 2 + [samples], axis=2)
    return 255 * samples if mode == "1" else samples


def decode_stored(payload: bytes, said: Description, folder: Path) -> NDArray[Any]:
    """Return the samples of a stored image from its PNG or its parts."""
    if said.kind is None or said.kind < 8:
        return open_png(payload, said.width, said.height, said.mode)
    return decode_inks(payload, said, folder) if said.mode == "CMYK" else decode_deep(payload, said, folder)


def unfiltered(data: bytes, row_bytes: int, step: int) -> bytes:
    """Return the rows of a PNG, whose filters are undone; ``step`` is the bytes of a pixel."""
    above, rows = bytearray(row_bytes), []
    for begin in range(0, len(data), row_bytes + 1):
        row = bytearray(data[begin + 1 : begin + 1 + row_bytes])
        for i in range(row_bytes):
            a, b, c = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, nearest)[data[begin]]) % 256
        rows.append(bytes(row))
        above = row
    return b"".join(rows)


# Parts


def decode_part(data: bytes, said: Description, mode: str, folder: Path) -> NDArray[np.uint8]:
    """Return the samples of a part that must have a mode and the size of the image."""
    fields = Fields(data)
    own = read_description(fields)
    require((own.mode, own.width, own.height, own.metadata_bytes) == (mode, said.width, said.height, 0), "part")
    require(own.fidelity in (STORED, LOSSLESS) and not own.borrows, "part")
    return decode_rest(fields, own, folder)


def decode_inks(payload: bytes, said: Description, folder: Path) -> NDArray[np.uint8]:
    fields = Fields(payload)
    colours = decode_part(fields.bytes(fields.number()), said, "RGB", folder)
    black = decode_part(payload[fields.at :], said, "L", folder)
    return 255 - np.concatenate([colours, black], axis=2)


def decode_deep(payload: bytes, said: Description, folder: Path) -> NDArray[np.uint16]:
    fields = Fields(payload)
    mode = {"I;16": "L"}.get(said.mode, said.mode.split(";")[0])
    high = decode_part(fields.bytes(fields.number()), said, mode, folder).astype(np.int64)
    colours = high.shape[2] - said.has_alpha
    planes = []
    for part in (high[:, :, :colours], high[:, :, colours:])[: 1 + said.has_alpha]:
        levels = read_levels(fields.bytes(fields.number()))
        is_last = len(planes) == said.has_alpha
        chunk = payload[fields.at :] if is_last else fields.bytes(fields.number())
        low_bits = max((len(levels) - 1).bit_length(), 8) - 8
        require(bool(chunk) == bool(low_bits), "low planes")
        values = decode_low_planes(part, low_bits, chunk) if low_bits else part
        require(bool(values.max() < len(levels)), "levels")
        planes.append(np.array(levels)[values])
    return np.concatenate(planes, axis=2).astype(np.uint16)


def read_levels(chunk: bytes) -> list[int]:
    if not chunk:
        return list(range(65536))
    stream = zlib.decompressobj(-15)
    fields = Fields(stream.decompress(chunk, 131072))
    require(stream.eof and not stream.unused_data, "levels")
    levels = [-1]
    while fields.at < len(fields.data):
        levels.append(levels[-1] + fields.number() + 1)
    require(len(levels) > 1 and levels[-1] < 65536, "levels")
    return levels[1:]


# Low planes


def decode_low_planes(high: I64, s: int, chunk: bytes) -> I64:
    """Return values from their high bits (H, W, C) and the stream of their ``s`` low bits."""
    v = high << s
    x, y, w, at = 0, 2**32 - 1, int.from_bytes(chunk[:4].ljust(4, b"\0"), "big"), 4
    chances: dict[tuple[int, int, int], tuple[int, int]] = {}
    carry = 0
    for row, column, c in np.ndindex(*v.shape):
        plain, spread = surroundings(v, row, column, c, s)
        guess, known = plain + (carry if c else 0), int(v[row, column, c])
        for b in range(s - 1, -1, -1):
            place = min(max((2 * (guess - known - 2**b)) >> b, -8), 8)
            width = min(max(((2 * spread) >> b).bit_length() - 1, 0), 7)
            triple = (place, width, int(b < s - 1))
            chance, count = chances.get(triple, (32768, 0))
            middle = x + ((y - x) * chance >> 16)
            bit = w <= middle
            x, y = (x, middle) if bit else (middle + 1, y)
            while x >> 24 == y >> 24:
                following = chunk[at] if at < len(chunk) else 0
                x, y, w, at = (
                    x << 8 & 0xFFFFFFFF,
                    (y << 8 & 0xFFFFFFFF) + 255,
                    (w << 8 & 0xFFFFFFFF) + following,
                    at + 1,
                )
            chance += (65536 - chance) // (count + 2) if bit else -(chance // (count + 2))
            chances[triple] = min(max(chance, 32), 65504), min(count + 1, 1024)
            known += bit << b
        v[row, column, c] = known
        carry = known - plain
    require(at - 3 == len(chunk), "low planes: length")
    return v


def surroundings(v: I64, row: int, column: int, c: int, s: int) -> tuple[int, int]:
    """Return `plain` and `spread` of a value; of those behind it only the high bits are set or looked at."""

    def value(dy: int, dx: int) -> int:
        return int(v[row + dy, column + dx, c])

    def middle(dy: int, dx: int) -> int:
        return (value(dy, dx) >> s << s) + 2 ** (s - 1)

    height, width, _ = v.shape
    left = value(0, -1) if column else value(-1, 0) if row else middle(0, 0)
    above = value(-1, 0) if row else left
    corner = value(-1, -1) if row and column else above
    other = value(-1, 1) if row and column + 1 < width else above
    right = middle(0, 1) if column + 1 < width else left
    below = middle(1, 0) if row + 1 < height else above
    plain = (3 * left + 3 * above + 2 * right + 2 * below - corner + other) // 10
    spread = abs(left - corner) + abs(above - corner) + abs(above - other) + abs(plain - middle(0, 0))
    return plain, spread


# Tables

_EXACT = Context(prec=50)


def _round(values: list[Decimal]) -> I64:
    return np.array([int(v.to_integral_value(ROUND_HALF_EVEN)) for v in values], dtype=np.int64)


def _exp2(exponent: Decimal) -> Decimal:
    return _EXACT.exp(_EXACT.multiply(exponent, _EXACT.ln(Decimal(2))))


def _log2(x: Decimal) -> Decimal:
    return _EXACT.divide(_EXACT.ln(x), _EXACT.ln(Decimal(2)))


def _normal(x: Decimal) -> Decimal:
    """Return the distribution function of the standard normal, 0 <= x."""
    total, term, odd = Decimal(0), x, 1
    while term > Decimal(10) ** -40:
        total, odd = total + term, odd + 2
        term = term * x * x / odd
    pi = Decimal("3.14159265358979323846264338327950288419716939937511")
    return Decimal("0.5") + _EXACT.exp(-x * x / 2) / _EXACT.sqrt(2 * pi) * total


LOGISTIC = _round([_EXACT.divide(Decimal(2**30), 1 + _EXACT.exp(Decimal(640 - i) / 32)) for i in range(1281)])
NORMAL_HALF = [_EXACT.multiply(Decimal(2**30), _normal(Decimal(i) / 32)) for i in range(10 * 32)]
NORMAL_HALF += [Decimal(2**30)] * (641 - len(NORMAL_HALF))  # less than 2^-70 from it
NORMAL = _round([2**30 - value for value in NORMAL_HALF[:0:-1]] + NORMAL_HALF)
WEIGHTS = _round([_exp2(16 - Decimal(i) / 64) for i in range(1024)])
INVERSE_SCALES = _round([_exp2(20 - Decimal(s) / 32) for s in range(-128, 225)])


def compress_table(largest: int, knee: int) -> I64:
    """Return COMPRESS: entry d + largest is that of the difference d."""
    positive = _round([_EXACT.multiply(Decimal(64), _log2(1 + Decimal(d) / knee)) for d in range(largest + 1)])
    return np.concatenate([-positive[:0:-1], positive])


# Message


class Message:
    """A lane: the head, a Python integer, and the words, the last one on top."""

    def __init__(self, data: bytes) -> None:
        number = int.from_bytes(data, "little")
        require(number >= 2**31 and data[-1] > 0, "message: length")
        count = number.bit_length() // 32 - 1
        self.words = [(number >> 32 * i) % 2**32 for i in range(count)]
        self.head = number >> 32 * count

    def pop(self, cum: I64) -> int:
        """Return the symbol on top, given the cumulative frequencies cum(0), ..., cum(n)."""
        target = self.head % 2**24
        symbol = int(np.searchsorted(cum, target, side="right")) - 1
        start, freq = int(cum[symbol]), int(cum[symbol + 1] - cum[symbol])
        self.head = freq * (self.head >> 24) + target - start
        if self.head < 2**31:
            require(len(self.words) > 0, "message: exhausted")
            self.head = (self.head << 32) | self.words.pop()
        return symbol

    def push(self, cum: I64, symbol: int) -> None:
        start, freq = int(cum[symbol]), int(cum[symbol + 1] - cum[symbol])
        if self.head >= freq << 39:
            self.words.append(self.head % 2**32)
            self.head >>= 32
        self.head = ((self.head // freq) << 24) + self.head % freq + start

    def is_empty(self) -> bool:
        return self.head == 2**31 and not self.words


# Distributions


@dataclass(frozen=True)
class Grid:
    """The grids of N symbols, or one for all."""

    count: I64
    step: int
    first: I64


def sample_grid(centre: I64, max_error: int) -> Grid:
    """Return the grids of samples within ``max_error``, a bin of each in the middle of its centre (N,)."""
    step = 2 * max_error + 1
    middle = centre - (centre + max_error) // step * step  # of the first bin
    return Grid((255 - middle + max_error) // step + 1, 256 * step, 256 * (middle - max_error) - 128)


def symbol_sample(symbol: int, centre: int, max_error: int) -> int:
    step = 2 * max_error + 1
    middle = centre - (centre + max_error) // step * step
    return min(max(step * symbol + middle, 0), 255)


BIT_GRID = Grid(np.array([2]), 256, np.array([-128]))


def number_grid(limit: int) -> Grid:
    return Grid(np.array([2 * limit + 1]), 256, np.array([-256 * limit - 128]))


@dataclass(frozen=True)
class Mixtures:
    """N mixtures of M components: weights, means and inverse scales (N, M), and the components' table."""

    weights: I64
    means: I64
    inverse: I64
    table: I64


def mixtures(raw: I64, shift: I64, table: I64 = LOGISTIC) -> Mixtures:
    """Return the mixtures of raw (N, 3 M) logits, means, scales; shift (N,) of the means."""
    logits, means, scales = np.split(raw, 3, axis=1)
    largest = logits.argmax(1)  # the first of several
    rows = np.arange(len(raw))
    weights = WEIGHTS[np.minimum(logits[rows, largest][:, None] - logits, 1023)]
    weights = weights * 2**15 // weights.sum(1, keepdims=True)
    weights[rows, largest] += 2**15 - weights.sum(1)
    return Mixtures(weights, means + shift[:, None], INVERSE_SCALES[np.clip(scales, -128, 224) + 128], table)


def centres(mixed: Mixtures) -> I64:
    return np.clip(((mixed.weights * mixed.means).sum(1) + 2**22) >> 23, 0, 255)


def cumulative(mixed: Mixtures, grid: Grid) -> I64:
    """Return cum (N, largest count + 1) of N mixtures; beyond its own count a row stays 2^24."""
    count, first = grid.count[:, None], grid.first[:, None]
    k = np.arange(1, grid.count.max())[None, :]
    edges = k * grid.step + first
    u = (edges[:, :, None] - mixed.means[:, None, :]) * mixed.inverse[:, None, :]
    place = (u >> 23) + 640
    inside = np.clip(place, 0, 1279)
    low, high = mixed.table[inside], mixed.table[inside + 1]
    value = low + ((high - low) * (u & (2**23 - 1)) >> 23)
    value = np.where(place < 0, 0, np.where(place >= 1280, 2**30, value))
    f = (value * mixed.weights[:, None, :]).sum(2) >> 15
    cum = np.full((len(f), k.size + 2), 2**24, dtype=np.int64)
    cum[:, 0] = 0
    cum[:, 1:-1] = np.where(k < count, (f * (2**24 - count) >> 30) + k, 2**24)
    return cum


def number_cumulative(means: I64, scales: I64, limit: int, table: I64 = LOGISTIC) -> I64:
    """Return cum (N, 2 limit + 2) of numbers within a limit, each with one component (N,)."""
    raw = np.stack([0 * means, means, scales], axis=1)
    return cumulative(mixtures(raw, 0 * means, table), number_grid(limit))


# Models

DTYPES = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


@dataclass(frozen=True)
class Model:
    """The tensors and the config. Fields that only some models have stand last. ``tile`` is a tile's or cell's side."""

    tensors: dict[str, I64]
    mixtures: int
    activation_limit: int
    output_shift: int
    latents: int = 0
    grid: int = 0
    kind: str = "samples"
    networks: str = "modulation"
    latent_distribution: str = "logistic"
    window_shows: str = "colours"
    tile: int = 0
    band: int = 1
    neighbours: int = 1
    channels: int = 3
    groups: int = 3
    limit: int = 0
    references: int = 3
    conditions: int = 0
    radius: int = 0
    posterior_limit: int = 0
    posterior_channels: int = 9
    window_columns: int = 0
    window_rows: int = 0
    patch: int = 0
    cell: int = 0
    features: int = 0
    rows: int = 0
    stream_limit: int = 0
    hidden_limit: int = 0
    feature_limit: int = 0

    @property
    def latent_table(self) -> I64:
        return {"logistic": LOGISTIC, "normal": NORMAL}[self.latent_distribution]


def load_model(folder: Path, weights_hash: bytes) -> Model:
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        if hashlib.sha256(data).digest()[:2] == weights_hash:
            return parse_model(data)
    raise ValueError("no model with this hash")


def parse_model(data: bytes) -> Model:
    begin = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:begin])
    config = json.loads(header.pop("__metadata__")["config"])
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        array = np.frombuffer(data[begin + start : begin + end], DTYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"]).astype(np.int64)
        if name.endswith("multiplier"):
            require(bool((np.abs(tensors[name]) < 2**38).all()), "model: multiplier")
    if config.get("kind") == "bits":
        config |= {"channels": 1, "groups": 1, "references": 0}
    if config.get("networks") == "spatial":
        config["tile"] = config["patch"] * config["cell"]
    if config.get("networks") == "plain":  # one tile is as good as another
        config["tile"] = config["rows"]
    return Model(tensors, **{k: v for k, v in config.items() if k not in ("number", "name")})


# Rasters


@dataclass(frozen=True)
class Raster:
    """The values in which kinds of rasters differ."""

    order: list[int]
    low: int
    high: int
    missing: int
    level_shift: int
    compress: I64

    def compressed(self, differences: I64) -> I64:
        return self.compress[differences + len(self.compress) // 2]


SAMPLES = Raster([1, 0, 2], 0, 255, 128, 1, compress_table(255, 8))
BITS = Raster([0], 0, 1, 0, 1, compress_table(1, 1))


def raster_of(model: Model) -> Raster:
    if model.kind == "samples":
        return SAMPLES
    if model.kind == "bits":
        return BITS
    return Raster(list(range(model.channels)), -model.limit, model.limit, 0, 2, compress_table(2 * model.limit, 2))


def condition_row(model: Model, name: str, condition: int) -> I64:
    """Return the row of biases of a condition, which may lie between those of two levels."""
    rows = model.tensors[name]
    return level_row(rows, condition, model.conditions) if model.kind == "tensor" else rows[condition]


def level_row(rows: I64, condition: int, conditions: int) -> I64:
    """Return the row of a condition, interpolated between the rows of levels."""
    steps = conditions - 1
    if steps == 0:
        return rows[0]
    i, r = divmod(condition * (len(rows) - 1), steps)
    if r == 0:
        return rows[i]
    return (rows[i] * (steps - r) + rows[i + 1] * r) // steps


def decode_raster(weights: bytes, lanes: list[bytes], shape: tuple[int, int, int], condition: int, latents: int) -> I64:
    """Return the raster of a shape (H, W, channels that are coded) of the messages of its lanes."""
    model = parse_model(weights)
    require(condition < (model.conditions or len(model.tensors["likelihood.fixed_biases"])), "model")
    messages = [Message(lane) for lane in lanes]
    raster = decode_bands(model, messages, shape, condition, latents, pop_adaptation(model, b""))
    require(all(message.is_empty() for message in messages), "message: more than the image")
    return raster


# Exact networks


def activate(total: I64, shift: I64, limit: int) -> I64:
    return np.clip(total >> shift, 0, limit)


def hidden(model: Model, name: str, x: I64, bias: I64, limit: int) -> I64:
    return activate(x @ model.tensors[f"{name}.weight"] + bias, model.tensors[f"{name}.shift"], limit)


def scaled(model: Model, total: I64, multiplier: I64) -> I64:
    return (total * multiplier + (1 << (model.output_shift - 1))) >> model.output_shift


def output(model: Model, name: str, x: I64) -> I64:
    t = model.tensors
    return scaled(model, x @ t[f"{name}.weight"] + t[f"{name}.bias"], t[f"{name}.multiplier"])


# Posterior


def posterior_planes(model: Model, tiles: I64) -> I64:
    """Return the input planes (A, T, T, planes) for decoded tiles (A, T, T, D)."""
    if model.kind == "tensor":
        return raster_of(model).compressed(tiles[..., : model.posterior_channels])
    x = np.zeros((*tiles.shape[:3], 9), dtype=np.int64)
    x[:, :, 1:, 0:3] = SAMPLES.compressed(tiles[:, :, 1:] - tiles[:, :, :-1])
    x[:, 1:, :, 3:6] = SAMPLES.compressed(tiles[:, 1:] - tiles[:, :-1])
    x[..., 6:9] = (tiles - 128) >> 1
    return x


def posterior_cumulative(model: Model, area: I64, condition: int) -> I64:
    """Return cum (tiles * latents, count + 1) of q(z|x) for a decoded band (rows, W, D)."""
    area = filled(area, model.band * model.tile, model.tile)
    out = spatial_posterior(model, area) if model.networks == "spatial" else tile_posterior(model, area, condition)
    means = np.clip(out[:, : model.latents], -256 * model.grid, 256 * model.grid).reshape(-1)
    scales = np.clip(out[:, model.latents :], -32, 128).reshape(-1)
    return number_cumulative(means, scales, model.grid, model.latent_table)


def filled(area: I64, rows: int, side: int) -> I64:
    """Return a band (rows, W, D) whose last row and column are repeated, to all rows and whole tiles."""
    height, width, _ = area.shape
    down = np.minimum(np.arange(rows), height - 1)
    right = np.minimum(np.arange(-(-width // side) * side), width - 1)
    return area[down][:, right]


def tile_posterior(model: Model, area: I64, condition: int) -> I64:
    """Return means and scales (tiles, 2 latents) of a band of whole tiles (T, columns, D)."""
    tiles = area.reshape(model.tile, -1, model.tile, area.shape[2]).swapaxes(0, 1)
    x = posterior_planes(model, tiles)
    for i in (1, 2, 3):
        name = f"posterior.conv{i}"
        side = x.shape[1] // 2
        padded = np.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
        parts = [padded[:, r : r + 2 * side : 2, c : c + 2 * side : 2] for r in range(3) for c in range(3)]
        x = hidden(model, name, np.concatenate(parts, 3), model.tensors[f"{name}.bias"], model.posterior_limit)
    flat = x.reshape(len(x), -1, x.shape[3])
    pooled = np.concatenate([flat.sum(1) // (flat.shape[1] // 4), flat.max(1)], 1)
    biases = condition_row(model, "posterior.dense.biases", condition)
    h = hidden(model, "posterior.dense", pooled, biases, model.activation_limit)
    return output(model, "posterior.out", h)


# Prior

NEIGHBOURS = [(0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0)]


def pop_latents(model: Model, message: Message, across: int, condition: int) -> I64:
    """Pop the latents (tiles, latents) of a band's tiles, row by row and from left to right."""
    t, n = model.tensors, model.latents
    biases = condition_row(model, "prior.hidden.biases", condition)
    spatial = model.networks == "spatial"
    units = len(biases)
    channel = np.arange(units) // (units // n) if spatial and units else np.zeros(units, dtype=np.int64)
    own = t["prior.own.weight"] if spatial else np.zeros((n, units), dtype=np.int64)
    own = own * (np.arange(n)[:, None] < channel)
    z = np.zeros((model.band * across, n), dtype=np.int64)
    for tile in range(model.band * across):
        row, column = divmod(tile, across)
        inputs = []
        for up, right in NEIGHBOURS[: model.neighbours]:
            exists = up <= row and 0 <= column + right < across
            near = z[tile - up * across + right] if exists else np.zeros(n, dtype=np.int64)
            inputs.append(np.append(near, int(exists)))
        near = np.concatenate([np.zeros(0, dtype=np.int64), *inputs]) @ t["prior.hidden.weight"] + biases
        for c in range(n):
            # What is not decoded yet is zero in z, and no unit of channels up to c sees it.
            a = activate(near + z[tile] @ own, t["prior.hidden.shift"], model.activation_limit)
            rows = np.array([c, n + c])
            total = (a * (channel <= c)) @ t["prior.out.weight"][:, rows] + t["prior.out.bias"][rows]
            total = total + t["prior.channels"][rows, :c] @ z[tile, :c]
            mean, scale = scaled(model, total, t["prior.out.multiplier"][rows])
            mean, scale = np.clip(mean, -256 * model.grid, 256 * model.grid), np.clip(scale, -32, 160)
            cum = number_cumulative(mean[None], scale[None], model.grid, model.latent_table)
            z[tile, c] = message.pop(cum[0]) - model.grid
    return z


# Modulation


def modulate(model: Model, z: I64 | None, across: int, condition: int, adaptation: I64) -> I64:
    """Return the likelihood's biases (tiles, biases) for latents z, or for a file without, and the adaptation."""
    t = model.tensors
    if model.networks != "modulation":
        moved = np.zeros((model.band * across, len(adaptation)), dtype=np.int64)
    elif z is None:
        moved = np.repeat(t["likelihood.off_biases"][None], across, 0)
    else:
        h = hidden(model, "modulation.hidden", z, t["modulation.hidden.bias"], model.activation_limit)
        moved = output(model, "modulation.out", h)
    return np.clip(condition_row(model, "likelihood.fixed_biases", condition) + moved + adaptation, -(2**30), 2**30)


# Maps of features


def sums(x: I64, weight: I64) -> I64:
    """Return the sums of every position of x (h, w, channels), whose neighbours have a part where weights say so."""
    if len(weight) > x.shape[2]:
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        down, across = x.shape[:2]
        x = np.concatenate([padded[r : r + down, c : c + across] for r in range(3) for c in range(3)], axis=2)
    return x @ weight


def shifted(model: Model, name: str, x: I64) -> I64:
    t = model.tensors
    return (sums(x, t[f"{name}.weight"]) + t[f"{name}.bias"]) >> t[f"{name}.shift"]


def run_blocks(model: Model, prefix: str, s: I64) -> I64:
    """Return max(s, 0) of a stream (h, w, units) behind the residual blocks."""
    limit, k = model.stream_limit, 1
    while f"{prefix}.block{k}.hidden.weight" in model.tensors:
        t = np.clip(shifted(model, f"{prefix}.block{k}.hidden", s), 0, model.hidden_limit)
        s = np.clip(s + shifted(model, f"{prefix}.block{k}.residual", t), -limit, limit)
        k += 1
    return np.maximum(s, 0)


def spatial_posterior(model: Model, area: I64) -> I64:
    """Return means and scales (tiles, 2 latents) of a band of whole cells (rows, columns, D)."""
    p, k, limit = model.patch, model.cell, model.stream_limit
    h, w = len(area) // p, area.shape[1] // p
    centred = 128 * area - 64 if model.kind == "bits" else area - 128
    v = np.zeros((h, w, model.channels * p * p), dtype=np.int64)
    for c in range(model.channels):
        for i in range(p):
            for j in range(p):
                v[:, :, (c * p + i) * p + j] = centred[i::p, j::p, c]
    s = run_blocks(model, "posterior", np.clip(shifted(model, "posterior.input", v), -limit, limit))
    cells = np.concatenate([s[i::k, j::k] for i in range(k) for j in range(k)], axis=2)
    t = model.tensors
    total = cells.reshape(-1, cells.shape[2]) @ t["posterior.out.weight"] + t["posterior.out.bias"]
    return np.clip(total >> t["posterior.out.shift"], -32767, 32767)


def feature_map(model: Model, z: I64 | None, across: int) -> I64:
    """Return the features (rows, columns, F) of a band of cells with latents z (cells, latents)."""
    p, k, limit = model.patch, model.cell, model.stream_limit
    features = np.zeros((model.band * model.tile, across * model.tile, model.features), dtype=np.int64)
    if z is None or model.networks != "spatial":
        return features
    made = shifted(model, "features.dense", z.reshape(model.band, across, -1))
    units = made.shape[2] // k**2
    s = np.zeros((model.band * k, across * k, units), dtype=np.int64)
    for i in range(k):
        for j in range(k):
            s[i::k, j::k] = made[:, :, (i * k + j) * units : (i * k + j + 1) * units]
    s = run_blocks(model, "features", np.clip(s, -limit, limit))
    m = np.clip(shifted(model, "features.output", s), -model.feature_limit, model.feature_limit)
    for f in range(model.features):
        for i in range(p):
            for j in range(p):
                features[i::p, j::p, f] = m[:, :, (f * p + i) * p + j]
    return features


# Adaptation


def pop_adaptation(model: Model, chunk: bytes) -> I64:
    """Return what the adaptation adds to each of the likelihood's biases (B,)."""
    shifts = [model.tensors[f"likelihood.{name}.shift"] for name in ("hidden1", "hidden2", "hidden3", "split")]
    layer = np.repeat(np.arange(4), [len(s) for s in shifts])
    if not chunk:
        return np.zeros(len(layer), dtype=np.int64)
    message = Message(chunk)
    scales = np.array([message.pop(np.arange(257) << 16) for _ in range(4)]) - 96
    cum = number_cumulative(0 * layer, scales[layer], 127)
    u = np.array([message.pop(row) for row in cum]) - 127
    require(message.is_empty(), "adaptation: more than the biases")
    return u * (4 << np.concatenate(shifts))


# Waves and contexts


def contexts(radius: int) -> list[tuple[int, int]]:
    square = window(2 * radius + 1, radius)
    return [(k, j) for k, j in square if k * k + j * j <= radius * (radius + 1)]


def window(columns: int, rows: int) -> list[tuple[int, int]]:
    reach = columns // 2
    return [(k, j) for k in range(rows + 1) for j in range(-reach, min(reach, SLOPE * k - 1) + 1)]


def context_places(ys: I64, xs: I64, offsets: list[tuple[int, int]], width: int) -> I64:
    """Return the places y * width + x (N, P) of the contexts of N pixels; -1 where there is none."""
    y, x = ys[:, None], xs[:, None]
    k, j = np.array(offsets, dtype=np.int64).reshape(-1, 2).T[:, None, :]
    up = np.minimum(k, y)
    j = np.where(up < k, np.minimum(j, SLOPE * up - 1), j)
    column = np.clip(x + j, 0, width - 1)
    column = np.where(up == 0, np.minimum(column, x - 1), column)
    row = np.where(column < 0, y - 1, y - up)
    return np.where(row < 0, -1, row * width + np.maximum(column, 0))


# Likelihood


def seen_by(model: Model, place: int, v: I64) -> I64:
    """Return the inputs (N, features) of a place from v (N, D), of which only channels decoded before are read."""
    if model.kind != "samples":
        return v[:, : place * model.channels // model.groups]
    red, green, _ = v.T
    seen = [green, red, np.clip(red - green, -255, 255)][: (0, 1, 3)[place]]
    return np.array(seen, dtype=np.int64).reshape(-1, len(v)).T


def pop_pixels(
    model: Model,
    message: Message,
    raster: I64,
    width: int,
    top: int,
    rows: int,
    grey: bool,
    max_error: int,
    biases: I64,
    features: I64,
) -> None:
    """Pop the rows ``top`` to ``top + rows - 1`` of the raster (H W + 1, D), whose last entry is that of no pixel."""
    t, m, limit = model.tensors, model.mixtures, model.activation_limit
    kind, predicted, size = raster_of(model), model.references, model.channels // model.groups
    spatial = model.networks == "spatial"
    offsets = window(model.window_columns, model.window_rows) if spatial else contexts(model.radius)
    across = -(-width // model.tile)
    shows_grey = model.kind == "samples" and model.window_shows == "grey"
    units, head = len(t["likelihood.hidden1.shift"]), t["likelihood.conditioning"].shape[1]
    shifts = t["likelihood.split.shift"].reshape(model.groups, head)
    for wave in range(width + SLOPE * (rows - 1)):
        ys = np.array([y for y in range(rows) if 0 <= wave - SLOPE * y < width], dtype=np.int64)
        if len(ys) == 0:  # in an image one pixel wide each second wave is empty
            continue
        xs = wave - SLOPE * ys
        here = (top + ys) * width + xs
        near = raster[context_places(top + ys, xs, offsets, width)]  # (N, P, D)
        if shows_grey:
            near = (near[..., :1] + 2 * near[..., 1:2] + near[..., 2:] + 2) >> 2
        shown = near.shape[2]
        ref = np.zeros((len(ys), shown), dtype=np.int64)
        if predicted:
            west, north, east, other = (near[:, offsets.index(o)] for o in ((0, -1), (1, 0), (1, 1), (1, -1)))
            ref = np.clip((2 * west + 2 * north + east - other + 2) >> 2, kind.low, kind.high)
            ref[:, predicted:] = 0
        inputs = kind.compressed(near - ref[:, None, :]).reshape(len(ys), -1)
        level = (ref[:, :predicted] - kind.missing) >> kind.level_shift
        h = np.concatenate([inputs, level, features[ys, xs]], axis=1)
        ref = np.repeat(ref, model.channels // shown, axis=1)
        bias = biases[ys // model.tile * across + xs // model.tile]  # (N, biases)
        for i in (1, 2, 3):
            h = hidden(model, f"likelihood.hidden{i}", h, bias[:, (i - 1) * units : i * units], limit)
        heads = h @ t["likelihood.split.weight"] + bias[:, 3 * units :]
        row = 0
        for place in range(1 if grey else model.groups):
            v = raster[here] - ref
            seen = seen_by(model, place, v)
            total = heads[:, place * head : (place + 1) * head]
            total = total + kind.compressed(seen) @ t["likelihood.conditioning"][row : row + seen.shape[1]]
            row += seen.shape[1]
            act = activate(total, shifts[place], limit)
            total = act @ t["likelihood.outputs.weight"][place] + t["likelihood.outputs.bias"][place]
            raw = scaled(model, total, t["likelihood.outputs.multiplier"][place])
            coefficients = raw[:, 3 * m * size :]
            for q, channel in enumerate(kind.order[place * size : (place + 1) * size]):
                shift = 256 * ref[:, channel]
                for i in range(place if model.kind == "samples" else 0):
                    shift = shift + coefficients[:, i] * v[:, kind.order[i]]
                mixed = mixtures(raw[:, 3 * m * q : 3 * m * (q + 1)], shift)
                values = pop_values(model, message, mixed, max_error)
                if grey:
                    raster[here] = values[:, None]
                else:
                    raster[here, channel] = values


def pop_values(model: Model, message: Message, mixed: Mixtures, max_error: int) -> I64:
    if model.kind == "tensor":
        cum = cumulative(mixed, number_grid(model.limit))
        return np.array([message.pop(row) for row in cum]) - model.limit
    if model.kind == "bits":
        return np.array([message.pop(row) for row in cumulative(mixed, BIT_GRID)])
    centre = centres(mixed)
    symbols = [message.pop(row) for row in cumulative(mixed, sample_grid(centre, max_error))]
    return np.array([symbol_sample(k, int(c), max_error) for k, c in zip(symbols, centre, strict=True)])


# Bands


def decode_bands(
    model: Model,
    messages: list[Message],
    shape: tuple[int, int, int],
    condition: int,
    latents: int,
    adaptation: I64,
    dry: bool = True,
) -> I64:
    """Return the raster of a shape (H, W, channels that are coded), and leave what follows in the messages."""
    require(latents == NO_LATENTS or model.networks != "plain", "latents of a model without any")
    height, width, channels = shape
    max_error = condition if model.kind == "samples" else 0
    raster = np.full((height * width + 1, model.channels), raster_of(model).missing, dtype=np.int64)
    across, band_rows = -(-width // model.tile), model.band * model.tile
    lanes, bands = len(messages), -(-height // band_rows)
    require(lanes <= bands, "lanes")
    for band in range(bands):
        message = messages[band % lanes]
        top = band * band_rows
        rows = min(band_rows, height - top)
        z = None if latents == NO_LATENTS else pop_latents(model, message, across, condition)
        biases = modulate(model, z, across, condition, adaptation)
        features = feature_map(model, z, across)
        grey = channels < model.channels
        pop_pixels(model, message, raster, width, top, rows, grey, max_error, biases, features)
        if z is not None and latents == BITS_BACK and not (dry and band >= bands - lanes):
            area = raster[top * width : (top + rows) * width].reshape(rows, width, -1)
            cum = posterior_cumulative(model, area, condition)
            for row, symbol in reversed(list(zip(cum, z.reshape(-1) + model.grid, strict=True))):
                message.push(row, int(symbol))
    return raster[:-1].reshape(height, width, -1)[:, :, :channels]


# Transforms

PATCH = 8


def dequantise(q: I64, steps: I64) -> I64:
    """Return the values of q (h, w, C) in 1/16 of a sample."""
    return np.sign(q) * np.minimum((np.abs(q) * steps + 2**11) >> 12, 32767)


def depth(s: I64, weight: I64) -> I64:
    """Return the sums over each position of s (h, w, units) and its neighbours, or the nearest instead of them."""
    down, across = s.shape[:2]
    rows, columns = np.arange(down)[:, None], np.arange(across)
    total = np.zeros_like(s)
    for r in range(3):
        for c in range(3):
            total += weight[3 * r + c] * s[np.clip(rows - 1 + r, 0, down - 1), np.clip(columns - 1 + c, 0, across - 1)]
    return total


def finer(x: I64) -> I64:
    """Return the fine positions (2 h, 2 w, units) of x (h, w, 4 units)."""
    h, w, units = x.shape
    return x.reshape(h, w, 2, 2, units // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, units // 4)


def synthesise(model: Model, q: I64, condition: int, shape: tuple[int, int, int]) -> I64:
    """Return the samples (H, W, channels) of a tensor."""
    t = model.tensors
    conditions = len(t["synthesis.steps"])

    def clip(s: I64) -> I64:
        return np.clip(s, -model.stream_limit, model.stream_limit)

    def layer(name: str, x: I64, bias: I64) -> I64:
        return (x @ t[f"synthesis.{name}.weight"] + bias) >> t[f"synthesis.{name}.shift"]

    def blocks(kind: str, s: I64) -> I64:
        k = 1
        while f"synthesis.{kind}{k}.hidden.weight" in t:
            name = f"{kind}{k}"
            shift = t[f"synthesis.{name}.depthwise.shift"]
            d = clip((depth(s, t[f"synthesis.{name}.depthwise.weight"]) + ((1 << shift) >> 1)) >> shift)
            biases = level_row(t[f"synthesis.{name}.hidden.biases"], condition, conditions)
            between = np.clip(layer(f"{name}.hidden", d, biases), 0, model.hidden_limit)
            s = clip(s + layer(f"{name}.residual", between, t[f"synthesis.{name}.residual.bias"]))
            k += 1
        return s

    v = dequantise(q, t["synthesis.steps"][condition])
    s = blocks("coarse", clip(layer("input", v, t["synthesis.input.bias"])))
    s = blocks("fine", finer(clip(layer("between", s, t["synthesis.between.bias"]))))
    linear = finer((v @ t["synthesis.linear.weight"]) * t["synthesis.linear.multiplier"])
    output = np.maximum(s, 0) @ t["synthesis.output.weight"] + t["synthesis.output.bias"]
    results = (linear + output * t["synthesis.output.multiplier"] + 2**31) >> 32
    patches = np.clip(results + 128, 0, 255).reshape(*s.shape[:2], 3, PATCH // 2, PATCH // 2)
    samples = patches.transpose(0, 3, 1, 4, 2).reshape(PATCH * len(q), -1, 3)[: shape[0], : shape[1]]
    return samples if shape[2] == 3 else (samples.sum(2, keepdims=True) + 1) // 3


# Archives


def decode_archive(data: bytes, weights_folder: str | Path) -> dict[str, tuple[str, NDArray[np.uint8]]]:
    """Return the modes and samples of an archive's images, as `decode` does, by their names and in their order."""
    require(data[:5] == b"VLAR\0", "not an archive of version 0")
    end = len(data)
    while valid_trailer(data, end) is None:
        require(end > 5, "no valid trailer")
        end -= 1
    sections = []
    while end > 5:
        found = valid_trailer(data, end)
        require(found is not None, "no trailer before a section")
        begin, index = found or (0, b"")
        sections.append((begin, end, index))
        end = begin
    images: dict[str, tuple[str, NDArray[np.uint8]]] = {}
    for begin, end, index in reversed(sections):
        for crc, chains, entries in read_index(index):
            begin = decode_block(data, begin, crc, chains, entries, Path(weights_folder), images)
        require(begin + len(index) + 28 == end, "length of a section")
    return images


def valid_trailer(data: bytes, end: int) -> tuple[int, bytes] | None:
    """Return where a section begins that ends at a byte, and its index."""
    if end < 33 or data[end - 28 : end - 20] != b"VLAR-end":
        return None
    section_bytes, index_bytes, index_crc, trailer_crc = struct.unpack_from("<QIII", data, end - 20)
    begin = end - section_bytes
    if zlib.crc32(data[end - 28 : end - 4]) != trailer_crc or begin < 5:
        return None
    if not 1 <= index_bytes <= min(2**26, section_bytes - 28):
        return None
    index = data[end - 28 - index_bytes : end - 28]
    return (begin, index) if zlib.crc32(index) == index_crc else None


Entry = tuple[str, Description, int, int]
"""Of an image: its name, its description, the length of its PNG or the number of its chain, and samples_crc."""


def read_index(index: bytes) -> list[tuple[int, list[tuple[bytes, list[int]]], list[Entry]]]:
    """Return of each block its block_crc, its chains (weights_hash, lane table) and its images."""
    stream = zlib.decompressobj()
    fields = Fields(stream.decompress(index, 2**26))
    require(stream.eof, "index: cut or too long")
    counts, chains = [], []
    for _ in range(fields.number()):
        images, count = fields.number(), fields.number()
        require(1 <= images <= 65535 and count <= images, "index: block")
        own, models = [], []
        for _ in range(count):
            models.append(fields.number())
            weights_hash, lanes = fields.bytes(2), fields.number()
            require(1 <= lanes <= 8, "index: lanes")
            own.append((weights_hash, [fields.number() for _ in range(lanes)]))
        require(models == sorted(set(models)), "index: models")
        counts.append(images)
        chains.append(own)
    said = [(read_description(fields), fields.number()) for _ in range(sum(counts))]
    *names, rest = fields.data[fields.at :].split(b"\0")
    for i, name in enumerate(names):
        if not name:
            found = re.search(rb"([0-9]+)([^0-9]*)\Z", names[i - 1])
            require(i > 0 and found is not None, "index: name")
            before = names[i - 1]
            digits = before[found.start(1) : found.end(1)]
            names[i] = before[: found.start(1)] + b"%0*d" % (len(digits), int(digits) + 1) + before[found.end(1) :]
            require(len(names[i]) <= 255, "index: name")
    checksums = stream.unused_data
    require(rest == b"" and len(names) == len(said), "index: names")
    require(len(checksums) == 4 * (len(counts) + len(said)), "index: checksums")
    crcs = struct.unpack(f"<{len(checksums) // 4}I", checksums)
    blocks, begin = [], 0
    for crc, own, count in zip(crcs, chains, counts, strict=False):
        own_images = range(begin, begin + count)
        blocks.append((crc, own, [(names[i].decode(), *said[i], crcs[len(counts) + i]) for i in own_images]))
        begin += count
    return blocks


def decode_block(
    data: bytes,
    begin: int,
    block_crc: int,
    chains: list[tuple[bytes, list[int]]],
    entries: list[Entry],
    folder: Path,
    images: dict[str, tuple[str, NDArray[np.uint8]]],
) -> int:
    """Decode a block that begins at a byte; return where it ends."""
    start, fields = begin, Fields(data)
    fields.bytes(begin)
    models = [load_model(folder, weights_hash) for weights_hash, _ in chains]
    messages = [[Message(fields.bytes(length)) for length in table] for _, table in chains]
    for name, said, last, crc in entries:
        fields.bytes(said.metadata_bytes)
        if said.fidelity == STORED:
            samples = decode_stored(fields.bytes(last), said, folder)
        else:
            chunks = fields.bytes(said.adaptation_bytes), fields.bytes(said.alpha_bytes)
            samples = decode_image(models[last], said, messages[last][: said.lanes], *chunks)
        require(checksum(samples, said.has_alpha) == crc, "samples_crc")
        require(name not in images, "name")
        images[name] = said.mode, with_equal_colours(said, samples)
    require(all(message.is_empty() for chain in messages for message in chain), "message: more than the images")
    require(zlib.crc32(data[start : fields.at]) == block_crc, "block_crc")
    return fields.at
