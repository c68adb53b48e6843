"""The container: both directions, and every way in which a file can be wrong."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import constants
from codec.errors import CorruptDataError, UnsupportedError
from codec.format import container, headers
from codec.format.container import Container
from codec.format.fields import Reader
from codec.format.headers import CodingHeader, Description, Fidelity, Header, Latents, Lengths

FORM, SIDES, DEGREE, CODING = 9, 10, 13, 14
"""Bytes at which fields of the file of `coded` begin."""
TABLE = 21
"""Byte at which its lane table begins: lengths of three chunks, the model and two bytes of the hash are before it."""


def coded(width=20, height=130, lanes=2, mode="RGBA", max_error=2, latents=Latents.TWO_PART):
    """Return a container whose payload has no meaning but the right length."""
    rng = np.random.default_rng(1)
    fidelity = Fidelity.NEAR_LOSSLESS if max_error else Fidelity.LOSSLESS
    table = tuple(rng.integers(4, 40, lanes).tolist())
    alpha = b"\xff" if mode in ("LA", "RGBA") else b""
    header = Header(fidelity, mode, max_error, width, height)
    coding = CodingHeader(latents, lanes, 7, b"12")
    return Container(header, coding, table, b"meta", b"biases", alpha, rng.bytes(sum(table)))


def stored(mode="P"):
    return container.stored(Header(Fidelity.STORED, mode, 0, 3, 5, 99), b"", b"\x89PNG...")


def sealed(data):
    """Return the file with its checksum made right again."""
    return data[:5] + struct.pack("<I", zlib.crc32(data[9:], zlib.crc32(data[:5]))) + data[9:]


def with_bytes(data, at, changed):
    """Return the file with other bytes from a place on, and the right checksum."""
    return sealed(data[:at] + bytes(changed) + data[at + len(changed) :])


def replaced(data, begin, end, other):
    """Return the file with other bytes, of any number, in place of some, and the right checksum."""
    return sealed(data[:begin] + bytes(other) + data[end:])


def test_bytes_of_a_stored_file_are_fixed():
    body = bytes([4 << 2, 2, 4 << 4, 0]) + struct.pack("<I", 99) + b"\x89PNG..."
    assert container.pack(stored()) == sealed(b"VLAE\0" + bytes(4) + body)


def test_bytes_of_a_coded_file_are_fixed():
    file = coded()
    form, coding = 2 | 3 << 2 | 1 << 5 | 1 << 6, 2 | 1 << 2 | 1 << 5
    sides = (19 | 129 << 12).to_bytes(3, "little")
    described = bytes([form, *sides, 2, coding, len(b"meta"), len(b"biases"), 1])
    body = described + bytes([7, *b"12", file.lane_table[0]]) + b"meta" + b"biases" + b"\xff" + file.payload
    assert container.pack(file) == sealed(b"VLAE\0" + bytes(4) + body)
    assert file.lane_table[0] == container.pack(file)[TABLE]


def test_a_file_of_one_lane_without_more_has_17_bytes_before_its_message():
    header = Header(Fidelity.LOSSY, "RGB", 50, 782, 460)
    file = Container(header, CodingHeader(Latents.NONE, 1, 6, b"12"), (9,), b"", b"", b"", bytes(9))
    assert len(container.pack(file)) == 17 + 9


@pytest.mark.parametrize("sides", [(1, 1), (4096, 4096), (4097, 1), (1, 4097), (1 << 18, 5), (300_000, 200_000)])
def test_sides_of_every_length_come_back(sides):
    header = Header(Fidelity.STORED, "L", 0, *sides)
    data = container.pack(container.stored(header, b"", b"PNG"))
    assert container.unpack(data, 1 << 40).header == header
    assert len(data) == 9 + 1 + 4 + 3 + (3 if max(sides) <= 4096 else sum(1 + (s > 128) + (s > 1 << 14) for s in sides))


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    lanes=st.integers(1, 8),
    mode=st.sampled_from(headers.CODED_MODES),
    fidelity=st.sampled_from([(d, latents) for d in range(11) for latents in Latents if d == 0 or latents != 1]),
    metadata=st.binary(max_size=40),
    adaptation=st.binary(max_size=40),
)
def test_unpack_inverts_pack(width, height, lanes, mode, fidelity, metadata, adaptation):
    file = replace(coded(width, height, lanes, mode, *fidelity), metadata=metadata, adaptation=adaptation)
    data = container.pack(file)
    assert container.unpack(data) == file
    assert container.pack(container.unpack(data)) == data
    assert sum(container.part_bits(file).values()) == 8 * len(data) == 8 * container.file_bytes(file)


@pytest.mark.parametrize("mode", [*headers.MODES, *headers.WIDE_MODES])
def test_unpack_inverts_pack_of_stored_files(mode):
    data = container.pack(stored(mode))
    assert container.unpack(data) == stored(mode)
    assert sum(container.part_bits(stored(mode)).values()) == 8 * len(data)


@pytest.mark.parametrize("file", [coded(), stored()], ids=["coded", "stored"])
def test_every_truncation_is_refused(file):
    data = container.pack(file)
    for length in range(len(data)):
        with pytest.raises(CorruptDataError):
            container.unpack(data[:length])


@pytest.mark.parametrize("file", [coded(), stored()], ids=["coded", "stored"])
def test_every_flipped_bit_is_refused(file):
    data = container.pack(file)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        expected = UnsupportedError if bit // 8 == len(headers.MAGIC) else CorruptDataError
        with pytest.raises(expected):
            container.unpack(bytes(damaged))


@pytest.mark.parametrize("extra", [b"\0", b"\0\0\0\0", b"VLAE"])
def test_trailing_bytes_are_refused(extra):
    with pytest.raises(CorruptDataError, match="checksum"):
        container.unpack(container.pack(coded()) + extra)


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises((CorruptDataError, UnsupportedError)):
        container.unpack(data)
    with pytest.raises((CorruptDataError, UnsupportedError)):
        container.unpack(b"VLAE\0" + data)


@given(st.binary(min_size=9, max_size=120), st.integers(0, 255))
def test_noise_with_a_right_checksum_leads_to_no_other_error(data, form):
    noise = sealed(b"VLAE\0" + data[:4] + bytes([form]) + data[4:])
    try:
        file = container.unpack(noise)
    except (CorruptDataError, UnsupportedError):
        return
    assert container.pack(file) == noise  # each file has one form


@pytest.mark.parametrize(
    ("begin", "end", "other", "message"),
    [
        (FORM, FORM + 1, [2 | 4 << 2 | 3 << 5], "mode: expected one that is coded"),
        (FORM, FORM + 1, [2 | 5 << 2 | 3 << 5], "mode: expected one that is coded"),
        (FORM, FORM + 1, [0 | 7 << 2 | 3 << 5], "mode: expected one that is coded"),
        (FORM, FORM + 5, [0 | 6 << 2, 0, 0, 0, 5], "kind: expected one that is stored, got 5"),
        (FORM, FORM + 5, [0 | 6 << 2, 0, 0, 0, 16], "kind: expected one that is stored, got 16"),
        (FORM, FORM + 1, [0 | 3 << 2 | 3 << 5], "coding: expected 1 to 127 in a coded file"),
        (FORM, SIDES + 3, [2 | 3 << 2 | 7 << 5, 19, 0x81, 1], "sides: expected one above 4096, got 20x130"),
        (FORM, SIDES + 3, [2 | 3 << 2 | 7 << 5, 0x93, 0, 0x81, 0x7F], "more bytes than it needs"),
        (FORM, SIDES + 3, [2 | 3 << 2 | 7 << 5, *[0x80] * 5, 1], "more than 5 bytes"),
        (DEGREE, DEGREE + 1, [0], "degree: expected 1 to 10, got 0"),
        (DEGREE, DEGREE + 1, [11], "degree: expected 1 to 10, got 11"),
        (CODING, CODING + 1, [0], "coding: expected 1 to 127"),
        (CODING, CODING + 1, [2 | 1 << 2 | 1 << 5 | 1 << 7], "coding: expected 1 to 127"),
        (CODING, CODING + 1, [3 | 1 << 2 | 1 << 5], "latents: expected 0 to 2, got 3"),
        (CODING, CODING + 1, [1 | 1 << 2 | 1 << 5], "latents: expected 0 or 2 in a near-lossless file, got 1"),
        (CODING, CODING + 1, [2 | 1 << 2 | 1 << 5 | 1 << 6], "borrows: expected 0 without bits-back"),
        (15, 16, [0], "length of a chunk: expected at least 1, got 0"),
        (16, 17, [0], "length of a chunk: expected at least 1, got 0"),
        (17, 18, [0], "length of a chunk: expected at least 1, got 0"),
        (15, 16, [0x84, 0], "more bytes than it needs"),
        (18, 19, [0x87, 0], "more bytes than it needs"),
        (TABLE, TABLE + 1, [0x88, 0x80, 0], "more bytes than it needs"),
        (15, 16, [0xFF] * 4 + [0x7F], r"^file: expected at least 343\d{8} bytes"),
        (16, 17, [0xFF] * 4 + [0x7F], r"^file: expected at least 343\d{8} bytes"),
        (17, 18, [0xFF] * 4 + [0x7F], r"^file: expected at least 343\d{8} bytes"),
        (TABLE, TABLE + 1, [0xFF] * 4 + [0x7F], r"^file: expected at least 343\d{8} bytes"),
    ],
)
def test_wrong_fields_are_refused_behind_a_right_checksum(begin, end, other, message):
    with pytest.raises(CorruptDataError, match=message):
        container.unpack(replaced(container.pack(coded()), begin, end, other))


def test_bits_back_is_refused_in_a_near_lossless_file_alone():
    # The samples depend on z, so that no decoder could compute a posterior that chose z.
    for latents in (Latents.NONE, Latents.TWO_PART):
        data = with_bytes(container.pack(coded()), CODING, [latents | 1 << 2 | 1 << 5])
        assert container.unpack(data).coding.latents == latents
    assert container.unpack(container.pack(coded(max_error=0, latents=Latents.BITS_BACK)))


def test_images_of_archives_alone_borrow_from_others():
    data = container.pack(coded(max_error=0, latents=Latents.BITS_BACK))
    at = CODING - 1  # a lossless file has no degree
    with pytest.raises(CorruptDataError, match="borrows: expected 0 in a file, got 1"):
        container.unpack(with_bytes(data, at, [data[at] | 1 << 6]))


def test_an_adaptation_is_refused_in_a_lossy_file():
    file = replace(coded(), header=replace(coded().header, fidelity=Fidelity.LOSSY))
    with pytest.raises(CorruptDataError, match="adaptation_bytes: expected 0 in a lossy file, got 6"):
        container.unpack(container.pack(file))


def test_an_error_says_where_what_was_expected_and_what_came():
    with pytest.raises(CorruptDataError, match=r"^header: latents: expected 0 to 2, got 3$") as caught:
        container.unpack(with_bytes(container.pack(coded()), CODING, [3]))
    assert caught.value.offset == CODING


def test_the_last_message_has_what_the_others_leave():
    file = coded(lanes=3)
    data = container.pack(file)
    room = file.lane_table[2] - container.LEAST_MESSAGE_BYTES
    longest = with_bytes(data, TABLE, [file.lane_table[0] + room])
    assert container.unpack(longest).lane_table == (file.lane_table[0] + room, file.lane_table[1], 4)
    expected = len(data) + 1
    with pytest.raises(CorruptDataError, match=f"^file: expected at least {expected} bytes, got {len(data)}$"):
        container.unpack(with_bytes(data, TABLE, [file.lane_table[0] + room + 1]))


@pytest.mark.parametrize("file", [coded(), stored()], ids=["coded", "stored"])
def test_what_ends_before_its_payload_is_refused_behind_a_right_checksum(file):
    data = container.pack(file)
    least = len(data) - (file.lane_table[-1] - 4 if file.coding else len(file.payload) - 1)
    assert container.unpack(sealed(data[:least]))
    for length in range(9, least):
        with pytest.raises(CorruptDataError, match=rf"^file: expected .* bytes, got {length}$") as caught:
            container.unpack(sealed(data[:length]))
        assert caught.value.offset == length


def test_another_version_is_unsupported():
    with pytest.raises(UnsupportedError, match="expected format version 0, got 1"):
        container.unpack(with_bytes(container.pack(coded()), 4, [1]))


def test_pixel_limit_and_its_override():
    data = container.pack(coded(width=300, height=130, lanes=8))
    with pytest.raises(UnsupportedError, match=r"300x130 pixels are over the limit of 38999"):
        container.unpack(data, 38_999)
    assert container.unpack(data, 39_000).header.width == 300
    huge = container.pack(replace(stored(), header=replace(stored().header, width=1 << 20, height=1 << 20)))
    with pytest.raises(UnsupportedError, match="over the limit of 178956970"):
        container.unpack(huge)
    assert container.unpack(huge, 1 << 40).header.width == 1 << 20


def test_more_samples_than_the_payload_can_hold_are_refused():
    file = coded(max_error=0, mode="RGB")
    data = container.pack(replace(file, header=replace(file.header, width=200_000)))
    with pytest.raises(CorruptDataError, match="more samples than the payload can hold"):
        container.unpack(data)


@pytest.mark.parametrize("max_error", [0, 1, 10])
def test_the_bound_on_samples_is_what_the_cheapest_symbols_need(max_error):
    # The most probable symbol of n has the frequency 2**24 - (n - 1).
    others = 255 // (2 * max_error + 1)
    total = 1 << constants.PRECISION
    head = 1 << 31
    pushes = 200_000
    freq = total - others
    grown = head
    for _ in range(pushes):
        grown = (grown // freq) * total + grown % freq
    bits = grown.bit_length() - 31
    held = bits / (pushes * -np.log2(freq / total))
    assert held > 1 - 1 / 128 - 1 / bits


@given(
    width=st.integers(1, headers.SIDE_LIMIT),
    height=st.integers(1, headers.SIDE_LIMIT),
    mode=st.sampled_from(["L", "RGB", "1"]),
    max_error=st.integers(0, 10),
    near=st.floats(0.99, 1.01),
)
def test_only_what_no_payload_of_that_length_can_hold_is_refused(width, height, mode, max_error, near):
    samples = width * height * (3 if mode == "RGB" else 1)
    others = 1 if mode == "1" else 255 // (2 * max_error + 1)
    bits = samples * -np.log1p(-others / 2**24) / np.log(2)
    held = bits * (1 - 1 / 128)
    header = replace(coded().header, width=width, height=height, mode=mode, degree=max_error)
    payload = bytes(int(held * near / 8))
    holds = container.holds_samples(replace(coded(), header=header, payload=payload))
    # Never refused if 127/128 of the bits fit, always if there is a thousandth less.
    assert holds or 8 * len(payload) < held
    assert not holds or 8 * len(payload) > 0.999 * held - 8


def test_bits_are_coded_losslessly_only():
    file = coded(mode="1", max_error=0)
    assert container.unpack(container.pack(file)) == file
    for changes in ({"fidelity": Fidelity.NEAR_LOSSLESS, "degree": 1}, {"fidelity": Fidelity.LOSSY, "degree": 50}):
        with pytest.raises(CorruptDataError, match="mode: expected one that is coded"):
            container.pack(replace(file, header=replace(file.header, **changes)))


def test_contradicting_parts_are_not_packed():
    with pytest.raises(ValueError, match="alpha_bytes"):
        container.pack(replace(coded(), alpha=b""))
    with pytest.raises(ValueError, match=r"^payload: expected \d+ bytes, got 0$"):
        container.pack(replace(coded(), payload=b""))
    with pytest.raises(ValueError, match=r"^lane table: expected 2 lanes, got 3$"):
        container.pack(replace(coded(), lane_table=(4, 5, 6)))


@given(
    width=st.integers(1, 1 << 20),
    height=st.integers(1, 1 << 20),
    latents=st.sampled_from(Latents),
    lanes=st.integers(1, headers.MAX_LANES),
    borrows=st.booleans(),
    lengths=st.tuples(*[st.integers(0, 1 << 34)] * 2),
)
def test_descriptions_come_back(width, height, latents, lanes, borrows, lengths):
    header = Header(Fidelity.LOSSLESS, "L", 0, width, height)
    said = Description(header, latents, lanes, borrows and latents == Latents.BITS_BACK, Lengths(*lengths, 0))
    reader = Reader(headers.pack_description(said))
    if max(width, height) > headers.SIDE_LIMIT:
        with pytest.raises(UnsupportedError, match="coded images have sides up to 262144"):
            headers.unpack_description(reader, None)
    else:
        assert headers.unpack_description(reader, None) == said
