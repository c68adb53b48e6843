"""Raw deflate streams (RFC 1951) of chunks, and how they are expanded within a limit."""

from __future__ import annotations

import zlib

from codec.errors import CorruptDataError


def deflate(data: bytes) -> bytes:
    """Return the stream of data. The inverse of `inflate`."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    return stream.compress(data) + stream.flush()


def inflate(stream: bytes, limit: int, what: str) -> bytes:
    """Return the data of a stream. The inverse of `deflate`.

    Parameters
    ----------
    stream : bytes
    limit : int
        Most bytes of the data.
    what : str
        What the data is, for messages.

    Raises
    ------
    CorruptDataError
        The stream is damaged, expands to more than the limit, or does not end where its bytes do.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(stream, limit + 1)
    except zlib.error as error:
        raise CorruptDataError(f"{what}: {error}") from error
    if len(data) > limit:
        raise CorruptDataError(f"{what}: expands to more than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise CorruptDataError(f"{what}: stream does not end where its bytes do")
    return data
