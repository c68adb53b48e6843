"""The beginning of a file says the same as the whole file, and nothing behind it is needed."""

from io import BytesIO
from pathlib import Path

import pytest

from codec.errors import CorruptDataError, UnsupportedError
from codec.format import container, metadata
from codec.format.beginning import FIRST_BYTES, read_beginning
from codec.format.container import Container
from codec.format.fields import MAX_NUMBER_BYTES, varint
from codec.format.headers import HASH_BYTES, SIDE_LIMIT, CodingHeader, Fidelity, Header, Latents

GOLDEN = Path(__file__).parents[1] / "golden"
ENTRIES = {"icc_profile": bytes(range(256)) * 20, "exif": b"Exif", "xmp": b"<x/>"}


def longest():
    """Return a file with the longest fields before its metadata, and what its metadata holds."""
    header = Header(Fidelity.NEAR_LOSSLESS, "RGBA", 10, SIDE_LIMIT, 680)
    table = (1 << 20,) * 8
    coding = CodingHeader(Latents.TWO_PART, 8, (1 << 35) - 1, bytes(HASH_BYTES))
    chunks = metadata.pack(ENTRIES), bytes(1 << 16), bytes(1 << 16), bytes(sum(table))
    return container.pack(Container(header, coding, table, *chunks))


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.vlae")))
def test_it_is_that_of_the_whole_file(name):
    data = (GOLDEN / name).read_bytes()
    file = container.unpack(data)
    assert read_beginning(BytesIO(data)) == (file.header, metadata.unpack(file.metadata))


def test_the_longest_beginning():
    data = longest()
    header, entries = read_beginning(BytesIO(data))
    assert (header, entries) == (container.unpack(data, 1 << 40).header, ENTRIES)
    before = data.index(metadata.pack(ENTRIES))
    # Lengths of three chunks and of seven messages could have more bytes than here.
    assert before + 10 * MAX_NUMBER_BYTES <= FIRST_BYTES


def test_what_follows_is_not_needed():
    data = longest()
    chunk = metadata.pack(ENTRIES)
    end = data.index(chunk) + len(chunk)
    assert read_beginning(BytesIO(data[:end])) == read_beginning(BytesIO(data))
    for length in [*range(150), end - 1]:
        with pytest.raises(CorruptDataError):
            read_beginning(BytesIO(data[:length]))


def test_metadata_that_is_not_there_takes_no_memory():
    data = longest()
    length = varint(len(metadata.pack(ENTRIES)))
    at = data.index(length, container.HEADER_BYTES)
    with pytest.raises(CorruptDataError, match="expected at least 343"):
        read_beginning(BytesIO(data[:at] + varint((1 << 35) - 1) + data[at + len(length) : 200]))


def test_other_files_are_refused():
    with pytest.raises(CorruptDataError, match="magic"):
        read_beginning(BytesIO(b"PNG"))
    with pytest.raises(UnsupportedError, match="version 0, got 7"):
        read_beginning(BytesIO(b"VLAE\7" + bytes(20)))
