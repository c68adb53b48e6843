"""Files that hold more than Pillow returns are refused in one line, in all formats. Others are taken as they are."""

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import png as pypng
import pytest
import tifffile
from PIL import Image, UnidentifiedImageError, features

from codec.errors import ImageError
from codec.image_files import conversion, loading, source_depth

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Pillow's, of IM

SIZE = (12, 10)


def drawn(channels, dtype=np.uint8, bits=None):
    """Return random samples (H, W[, C]) whose lowest bits count."""
    top = 1 << (bits or 8 * np.dtype(dtype).itemsize)
    shape = (SIZE[1], SIZE[0], channels) if channels > 1 else (SIZE[1], SIZE[0])
    return np.random.default_rng(channels).integers(0, top, shape).astype(dtype)


def refusal(data):
    """Return the one line with which a file is refused, from its bytes and as an image that Pillow opened."""
    with pytest.raises(ImageError) as caught:
        loading.load_image(data)
    assert "\n" not in str(caught.value)
    if "not an image" not in str(caught.value):
        with pytest.raises(ImageError, match="expected"):
            conversion.from_pillow(Image.open(BytesIO(data)))
    return str(caught.value)


def assert_whole(data, samples):
    """Check that a file is taken, sample by sample."""
    assert np.array_equal(np.asarray(loading.load_image(data)), samples)
    conversion.from_pillow(Image.open(BytesIO(data)))


def assert_deep(data, samples, bits=16):
    """Check that a file of more than 8 bits is taken, from its bytes and as an image that Pillow opened."""
    expected = (samples.astype(np.int64) * 65535 * 2 + (1 << bits) - 1) // (2 * ((1 << bits) - 1))
    found = loading.load_image(data)
    assert found.samples.dtype == np.uint16
    assert np.array_equal(found.samples.squeeze(), expected.squeeze())
    try:
        image = Image.open(BytesIO(data))
    except UnidentifiedImageError:
        return
    assert np.array_equal(loading.wide_of(image).samples, found.samples)


def saved(kind, samples, **options):
    buffer = BytesIO()
    Image.fromarray(samples).save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_format_of_pillow_has_its_place():
    Image.init()
    places = (source_depth.WHOLE, source_depth.REFUSED, frozenset(source_depth.CHECKS))
    # A plugin that is installed beside Pillow adds formats, which are refused.
    own = {name for name, (factory, _) in Image.OPEN.items() if factory.__module__.startswith("PIL.")}
    assert own - {"FPX", "MIC"} <= frozenset.union(*places)
    assert sum(map(len, places)) == len(frozenset.union(*places))


def test_a_format_that_nobody_knows_is_refused():
    image = Image.new("RGB", SIZE)
    image.format = "HEIF"
    with pytest.raises(ImageError, match="expected a format that tells what it holds, got HEIF"):
        conversion.from_pillow(image)
    assert conversion.from_pillow(image.copy()).mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize(
    "kind",
    ["BMP", "DDS", "DIB", "GIF", "ICO", "IM", "MSP", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF"],
)
def test_what_pillow_hands_down_whole_is_taken(kind, mode):
    samples = drawn(len(Image.new(mode, (1, 1)).getbands()))
    image = Image.fromarray(samples).convert(mode)
    buffer = BytesIO()
    try:
        image.save(buffer, kind)
    except (OSError, ValueError):
        pytest.skip(f"{kind} has no {mode}")
    if kind in ("BMP", "DIB") and mode == "RGBA":
        assert "expected 3 channels, got 4" in refusal(buffer.getvalue())
        return
    expected = Image.open(BytesIO(buffer.getvalue()))
    assert_whole(buffer.getvalue(), np.asarray(expected))


# Libraries that write more than 8 bits, or more channels.


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint32, np.float32, np.float16, np.int8, np.int16])
def test_tiff_of_other_samples_is_refused(channels, dtype):
    buffer = BytesIO()
    tifffile.imwrite(buffer, drawn(channels, dtype, 7), photometric="rgb" if channels > 1 else "minisblack")
    refusal(buffer.getvalue())


@pytest.mark.parametrize(("channels", "extra"), [(1, ()), (2, ("unassalpha",)), (3, ()), (4, ("unassalpha",))])
@pytest.mark.parametrize("options", [{}, {"compression": "lzw", "predictor": True}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits_is_taken(channels, extra, options, order):
    samples = drawn(channels, np.uint16)
    planes = samples.transpose(2, 0, 1) if "planarconfig" in options and channels > 1 else samples
    photometric = "rgb" if channels > 2 else "minisblack"
    layout = (
        {"planarconfig": "contig"} | options
        if channels > 1
        else {k: options[k] for k in options if k != "planarconfig"}
    )
    buffer = BytesIO()
    tifffile.imwrite(
        buffer, np.ascontiguousarray(planes), photometric=photometric, extrasamples=extra, byteorder=order, **layout
    )
    assert_deep(buffer.getvalue(), samples)


def test_tiff_of_16_bits_is_turned_and_its_white_may_be_0():
    buffer = BytesIO()
    tifffile.imwrite(buffer, drawn(1, np.uint16), photometric="miniswhite", extratags=[(274, "H", 1, 6, True)])
    assert_deep(buffer.getvalue(), 65535 - np.rot90(drawn(1, np.uint16), -1))


@pytest.mark.parametrize(
    ("channels", "extra"),
    [(2, "unspecified"), (4, "unspecified"), (5, ("unassalpha", "unspecified")), (4, "assocalpha"), (2, "assocalpha")],
)
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}])
def test_tiff_of_further_channels_is_refused(channels, extra, options):
    samples = drawn(channels)
    if "planarconfig" in options:
        samples = np.ascontiguousarray(samples.transpose(2, 0, 1))
    extras = (extra,) if isinstance(extra, str) else extra
    photometric = "rgb" if channels - len(extras) == 3 else "minisblack"
    buffer = BytesIO()
    tifffile.imwrite(
        buffer, samples, photometric=photometric, extrasamples=extras, **{"planarconfig": "contig"} | options
    )
    refusal(buffer.getvalue())


@pytest.mark.parametrize(
    ("channels", "options"),
    [(1, {}), (3, {}), (2, {"extrasamples": ("unassalpha",)}), (4, {"extrasamples": ("unassalpha",)})],
)
def test_tiff_of_8_bits_is_taken(channels, options):
    samples = drawn(channels)
    buffer = BytesIO()
    photometric = "rgb" if channels > 2 else "minisblack"
    tifffile.imwrite(
        buffer, samples, photometric=photometric, planarconfig="contig" if channels > 1 else None, **options
    )
    assert_whole(buffer.getvalue(), samples)


def test_tiff_of_pages_is_refused_and_images_within_the_image_are_named():
    buffer = BytesIO()
    tifffile.imwrite(buffer, np.stack([drawn(3)] * 2), photometric="rgb")
    assert "expected 1 frame, got 2" in refusal(buffer.getvalue())
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(drawn(3), photometric="rgb", subifds=1)
        writer.write(drawn(3), photometric="rgb")
    assert loading.load_image(buffer.getvalue()).info["dropped"] == ("images within the image",)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(drawn(3), photometric="rgb", subifds=1, subfiletype=1)
        writer.write(drawn(3, np.uint16), photometric="rgb")
    assert "got a smaller copy of a raw photograph" in refusal(buffer.getvalue())


@pytest.mark.parametrize(("fine", "steps"), [(True, 257), (True, 256), (False, 250)])
def test_tiff_with_a_palette_of_16_bits_is_refused(fine, steps):
    buffer = BytesIO()
    colours = (np.arange(768, dtype=np.uint16) % 256 * steps).reshape(3, 256)
    tifffile.imwrite(buffer, drawn(1), photometric="palette", colormap=colours)
    if fine:
        assert_whole(buffer.getvalue(), drawn(1))
    else:
        assert "expected 8 bits a sample, got 16" in refusal(buffer.getvalue())


@pytest.mark.parametrize(("greyscale", "alpha"), [(True, False), (True, True), (False, False), (False, True)])
@pytest.mark.parametrize("bits", [8, 16])
def test_png_is_taken_at_8_bits_and_at_16(greyscale, alpha, bits):
    channels = (1 if greyscale else 3) + alpha
    samples = drawn(channels, np.uint16 if bits == 16 else np.uint8)
    buffer = BytesIO()
    writer = pypng.Writer(*SIZE, greyscale=greyscale, alpha=alpha, bitdepth=bits)
    writer.write(buffer, samples.reshape(SIZE[1], -1).tolist())
    if bits == 8:
        assert_whole(buffer.getvalue(), samples)
    else:
        assert_deep(buffer.getvalue(), samples)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 1), (12, 10), (33, 17)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_interlaced_png_of_16_bits_is_taken(size, channels, capfd):
    samples = np.random.default_rng(0).integers(0, 65536, (size[1], size[0], channels)).astype(np.uint16)
    buffer = BytesIO()
    writer = pypng.Writer(*size, greyscale=channels < 3, alpha=channels % 2 == 0, bitdepth=16, interlace=True)
    writer.write(buffer, samples.reshape(size[1], -1).tolist())
    assert np.array_equal(loading.load_image(buffer.getvalue()).samples, samples)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ImageError):
        loading.load_image(buffer.getvalue().replace(b"IDAT", b"IDOT"))


def test_a_transparent_colour_of_16_bits_becomes_alpha():
    data = png(16, 2, 3, chunk(b"tRNS", bytes(6)))
    found = loading.load_image(data).samples
    assert found.shape[2] == 4
    assert np.array_equal(found[:, :, 3] == 0, (found[:, :, :3] == 0).all(axis=2))


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_of_more_than_8_bits_is_taken(channels, bits):
    if not features.check("avif") or not imagecodecs.AVIF.available:
        pytest.skip("no AVIF")
    samples = drawn(channels, np.uint8 if bits == 8 else np.uint16, bits)
    data = bytes(imagecodecs.avif_encode(samples, bitspersample=bits, speed=10))
    if bits == 8:
        loading.load_image(data)
    else:
        assert_deep(data, imagecodecs.avif_decode(data), bits)


def test_avif_of_two_pictures_that_make_16_bits_is_refused():
    image = Image.new("RGB", SIZE)
    image.format = "AVIF"
    entry = struct.pack(">I4sIHH4s", 21, b"infe", 2 << 24, 1, 0, b"sato")
    assert source_depth.fault(image, b"....ftypavif" + entry) == "expected 8 bits a sample, got 16"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_jpeg2000_of_more_than_8_bits_is_taken(kind, channels, bits):
    if not features.check("jpg_2000") or not imagecodecs.JPEG2K.available:
        pytest.skip("no JPEG 2000")
    samples = drawn(channels, np.uint8 if bits == 8 else np.uint16, bits)
    data = bytes(imagecodecs.jpeg2k_encode(samples, bitspersample=bits, codecformat=kind, level=0))
    if bits == 8 and channels < 5:
        assert_whole(data, samples)
    elif channels < 5:
        assert_deep(data, samples, bits)
    else:
        refusal(data)


def test_jpeg_of_12_bits_is_refused():
    refusal(bytes(imagecodecs.jpeg8_encode(drawn(3, np.uint16, 12), bitspersample=12)))


# Pillow itself, and files drawn by hand.


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_frames_are_refused(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("no AVIF")
    more = [Image.fromarray(drawn(3)[::-1])]
    assert "expected 1 frame, got 2" in refusal(saved(kind, drawn(3), save_all=True, append_images=more))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("depth", [1, 2])
def test_sgi_of_16_bits_is_taken(channels, depth):
    data = saved("SGI", drawn(channels), bpc=depth)
    if depth == 1:
        assert_whole(data, drawn(channels))
    else:
        assert_deep(data, np.frombuffer(data[512:], ">u2").reshape(channels, *SIZE[::-1])[:, ::-1].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 2 1 1023\n" + b"\5\0" * 2, "expected samples up to 1023, got 1280"),
        (b"P6 2 1 65535\n" + bytes(11), "buffer"),
        (b"PF\n2 1\n-1.0\n" + bytes(24), "not an image"),
        (b"Pf\n2 1\n-1.0\n" + bytes(8), "floating point"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + bytes(4), "not an image"),
        (b"P5 2 1 255\nab" * 2, "expected 1 frame"),
        (b"P4 9 1\nab\nP4 9 1\nab", "expected 1 frame"),
    ],
)
def test_pnm_of_wrong_samples_and_of_frames_is_refused(data, message):
    assert message in refusal(data)


def test_pnm_of_more_than_8_bits_is_taken():
    values = np.array([[[1023, 0, 512], [1, 2, 3]]])
    big = values.astype(">u2").tobytes()
    assert_deep(b"P6 2 1 1023\n" + big, values, 10)
    assert_deep(b"P6 # a comment 1 1\n2 1 65535\n" + big, values)
    assert_deep(b"P5 3 2 1023\n" + big, values.reshape(2, 3), 10)
    assert_deep(b"P3 2 1 1023\n1023 0 512 # end\n1 2 3\n", values, 10)
    assert_deep(b"P2 3 2 1023\n1023 0 512 # end\n1 2 3\n", values.reshape(2, 3), 10)


def test_pnm_of_fewer_levels_is_taken():
    assert_whole(b"P6 1 1 255\n\1\2\3\n", np.array([[[1, 2, 3]]]))
    assert_whole(b"P5 2 1 3\n\1\3", np.array([[85, 255]]))


def dds(flags, code, bits, masks, body, *, caps2=0, more=b""):
    size = struct.pack("<7I", 124, 0x1007, SIZE[1], SIZE[0], 0, 0, 0)
    pixel_format = struct.pack("<2I4s5I", 32, flags, code, bits, *masks)
    return b"DDS " + size + bytes(44) + pixel_format + struct.pack("<5I", 0x1000, caps2, 0, 0, 0) + more + body


RGBA8 = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dds(0x41, bytes(4), 32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), bytes(480)), "got 10"),
        (dds(0x40, bytes(4), 32, (0xFFFF, 0xFFFF0000, 0, 0), bytes(480)), "got 16"),
        (dds(4, b"DX10", 0, (0,) * 4, bytes(960), more=struct.pack("<5I", 95, 3, 0, 1, 0)), "got 16"),
        (dds(4, b"DX10", 0, (0,) * 4, bytes(960), more=struct.pack("<5I", 98, 3, 0, 2, 0)), "1 frame"),
        (dds(0x41, bytes(4), 32, RGBA8, bytes(480 * 6), caps2=0xFE00), "1 frame"),
        (dds(0x41, bytes(4), 32, RGBA8, bytes(480), caps2=0x200000), "1 frame"),
    ],
    ids=["A2R10G10B10", "G16R16", "BC6H", "array", "cube", "volume"],
)
def test_dds_of_more_than_8_bits_is_refused(data, message):
    assert message in refusal(data)


def psd(mode, bits, channels):
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, SIZE[1], SIZE[0], bits, mode)
    samples = np.random.default_rng(0).bytes(SIZE[0] * SIZE[1] * channels * bits // 8)
    return header + bytes(12) + bytes(2) + samples


@pytest.mark.parametrize(
    ("mode", "bits", "channels"), [(1, 8, 2), (3, 8, 5), (3, 16, 3), (1, 16, 1), (3, 32, 3), (8, 8, 1)]
)
def test_psd_of_more_is_refused(mode, bits, channels):
    refusal(psd(mode, bits, channels))


@pytest.mark.parametrize(("mode", "channels"), [(1, 1), (3, 3), (3, 4)])
def test_psd_of_8_bits_without_layers_is_taken(mode, channels):
    data = psd(mode, 8, channels)
    samples = np.frombuffer(data[40:], np.uint8).reshape(channels, SIZE[1], SIZE[0]).transpose(1, 2, 0)
    assert_whole(data, samples[:, :, 0] if channels == 1 else samples)


def fits(cards, body):
    lines = [b"SIMPLE  =                    T"] + [b"%-8s= %20d" % card for card in cards] + [b"END"]
    header = b"".join(line.ljust(80) for line in lines)
    return header.ljust(2880) + body.ljust(2880, b"\0")


PLANE = [(b"NAXIS1", SIZE[0]), (b"NAXIS2", SIZE[1])]


@pytest.mark.parametrize("bits", [16, 32, -32, -64])
def test_fits_of_more_than_8_bits_is_refused(bits):
    refusal(fits([(b"BITPIX", bits), (b"NAXIS", 2), *PLANE], bytes(960)))


def test_fits_of_planes_is_refused_and_of_one_is_taken():
    assert "1 frame" in refusal(fits([(b"BITPIX", 8), (b"NAXIS", 3), *PLANE, (b"NAXIS3", 2)], bytes(240)))
    assert "1 frame" in refusal(fits([(b"BITPIX", 8), (b"NAXIS", 2), *PLANE], bytes(120)) + bytes(2880))
    assert_whole(fits([(b"BITPIX", 8), (b"NAXIS", 2), *PLANE], drawn(1)[::-1].tobytes()), drawn(1))


def bmp(bits, body, *, masks=(), compression=0):
    header = struct.pack("<IiiHHIIiiII", 40 + 4 * len(masks), SIZE[0], SIZE[1], 1, bits, compression, 0, 0, 0, 0, 0)
    header += struct.pack(f"<{len(masks)}I", *masks)
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, 14 + len(header)) + header + body


def test_bmp_with_bytes_that_pillow_leaves_out_is_refused():
    colours = drawn(4)
    for alpha in (0, 255):
        colours[:, :, 3] = alpha
        assert_whole(bmp(32, colours[::-1].tobytes()), colours[:, :, 2::-1])
    colours[3, 4, 3] = 7
    assert "expected 3 channels, got 4" in refusal(bmp(32, colours.tobytes()))
    assert "expected 3 channels, got 4" in refusal(bmp(32, colours.tobytes(), masks=(*RGBA8[:3], 0), compression=3))
    rows = bytes(2 * SIZE[0] * SIZE[1])
    assert "expected 3 channels, got 4" in refusal(bmp(16, rows, masks=(0x7C00, 0x3E0, 0x1F, 0x8000), compression=3))
    loading.load_image(bmp(16, rows, masks=(0x7C00, 0x3E0, 0x1F, 0), compression=3))
    data = bmp(32, colours[::-1].tobytes(), masks=RGBA8, compression=3)
    assert_whole(data, colours[:, :, [2, 1, 0, 3]])


def test_sun_raster_with_bytes_that_pillow_leaves_out_is_refused():
    colours = drawn(4)
    header = struct.pack(">8I", 0x59A66A95, *SIZE, 32, colours.size, 1, 0, 0)
    assert "expected 3 channels, got 4" in refusal(header + colours.tobytes())
    colours[:, :, 3] = 0
    assert_whole(header + colours.tobytes(), colours[:, :, 2::-1])


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(bits, colour, channels, *more):
    row = b"\0" + b"\x5a" * ((SIZE[0] * channels * bits + 7) // 8)
    head = struct.pack(">IIBBBBB", *SIZE, bits, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(row * SIZE[1])), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def ico(*entries):
    data, bodies = struct.pack("<HHH", 0, 1, len(entries)), b""
    for size, bits, body in entries:
        offset = 6 + 16 * len(entries) + len(bodies)
        data += struct.pack("<BBBBHHII", *size, 0, 0, 1, bits, len(body), offset)
        bodies += body
    return data + bodies


def test_icons_of_more_are_refused():
    assert loading.load_image(ico((SIZE, 32, png(8, 6, 4)))).mode == "RGBA"
    assert "got 16" in refusal(ico((SIZE, 64, png(16, 6, 4))))
    assert "transparent" in refusal(ico((SIZE, 24, png(8, 2, 3, chunk(b"tRNS", bytes(6))))))
    assert "largest size" in refusal(ico((SIZE, 32, png(8, 6, 4)), (SIZE, 8, png(8, 0, 1))))
    dib = bmp(32, bytes(480))[14:22] + struct.pack("<i", 20) + bmp(32, bytes(480))[26:] + bytes(40)
    assert "got 4" in refusal(ico((SIZE, 0, dib)))


def test_mac_icons_of_more_are_refused():
    data = saved("ICNS", drawn(3))
    assert loading.load_image(data).mode == "RGB"
    deep = png(16, 6, 4)
    assert "got 16" in refusal(b"icns" + struct.pack(">I4sI", 16 + len(deep), b"icp4", 8 + len(deep)) + deep)


def test_cursors_with_a_mask_are_refused():
    head = struct.pack("<HHH", 0, 2, 1) + struct.pack("<BBBBHHII", *SIZE, 0, 0, 1, 1, 0, 22)
    assert "cursor" in refusal(head + bmp(24, bytes(360 * 2))[14:22] + struct.pack("<i", 20) + bmp(24, bytes(760))[26:])


def test_grey_png_of_few_bits_keeps_its_transparent_grey():
    transparent = chunk(b"tRNS", struct.pack(">H", 5))
    assert loading.load_image(png(4, 0, 1)).mode == "L"
    for image in (loading.load_image(png(4, 0, 1, transparent)), Image.open(BytesIO(png(4, 0, 1, transparent)))):
        conversion.from_pillow(image)
        assert image.info["transparency"] == 5 * 17
    assert loading.load_image(png(8, 0, 1, transparent)).info["transparency"] == 5
    assert loading.load_image(png(1, 0, 1, transparent)).info["transparency"] == 255


def test_images_of_bands_or_tables_or_long_colours_are_refused():
    areas = [0, 4, 0, 0, 0, 0, 0, 0, SIZE[1], SIZE[0], 1, 0, 0, 2] + [0] * 50
    areas[33] = 256
    assert "expected 1 channels, got 2" in refusal(struct.pack(">64i", *areas) + bytes(240))
    xpm = b'/* XPM */\nstatic char *a[] = {\n"1 1 1 1",\n"a c #%s",\n"a"\n};\n'
    assert "expected colours of 6 digits" in refusal(xpm % b"0123456789ab")
    assert loading.load_image(xpm % b"012345").convert("RGB").getpixel((0, 0)) == (1, 0x23, 0x45)


def test_blp_with_a_plane_of_alpha_is_refused():
    head = b"BLP2" + struct.pack("<ibbbbII", 1, 1, 8, 0, 0, *SIZE)
    tables = struct.pack("<32I", *[20 + 128 + 1024], *[0] * 15, *[120], *[0] * 15)
    assert "plane" in refusal(head + tables + bytes(1024 + 120))
    whole = b"BLP2" + struct.pack("<ibbbbII", 1, 1, 0, 0, 0, *SIZE) + tables + bytes(1024 + 120)
    assert loading.load_image(whole).mode == "RGB"


@pytest.mark.parametrize("kind", sorted(source_depth.CHECKS))
def test_a_damaged_header_is_one_line(kind):
    image = Image.new("RGB", SIZE)
    image.format = kind
    for data in (b"\0", b"II*\0", bytes(200), bytes(range(256))):
        assert "\n" not in source_depth.fault(image, data)
