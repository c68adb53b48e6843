"""One band of an image under a VLAE, and the bands of a lane: where bits-back becomes a file.

Band s has latents z_s, and is coded with

    prior p(z_s), likelihood p(x_s | x_<s, z_s), posterior q(z_s | x_<=s).

Encoded from the last band to the first and decoded from the first to the last, a band borrows the bits that choose
its z from the bands that were encoded before it. Bands go in turn to the lanes of the file, each a message of its own,
so that as many bands are worked at once. The last band of each lane finds nothing to borrow: its z is the posterior's
mode and is not returned. In an archive the messages already hold the images that come after, and they lend to
that band, too. See FORMAT.md, "Bands".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codec.entropy.bits_back import NOTHING, Codec, bits_back, certain, chain
from codec.entropy.rans import Message
from codec.format.headers import Latents
from codec.vlae.image import Image
from codec.vlae.latents import mode, posterior, prior
from codec.vlae.pipeline import Ready
from codec.vlae.pixels import at_once, likelihood


def band(image: Image, index: int, how: Latents, ready: Ready = at_once) -> Codec[int]:
    """Return the codec of one band: p(z), p(x|z) and q(z|x), composed. Its value is the band's index.

    The three ways of coding z are three posteriors: without latents there is no z, in two parts z is certain, and
    with bits-back q(z|x) takes z from the message and returns it.

    Parameters
    ----------
    image : Image
    index : int
    how : Latents
    ready : callable
        Called before waves of pixels are decoded; see `codec.vlae.pixels.in_waves`.
    """
    pixels = likelihood(image, index, ready)
    if how == Latents.NONE:
        return bits_back(NOTHING, pixels, lambda _: NOTHING)
    if how == Latents.TWO_PART or image.is_dry(index):
        return bits_back(prior(image), pixels, lambda x: certain(lambda: mode(image, x)))
    return bits_back(prior(image), pixels, lambda x: posterior(image, x))


def lane(image: Image, number: int, how: Latents, done: Callable[[int], None]) -> Codec[Sequence[int]]:
    """Return the codec of all bands of a lane, chained. Its value is the list of their indices, see `bands_of`.

    ``done`` is called with the index of each band that is pushed. Only encoding uses this chain: decoding pops the
    same bands, but those of all lanes in turn.
    """

    def told(codec: Codec[int]) -> Codec[int]:
        def push(message: Message, index: int) -> Message:
            message = codec.push(message, index)
            done(index)
            return message

        return Codec(push, codec.pop)

    return chain([told(band(image, index, how)) for index in bands_of(image, number)])


def bands_of(image: Image, number: int) -> list[int]:
    """Return the indices of the bands of a lane."""
    return list(range(number, image.bands, image.lanes))
