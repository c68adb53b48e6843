"""What docs/CROPS.md shows: for each subject an image, a box in it, and what an eye sees of the codecs there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from codec.image_files import loading

CROP_PX = 160
"""Sides of a box. All sheets together stay below 3 MB."""
FRAME_PX = 48
"""Width of the white frame."""


@dataclass(frozen=True)
class Subject:
    """An image that is hard for codecs in one way.

    Attributes
    ----------
    title : str
        Heading of its section.
    source : str
        Where the image is from, in Markdown.
    load : callable
        Maps the folder of images to the image, RGB.
    corner : tuple of int
        Column and row where the box of what is shown begins. Its sides are `CROP_PX`.
    remarks : tuple of str
        What an eye sees at each rate of `benchmarks.crops.RATES_BPP`. They are written by hand: whoever makes the
        sheets anew looks at them and edits these lines.
    """

    title: str
    source: str
    load: Callable[[Path], Image.Image]
    corner: tuple[int, int]
    remarks: tuple[str, str]

    @property
    def name(self) -> str:
        """Name of the sheet's file, without suffix."""
        return self.title.lower().replace(" ", "-")

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of what is shown, in pixels of the image."""
        left, top = self.corner
        return left, top, left + CROP_PX, top + CROP_PX


def line_art() -> Image.Image:
    """Return ink on white paper: curves of several widths, hatching and dots."""
    rng = np.random.default_rng(7)
    side, fine = 320, 4
    paper = Image.new("L", (side * fine, side * fine), 255)
    pen = ImageDraw.Draw(paper)
    for width in (1, 1, 2, 2, 3, 4):
        phase, bend, middle = rng.uniform(0, 6), rng.uniform(20, 70), rng.uniform(60, 260)
        x = np.arange(0, side + 1, 2)
        y = middle + bend * np.sin(x / rng.uniform(25, 60) + phase)
        pen.line(list(zip(fine * x, fine * y, strict=True)), 0, width * fine, "curve")
    for step in range(16):
        left = 40 + 6 * step
        pen.line([(fine * left, fine * 60), (fine * (left + 40), fine * 130)], 0, fine)
    for radius in (10, 18, 26, 34):
        ring = [fine * edge for edge in (210 - radius, 210 - radius, 210 + radius, 210 + radius)]
        pen.ellipse(ring, outline=0, width=fine + fine // 2)
    for x, y in rng.uniform(20, side - 20, (60, 2)):
        pen.ellipse([fine * x - 4, fine * y - 4, fine * x + 4, fine * y + 4], fill=0)
    return paper.resize((side, side), Image.Resampling.BOX).convert("RGB")


def framed(photo: Image.Image) -> Image.Image:
    """Return a photograph in a white frame."""
    width, height = (side + 2 * FRAME_PX for side in photo.size)
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(photo, (FRAME_PX, FRAME_PX))
    return sheet


def _photo(folder: Path, name: str) -> Image.Image:
    return loading.load_image(folder / name).convert("RGB")


def _of_file(title: str, name: str, corner: tuple[int, int], remarks: tuple[str, str]) -> Subject:
    return Subject(title, f"`{name}`", lambda folder: _photo(folder, name), corner, remarks)


SUBJECTS = (
    _of_file(
        "Text on a sign",
        "photos_valid/cq100_0090.webp",
        (0, 22),
        (
            "vlae: Paradigm can be read, BOILER is a brown bar; a soft veil, and teal letters turn blue. AVIF: "
            "more contrast, but blocky, with pink and green tints on white, and MIURA is broken. JPEG XL: all "
            "large words can be read, in a longer file.",
            "vlae: all but the smallest letters can be read, with pale haloes beside them. AVIF: as sharp, with a "
            "few bright specks at the letters. JPEG XL: blurred; the small lines at the top are lost.",
        ),
    ),
    _of_file(
        "Text on a screen",
        "graphics_valid/gnome_docs_shell-appmenu-classic.png",
        (64, 40),
        (
            "vlae: letters smear sideways, and light streaks stand between and below words; thin rules fade. "
            "AVIF: clean letters, a few pale blocks. JPEG XL: blurred letters and yellow tints, in a longer file.",
            "vlae: letters are clean, with a faint haze between a few of them. AVIF: no flaw is seen. JPEG XL: "
            "letters are a little bluish and the smallest gaps are grey.",
        ),
    ),
    _of_file(
        "Faces",
        "photos_valid/smartcrop_0940.webp",
        (172, 140),
        (
            "vlae: skin without pores, with a few dark dashes on cheek and lip; eyes keep their shape, the nose "
            "is softer. AVIF: skin in flat patches, a notch in the nostril. JPEG XL: blurred, with ripples and "
            "red and green blotches on the cheek.",
            "vlae: nearest to the original; freckles are a little paler. AVIF: as good at a glance, the finest "
            "texture of the skin is flatter. JPEG XL: brows and skin are softer.",
        ),
    ),
    _of_file(
        "Hair",
        "photos_valid/budgie_hist_0476.webp",
        (205, 30),
        (
            "vlae: fur becomes smooth flat areas with hard straight edges, the red of the mouth turns brown, and a "
            "small chequered patch stands at the whiskers. AVIF: the same smoothness with hard edges "
            "of blocks through the left eye. JPEG XL: blurred, but fur and the red of the mouth stay, in a longer "
            "file.",
            "vlae: fur is drawn hair by hair; the browns are a little paler. AVIF: crisper, but parts of the nose "
            "are grainy. JPEG XL: the nose and the forehead are smeared in patches.",
        ),
    ),
    _of_file(
        "Foliage",
        "photos_valid/solus_hist_0573.webp",
        (36, 50),
        (
            "vlae: leaves become a water-colour with little contrast, with a few straight edges. AVIF: more "
            "contrast, but leaves become worms. JPEG XL: a coarse grain in some blocks and none in others, in a "
            "longer file.",
            "vlae: flatter than the original, with short streaks, and some leaves and a branch turn reddish. "
            "AVIF: crisper and with deeper shadows, nearest to the original. JPEG XL: grainy in some places and "
            "blurred in others.",
        ),
    ),
    _of_file(
        "Flat sky",
        "photos_valid/metadata_extractor_0286.webp",
        (265, 0),
        (
            "All skies lose their grain. vlae: smooth sky, soft haloes beside the spires, and the stone turns "
            "pink. AVIF: the stone has its colour; coloured specks at the spires. JPEG XL: strong ringing at all "
            "edges and blobs on the stone, in a longer file.",
            "vlae: the spires are sharp, with a few short dashes in the sky beside them and edges a little red. "
            "AVIF: clean edges. JPEG XL: white specks on the battlements and softer spires. The sky is smooth in "
            "all three.",
        ),
    ),
    _of_file(
        "Dark gradient",
        "photos_valid/metadata_extractor_0294.webp",
        (0, 90),
        (
            "vlae: colours are right, with a few level streaks in the dark fold, and the thin lit edge at its lower "
            "end is gone. AVIF: the red stays, folds are lost. JPEG XL: blurred, with large purple and "
            "brown patches.",
            "vlae: folds and edges are there; the noise becomes short streaks. AVIF: the same, with more of the "
            "grain. JPEG XL: darker folds are blurred and the cloth is a little purple.",
        ),
    ),
    _of_file(
        "Saturated red",
        "photos_valid/unsplash_squeeze_0110.webp",
        (100, 20),
        (
            "No red bleeds. vlae: most speckles are lost, and short vertical and horizontal dashes show. AVIF: "
            "coarser worms instead of speckles, flat highlights. JPEG XL: large patches of other texture, the "
            "lower edge is lost.",
            "vlae: the finest speckles at the lower right are softer. AVIF: nearly all speckles are there. JPEG "
            "XL: the speckles are coarser and the dark stripes duller.",
        ),
    ),
    Subject(
        "Line art",
        "drawn by `line_art`",
        lambda _: line_art(),
        (80, 80),
        (
            "vlae: the paper is spotted with grey, the hatching breaks into crosses, thin lines fade, and dots "
            "are lost. AVIF, in a longer file: lines are sharp but jagged, a few pieces are missing. JPEG XL, in "
            "a longer file: all lines are there, thick and blurred.",
            "vlae: lines are sharp; a faint haze lies on the paper, and one dot is a smudge. AVIF: no flaw is "
            "seen. JPEG XL: thick and blurred, hardly better than its shortest file.",
        ),
    ),
    Subject(
        "White frame",
        f"`photos_valid/cq100_0099.webp` in a white frame of {FRAME_PX} pixels",
        lambda folder: framed(_photo(folder, "photos_valid/cq100_0099.webp")),
        (0, 190),
        (
            "vlae: the frame is clean; the left boards and the needles lose their detail, and the window's bars "
            "are soft. AVIF: the frame is clean, the needles are smeared, pale streaks stand at the posts. JPEG "
            "XL: pale yellow and pink shadows in the frame, the photograph is blurred.",
            "vlae and AVIF: alike, and near the original, with a clean frame. JPEG XL: softer, with a pale haze "
            "at the edge of the photograph.",
        ),
    ),
)
"""Photographs come from validation folders, never from Kodak; what no photograph there has is a screenshot or drawn."""
