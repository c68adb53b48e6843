"""Writes docs/FORMAT.md's example of a lossy file anew: ``python tests/support/make_example.py``, after new weights."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

import codec
from codec.format import container, headers
from codec.frozen import shipped
from codec.networks import quantisation
from codec.vlae import decoding

DOCUMENT = Path(__file__).parents[2] / "docs" / "FORMAT.md"
SECTION = re.compile(r"(?<=### A lossy file\n\n).*?(?=\n#|\Z)", re.DOTALL)
QUALITY = 34


def ramp():
    """Return the image: a ramp of 8 by 8 grey pixels."""
    y, x = np.mgrid[0:8, 0:8]
    return Image.fromarray((76 + 8 * x + 5 * y).astype(np.uint8))


def fields(data):
    """Return the rows of the table: of each field its bytes, its name and its value."""
    file = container.unpack(data)
    header, coding = file.header, file.coding
    crc = int.from_bytes(data[5:9], "little")
    sizes_and_rows = [
        (4, "magic", "VLAE"),
        (1, "version", "0"),
        (4, "file_crc", f"{crc:08x}, of bytes 00..04 and 09..{len(data) - 1:02x}"),
        (1, "form", f"{data[9]}: fidelity 3, mode 0"),
        (3, "sides", f"{int.from_bytes(data[10:13], 'little')}: {header.width} by {header.height}"),
        (1, "degree", f"{header.quality}, the quality"),
        (1, "model", f"{coding.model}"),
        (headers.HASH_BYTES, "weights_hash", f"{coding.weights_hash.hex()}, as bytes"),
        (len(file.payload), "payload", "the message of lane 0"),
    ]
    rows, begin = [], 0
    for size, name, value in sizes_and_rows:
        rows.append((begin, begin + size, name, value))
        begin += size
    if begin != len(data):
        raise SystemExit("the file has other fields than these: take another ramp or quality")
    return rows


def example():
    """Return the text of the section."""
    data = codec.compress(ramp(), quality=QUALITY)
    file = container.unpack(data)
    if codec.info(data).fidelity != "lossy":
        raise SystemExit("another file than a lossy one is the best choice: take another ramp or quality")
    model = shipped.load_model(shipped.LOSSY)
    raster, samples_crc = decoding.decode(model, file)
    q = raster.samples
    values = quantisation.dequantise(q, model.transforms.steps[file.header.condition])
    where = np.flatnonzero(q)
    channels = ", ".join(map(str, where))
    numbers, dequantised = (", ".join(map(str, a.reshape(-1)[where])) for a in (q, values))
    lines = [
        f"This file ({len(data)} bytes) holds a ramp of 8 by 8 grey pixels at quality {QUALITY}, coded by model "
        f"{model.number} of the shipped weights:",
        "",
        *(f"    {at:02x}  {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16)),
        "",
        "| bytes | field | value |",
        "|---|---|---|",
    ]
    for begin, end, name, value in fields(data):
        place = f"{begin:02x}" if end == begin + 1 else f"{begin:02x}..{end - 1:02x}"
        lines.append(f"| {place} | {name} | {value} |")
    said = (
        f"The tensor has one position. Its q is {numbers} in the channels {channels} and 0 in the others, which "
        f"dequantise to {dequantised} sixteenths of a sample. The head is then {(1 << 31) + samples_crc:x} "
        f"(hexadecimal), so samples_crc is {samples_crc:08x}. Synthesis makes the rows"
    )
    rows = [f"    {' '.join(map(str, row))}" for row in np.asarray(codec.decompress(data))]
    return "\n".join([*lines, "", said.replace("-", "\N{MINUS SIGN}"), "", *rows]) + "\n"


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(SECTION.sub(lambda _: example(), text, count=1), encoding="utf-8")
