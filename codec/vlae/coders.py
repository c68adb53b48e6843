"""One band of an image under a VLAE, and the bands of a lane: where bits-back becomes a file.

Band s has latents z_s, and is coded with

    prior p(z_s), likelihood p(x_s | x_<s, z_s), posterior q(z_s | x_<=s).

Bands are encoded from the last to the first and decoded from the first to the last. The bits that choose a band's z are
borrowed from the bands that were encoded before it. The file has several lanes, and each lane is a message of its own.
Bands go to the lanes in turn, so that the lanes can be decoded at the same time. The last band of each lane is encoded
first and finds nothing to borrow: its z is the posterior's mode, and no bits come back. In an archive the messages
already hold the images that are decoded later, and that band borrows from them. See FORMAT.md, "Bands".
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
    """Return the codec of one band, composed of p(z), p(x|z) and q(z|x). Its value is the band's index.

    The three ways of coding z differ in the posterior alone. Without latents there is no z. In two parts the posterior
    is certain of one z. With bits-back, z is popped from the message under q(z|x), and decoding pushes it back.

    Parameters
    ----------
    image : Image
    index : int
        Number of the band from the top, 0 to ``image.bands - 1``.
    how : Latents
        How z is coded.
    ready : callable
        A `codec.vlae.pipeline.Ready`: it is called before each chunk of waves is decoded.
    """
    pixels = likelihood(image, index, ready)
    if how == Latents.NONE:
        return bits_back(NOTHING, pixels, lambda _: NOTHING)
    if how == Latents.TWO_PART or image.is_dry(index):
        return bits_back(prior(image), pixels, lambda x: certain(lambda: mode(image, x)))
    return bits_back(prior(image), pixels, lambda x: posterior(image, x))


def lane(image: Image, number: int, how: Latents, done: Callable[[int], None]) -> Codec[Sequence[int]]:
    """Return the codec of all bands of one lane, chained. Its value is the list of their indices, see `bands_of`.

    ``done`` is called with the index of each band after it is pushed. Only the encoder uses this chain. The decoder
    pops the same bands, but it takes the bands of all lanes in turn.
    """

    def told(codec: Codec[int]) -> Codec[int]:
        def push(message: Message, index: int) -> Message:
            message = codec.push(message, index)
            done(index)
            return message

        return Codec(push, codec.pop)

    return chain([told(band(image, index, how)) for index in bands_of(image, number)])


def bands_of(image: Image, number: int) -> list[int]:
    """Return the indices of the bands of a lane, from the top: each ``image.lanes``-th band."""
    return list(range(number, image.bands, image.lanes))
