"""Every image below a folder, compressed losslessly and decompressed: how many come back exactly, and what is refused.

    python -m benchmarks.conformance FOLDER

A file of several frames goes through an archive. A file counts as exact if its samples and all metadata that is kept
come back. Files that Pillow cannot load are counted apart. The last line is one JSON object with the counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
import warnings
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

import codec
from codec import api
from codec.archive.reader import Archive
from codec.errors import CodecError
from codec.format import metadata
from codec.image_files import frame_files, loading
from codec.image_files.wide_image import Picture, WideImage

EXACT, REFUSED, DIFFERENT, TRACEBACK = "exact", "refused", "different", "traceback"


def pillow_loads(path: Path) -> bool:
    """Return whether Pillow loads a file."""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception:
        return False
    return True


def contents(picture: Picture) -> tuple[object, ...]:
    """Return what must come back of a picture: mode, size, samples and metadata."""
    entries = metadata.entries_of_info(picture.info)
    entries.pop("duration", None)  # only frames keep theirs
    wide = loading.wide_of(picture)
    if wide is not None:
        return wide.mode, wide.size, wide.samples.tobytes(), entries
    if isinstance(picture, WideImage):
        raise TypeError("expected a Pillow image")
    shown = picture.convert("RGBA") if picture.mode == "P" or "transparency" in picture.info else picture
    return picture.mode, picture.size, np.asarray(shown).tobytes(), entries


def outcome(path: Path, effort: int) -> tuple[str, str]:
    """Return what became of a file, and the line that says so."""
    try:
        frames = frame_files.frames_of(path)
        if len(frames) > 1 and path.suffix.lower() != ".mpo":
            return frames_outcome(path)
        before = loading.load_image(path)
        after = api.decoded(codec.compress(before, lossless=True, effort=effort, threads=1))
    except (CodecError, OSError) as error:
        return REFUSED, str(error)
    return (EXACT, "") if contents(before) == contents(after) else (DIFFERENT, before.mode)


def frames_outcome(path: Path) -> tuple[str, str]:
    """Return what became of a file of several frames."""
    buffer = BytesIO()
    codec.create_archive(buffer, {path.name: path}, lossless=True, processes=1)
    packed = path.parent / f".{path.name}.vlar"
    packed.write_bytes(buffer.getvalue())
    try:
        with Archive(packed) as archive:
            before = frame_files.load_frames(frame_files.frames_of(path))
            same = all(
                contents(a)[:3] == contents(picture_of(b))[:3] for a, b in zip(before, archive.values(), strict=True)
            )
    finally:
        packed.unlink()
    return (EXACT, "") if same else (DIFFERENT, "frames")


def picture_of(image: object) -> Picture:
    """Return what an archive gave as a picture."""
    return loading.picture_of(image)  # type: ignore[arg-type]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--effort", type=int, default=1, help="of the lossless files, 1 to 3")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    loadable: Counter[str] = Counter()
    paths = sorted(path for path in options.folder.rglob("*") if path.is_file())
    for path in paths:
        loads = pillow_loads(path)
        try:
            what, line = outcome(path, options.effort)
        except Exception:
            what, line = TRACEBACK, traceback.format_exc()
        counts[what] += 1
        loadable[what] += loads
        if what != EXACT and (loads or what != REFUSED):
            print(f"{what}: {path.relative_to(options.folder)}: {line}", flush=True)
    total = sum(loadable.values())
    share = 100 * loadable[REFUSED] / max(total, 1)
    print(
        json.dumps(
            {"files": len(paths), "all": counts, "pillow_loads": {"files": total, **loadable}, "refused_percent": share}
        )
    )
    sys.exit(bool(counts[DIFFERENT] or counts[TRACEBACK]))


if __name__ == "__main__":
    main()
