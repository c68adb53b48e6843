"""The pictures of a session: their originals, files and thumbnails, the last of which are kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage

from codec import api
from codec.errors import RequestError
from codec.format import container
from codec.image_files.display import direction, upright
from codec.image_files.wide_image import Picture
from codec.report import heatmap
from codec.view.results import Result, facts_of, of_file
from codec.view.subjects import Subject
from codec.view.wishes import Wish
from codec.view.worker import Report

KEPT_RESULTS = 4
"""Results that are kept. That of a photograph of 24 megapixels takes about 200 MB."""
KEPT_ORIGINALS = 2
KEPT_THUMBNAILS = 1024
THUMBNAIL_PX = 320


class Desk:
    """The pictures of a session, by number. One thread at a time may use it.

    Parameters
    ----------
    subjects : sequence of Subject
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = subjects
        self._results: dict[tuple[int, Wish | None], Result] = {}
        self.original = lru_cache(KEPT_ORIGINALS)(self._original)
        self.thumbnail = lru_cache(KEPT_THUMBNAILS)(self._thumbnail)

    def _original(self, number: int) -> Picture | None:
        """Return the original of a picture; see `codec.view.subjects.Subject.original`."""
        return self.subjects[number].original()

    def result(self, number: int, wish: Wish | None, report: Report = lambda line: None) -> Result:
        """Return the result of the file that a picture has (no wish), or of one that is made of it.

        Reported are ``done``, the share of a file that is coded or decoded, and the facts of one that was made.

        Raises
        ------
        CodecError, ValueError, OSError
            The picture cannot be read, coded or decoded.
        """
        key = number, wish
        found = self._results.pop(key, None) or self._made(number, wish, report)
        self._results[key] = found  # the last one used stands last
        if len(self._results) > KEPT_RESULTS:
            del self._results[next(iter(self._results))]
        return found

    def _made(self, number: int, wish: Wish | None, report: Report) -> Result:
        def progress(done: int, total: int) -> None:
            report({"done": done / total})

        subject, original = self.subjects[number], self.original(number)
        if wish is None:
            return subject.held(original, progress)
        if original is None:
            raise RequestError(f"{subject.name}: the original is not known, so no other file can be made")
        data = api.compress(original, progress=progress, **wish.parameters)
        report(facts_of(container.unpack(data).header, len(data)))
        return of_file(data, original, progress)

    def _thumbnail(self, number: int) -> bytes:
        """Return a WebP of a picture, of `THUMBNAIL_PX` a side at most."""
        original = self.original(number)
        image = upright(self.result(number, None).image if original is None else original)
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        return _encoded(image, "WEBP", quality=80)


def png(image: Picture) -> bytes:
    """Return the PNG that browsers show of an image, `upright`, with its profile and no other metadata."""
    return _encoded(upright(image), "PNG", compress_level=1)  # over the loopback, time counts more than length


def heat_png(bits: heatmap.F32, top: float, like: Picture) -> bytes:
    """Return the PNG of the bits of every pixel (H, W), turned as the image is of which they are."""
    picture = PillowImage.fromarray(np.asarray(heatmap.colour(bits, top)))
    picture.info = direction(like)
    return png(picture)


def _encoded(image: PillowImage.Image, kind: str, **options: int) -> bytes:
    buffer = BytesIO()
    profile = image.info.get("icc_profile") or None
    image.save(buffer, kind, icc_profile=profile, exif=b"", **options)
    return buffer.getvalue()
