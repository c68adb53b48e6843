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
from codec.format.headers import CodingHeader, Fidelity, Header, Latents

CODES = {"B": 1, "H": 2, "I": 4}


def coded(width=20, height=130, lanes=2, mode="RGBA", max_error=2, latents=Latents.TWO_PART):
    """Return a container whose payload has no meaning but the right length."""
    rng = np.random.default_rng(1)
    fidelity = Fidelity.NEAR_LOSSLESS if max_error else Fidelity.LOSSLESS
    bands = headers.band_count(height, 64)
    lanes = min(lanes, bands)
    table = tuple(rng.integers(0, 9, lanes).tolist())
    alpha = b"\xff" if mode in ("LA", "RGBA") else b""
    payload = rng.bytes(8 * lanes + 4 * sum(table))
    header = Header(fidelity, mode, max_error, width, height, 0xDEADBEEF)
    coding = CodingHeader(latents, lanes, 64, 7, b"1234")
    return Container(header, coding, table, b"meta", b"biases", alpha, payload)


def stored(mode="P"):
    return container.stored(Header(Fidelity.STORED, mode, 0, 3, 5, 99), b"", b"\x89PNG...")


def sealed(data):
    """Return the file with its checksum made right again."""
    crc = zlib.crc32(data[28:], zlib.crc32(data[:24]))
    return data[:24] + struct.pack("<I", crc) + data[28:]


def with_field(data, name, value):
    field = next(f for f in (*headers.HEADER, *headers.CODING_HEADER) if f.name == name)
    offset = headers.OFFSETS[name]
    return sealed(data[:offset] + struct.pack("<" + field.code, value) + data[offset + CODES[field.code] :])


def test_headers_have_28_and_16_bytes():
    assert (headers.HEADER_BYTES, headers.CODING_HEADER_BYTES) == (28, 16)
    assert headers.OFFSETS["file_crc"] == 24
    assert headers.OFFSETS["latents"] == 28
    assert headers.OFFSETS["alpha_bytes"] == 40


def test_bytes_of_a_stored_file_are_fixed():
    head = b"VLAE" + bytes([0, 0, 4, 0]) + struct.pack("<IIII", 3, 5, 0, 99)
    png = b"\x89PNG..."
    expected = head + struct.pack("<I", zlib.crc32(head + png)) + png
    assert container.pack(stored()) == expected


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
    assert sum(container.part_bits(file).values()) == 8 * len(data)


@pytest.mark.parametrize("mode", headers.MODES)
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
        expected = UnsupportedError if bit // 8 == headers.OFFSETS["version"] else CorruptDataError
        with pytest.raises(expected):
            container.unpack(bytes(damaged))


@pytest.mark.parametrize("extra", [b"\0", b"\0\0\0\0", b"VLAE"])
def test_trailing_bytes_are_refused(extra):
    data = container.pack(coded())
    with pytest.raises(CorruptDataError, match="checksum"):
        container.unpack(data + extra)
    with pytest.raises(CorruptDataError, match="bytes, got"):
        container.unpack(sealed(data + extra))


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises((CorruptDataError, UnsupportedError)):
        container.unpack(data)
    with pytest.raises((CorruptDataError, UnsupportedError)):
        container.unpack(b"VLAE\0" + data)


@given(st.binary(min_size=24, max_size=120))
def test_noise_with_a_right_checksum_leads_to_no_other_error(data):
    try:
        file = container.unpack(sealed(b"VLAE\0\1" + data))
    except (CorruptDataError, UnsupportedError):
        return
    assert container.pack(file) == sealed(b"VLAE\0\1" + data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fidelity", 3),
        ("fidelity", 1),
        ("mode", 4),
        ("mode", 6),
        ("mode", 2),
        ("degree", 0),
        ("degree", 11),
        ("width", 0),
        ("height", 0),
        ("height", 64),
        ("metadata_bytes", 5),
        ("metadata_bytes", 0xFFFFFFFF),
        ("latents", 3),
        ("lanes", 0),
        ("lanes", 1),
        ("lanes", 3),
        ("lanes", 4),
        ("lanes", 9),
        ("band_height", 0),
        ("band_height", 192),
        ("band_height", 1025),
        ("adaptation_bytes", 0),
        ("adaptation_bytes", 7),
        ("adaptation_bytes", 0xFFFF),
        ("alpha_bytes", 0),
        ("alpha_bytes", 0xFFFFFFFF),
    ],
)
def test_wrong_fields_are_refused_behind_a_right_checksum(name, value):
    with pytest.raises(CorruptDataError):
        container.unpack(with_field(container.pack(coded()), name, value))


@pytest.mark.parametrize("max_error", [1, 10])
def test_bits_back_is_refused_in_a_near_lossless_file(max_error):
    # The samples depend on z, so that no decoder could compute a posterior that chose z.
    file = coded(max_error=max_error)
    for latents in (Latents.NONE, Latents.TWO_PART):
        assert container.unpack(with_field(container.pack(file), "latents", latents)).coding.latents == latents
    with pytest.raises(CorruptDataError, match=r"^header: latents: expected 0 or 2 in a near-lossless file, got 1$"):
        container.unpack(with_field(container.pack(file), "latents", Latents.BITS_BACK))
    lossless = with_field(container.pack(coded(max_error=0)), "latents", Latents.BITS_BACK)
    assert container.unpack(lossless).coding.latents == Latents.BITS_BACK


def test_chunks_stand_in_the_order_of_the_format():
    file = coded()
    data = container.pack(file)
    assert data[44 + 4 * 2 :] == b"meta" + b"biases" + b"\xff" + file.payload
    assert data[34:36] == bytes([6, 0])


def test_an_error_says_where_what_was_expected_and_what_came():
    with pytest.raises(CorruptDataError, match=r"^header: lanes: expected 1 to 3, got 9$") as caught:
        container.unpack(with_field(container.pack(coded()), "lanes", 9))
    assert caught.value.offset == headers.OFFSETS["lanes"]


def with_lane_table(data, table):
    return sealed(data[:44] + struct.pack(f"<{len(table)}I", *table) + data[44 + 4 * len(table) :])


@pytest.mark.parametrize(
    "change",
    [
        (1, 0),
        (0, 1),
        (-1, 0),
        (1 << 30, 0),  # 4 bytes a word: 2^32 in all
        (1 << 31, 1 << 31),
    ],
)
def test_a_lane_table_for_another_payload_is_refused(change):
    file = coded()
    data = container.pack(file)
    table = [words + more for words, more in zip(file.lane_table, change, strict=True)]
    expected = len(data) + 4 * sum(change)
    with pytest.raises(CorruptDataError, match=f"^file: expected {expected} bytes, got {len(data)}$") as caught:
        container.unpack(with_lane_table(data, table))
    assert caught.value.offset == min(expected, len(data))


def test_the_largest_lane_table_is_refused():
    data = container.pack(coded(height=8 * 64, lanes=8))
    with pytest.raises(CorruptDataError, match=r"^file: expected 1374\d{8} bytes, got"):
        container.unpack(with_lane_table(data, [0xFFFFFFFF] * 8))


def test_every_truncation_behind_a_right_checksum_is_refused():
    data = container.pack(coded())
    for length in range(28, len(data)):
        least = next((end for end in (44, 44 + 4 * 2) if length < end), None)
        expected = len(data) if least is None else f"at least {least}"
        with pytest.raises(CorruptDataError, match=f"^file: expected {expected} bytes, got {length}$") as caught:
            container.unpack(sealed(data[:length]))
        assert caught.value.offset == length


def test_another_version_is_unsupported():
    with pytest.raises(UnsupportedError, match="expected format version 0, got 1"):
        container.unpack(with_field(container.pack(coded()), "version", 1))


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
    data = with_field(container.pack(coded(max_error=0, mode="RGB")), "width", 200_000)
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
    data = container.pack(file)
    assert container.unpack(data) == file
    for fidelity, degree in ((Fidelity.NEAR_LOSSLESS, 1), (Fidelity.LOSSY, 50)):
        with pytest.raises(CorruptDataError, match="mode: expected one that is coded"):
            container.unpack(with_field(with_field(data, "fidelity", fidelity), "degree", degree))
    with pytest.raises(CorruptDataError, match="mode: expected one that is coded"):
        container.unpack(with_field(data, "mode", headers.MODES.index("P")))


@pytest.mark.parametrize("band_height", [1, 28, 63, 1024])
def test_bands_may_have_any_height(band_height):
    file = replace(coded(height=1024, lanes=1), coding=replace(coded().coding, lanes=1, band_height=band_height))
    assert container.unpack(container.pack(file)).coding.band_height == band_height


def test_contradicting_parts_are_not_packed():
    with pytest.raises(ValueError, match="alpha_bytes"):
        container.pack(replace(coded(), alpha=b""))
    with pytest.raises(ValueError, match=r"^payload: expected \d+ bytes, got 0$"):
        container.pack(replace(coded(), payload=b""))
    with pytest.raises(ValueError, match=r"^lane table: expected 2 lanes, got 3$"):
        container.pack(replace(coded(), lane_table=(1, 2, 3)))
