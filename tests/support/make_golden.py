"""Writes the golden files: ``python tests/support/make_golden.py --replace-because "reason"``.

Golden files hold what an encoder once wrote; `test_golden` reads them for ever. They are replaced
only while the format has number 0, and the reason goes to the changelog.
"""

import argparse
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import codec
from codec.format.headers import Latents

FOLDER = Path(__file__).parents[1] / "golden"
ARCHIVE = "archive.vlar"
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
HEADING = "## Golden files"


def draw(mode, width, height, seed):
    """Return an image like a photograph: smooth colours with noise, much the same in all; smooth alpha."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    channels = len(Image.new(mode, (1, 1)).getbands())
    planes = np.zeros((height, width, channels), dtype=np.int64)
    # Integers only, so that the image is the same on every machine.
    noise = rng.integers(-3, 4, (height, width)) + rng.integers(-3, 4, (height, width))
    for c in range(channels):
        planes[..., c] = 70 + 20 * c + (x * (7 - c) + y * 2) // 3 + (x - y) ** 2 // 300
        if mode[c] != "A":
            planes[..., c] += noise + rng.integers(-1, 2, noise.shape)
    return Image.fromarray(np.clip(planes, 0, 255).astype(np.uint8).squeeze(), "CMYK" if mode == "CMYK" else None)


def draw_deep(mode, width, height, seed):
    """Return an array of 16 bits like a photograph: a drawn image with noise in the low bytes."""
    high = np.asarray(draw(mode, width, height, seed)).astype(np.int64)
    noise = np.random.default_rng(seed).integers(-150, 151, high.shape)
    return np.clip(257 * high + noise, 0, 65535).astype(np.uint16)


def draw_mosaic(width, height, seed):
    """Return a grey image whose rows and columns differ in brightness by turns: it is worth an adaptation."""
    y, x = np.mgrid[0:height, 0:width]
    samples = np.asarray(draw("L", width, height, seed)) + (x % 2 + y % 2) * 7
    return Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8))


def draw_palette(width, height):
    """Return an image of mode P with flat areas, which PNG stores well."""
    y, x = np.mgrid[0:height, 0:width]
    image = Image.fromarray(((x // 5 + y // 4) % 3).astype(np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 20, 200, 40, 0, 10, 90])
    return image


def draw_digit(width, height, seed):
    """Return an image of mode 1 with a bent stroke, three pixels wide, like that of a pen."""
    rng = np.random.default_rng(seed)
    turns = rng.integers(0, 65, (4, 2)) * (width - 1, height - 1) // 64
    y, x = np.mgrid[0:height, 0:width]
    ink = np.zeros((height, width), dtype=bool)
    for (x0, y0), (x1, y1) in pairwise(turns):
        for step in range(65):  # integers only
            ink |= (64 * x - 64 * x0 - (x1 - x0) * step) ** 2 + (64 * y - 64 * y0 - (y1 - y0) * step) ** 2 < 90**2
    return Image.fromarray(ink.astype(np.uint8) * 255).convert("1")


def sources():
    """Return, by file name, the image of each golden file and the arguments that code it."""
    return {
        "lossless-rgb-bits-back.vlae": (draw("RGB", 40, 140, 1), {"lossless": True, "latents": Latents.BITS_BACK}),
        "lossless-grey-adapted.vlae": (draw_mosaic(257, 129, 5), {"lossless": True, "latents": Latents.BITS_BACK}),
        "near-lossless-rgb.vlae": (draw("RGB", 37, 70, 2), {"max_error": 3, "latents": Latents.TWO_PART}),
        "near-lossless-la.vlae": (draw("LA", 60, 40, 6), {"max_error": 10, "latents": Latents.NONE}),
        "near-lossless-grey-adapted.vlae": (draw_mosaic(257, 129, 7), {"max_error": 1, "latents": Latents.NONE}),
        "lossless-grey-no-latents.vlae": (draw("L", 50, 70, 3), {"lossless": True, "latents": Latents.NONE}),
        "lossless-rgba.vlae": (draw("RGBA", 31, 40, 4), {"lossless": True, "latents": Latents.TWO_PART}),
        "lossy-rgb.vlae": (draw("RGB", 60, 270, 8), {"quality": 70}),
        "lossy-grey.vlae": (draw("L", 90, 40, 9), {"quality": 85}),
        "lossy-rgba.vlae": (draw("RGBA", 41, 50, 10), {"quality": 10}),
        "lossy-grey-as-rgb.vlae": (draw("L", 50, 40, 13).convert("RGB"), {"quality": 70}),
        "lossless-grey-as-rgba.vlae": (draw("LA", 37, 41, 14).convert("RGBA"), {"lossless": True}),
        "lossless-bits.vlae": (draw_digit(30, 33, 11), {"lossless": True, "model": "mnist-static"}),
        "lossless-fast.vlae": (
            draw("RGB", 45, 100, 15),
            {"lossless": True, "effort": 1, "latents": Latents.BITS_BACK},
        ),
        "lossless-max.vlae": (
            draw("RGB", 100, 45, 20),
            {"lossless": True, "effort": 3, "latents": Latents.BITS_BACK},
        ),
        "lossless-tiny.vlae": (draw("RGB", 35, 40, 12), {"lossless": True, "model": "tiny"}),
        "stored-palette.vlae": (draw_palette(30, 20), {"lossless": True}),
        "lossless-rgb16.vlae": (draw_deep("RGB", 40, 30, 16), {"lossless": True}),
        "lossless-rgba16-levels.vlae": (draw_deep("RGBA", 30, 40, 17) >> 6 << 6, {"lossless": True}),
        "lossless-cmyk.vlae": (draw("CMYK", 40, 30, 18), {"lossless": True}),
        "stored-la16.vlae": (draw_deep("LA", 4, 3, 19), {"lossless": True}),
    }


def archive_sources():
    """Return the images of the golden archive, by their names, as they are added one after the other."""
    first = {f"first/{seed}.png": draw("RGB", 60, 50, seed) for seed in (22, 23, 24, 25)}
    return first, {f"second/{seed}.png": draw("L", 60, 50, seed) for seed in (20, 21, 24)}


def write_archive(path):
    """Write the golden archive: its images are lossless."""
    first, second = archive_sources()
    codec.create_archive(path, first, lossless=True, processes=1)
    codec.add_to_archive(path, second, lossless=True, processes=1)


def describe(data):
    """Return the manifest's entry of a file."""
    facts = codec.info(data)
    return {
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "samples_sha256": hashlib.sha256(codec.decompress(data).tobytes()).hexdigest(),
        "width": facts.width,
        "height": facts.height,
        "mode": facts.mode,
        "fidelity": facts.fidelity,
        "max_error": facts.max_error,
        "quality": facts.quality,
        "latents": facts.latents,
        "adapted": facts.part_bits.get("adaptation_bits", 0) > 0,
    }


def replace(reason):
    """Write all golden files, their manifest, and the reason."""
    FOLDER.mkdir(exist_ok=True)
    manifest = {}
    for name, (image, arguments) in sources().items():
        data = codec.compress(image, **arguments)
        (FOLDER / name).write_bytes(data)
        manifest[name] = describe(data)
    for path in FOLDER.glob("*.vlae"):
        if path.name not in manifest:
            path.unlink()
    write_archive(FOLDER / ARCHIVE)
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    if CHANGELOG.exists():
        CHANGELOG.write_text(with_reason(CHANGELOG.read_text(encoding="utf-8"), reason), encoding="utf-8")


def with_reason(changelog, reason):
    """Return the changelog with one more line at the end of its section on golden files."""
    if HEADING not in changelog.splitlines():
        changelog = f"{changelog.rstrip()}\n\n{HEADING}\n"
    before, after = changelog.split(f"{HEADING}\n", 1)
    section, mark, rest = after.partition("\n## ")
    return f"{before}{HEADING}\n\n{(section.strip() + chr(10)).lstrip()}- {reason}\n{mark}{rest}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replace-because", required=True, metavar="REASON", help="goes to the changelog")
    replace(parser.parse_args().replace_because)
