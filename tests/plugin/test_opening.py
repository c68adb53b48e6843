"""Opening our files with Pillow: what is known before decoding, what is decoded, and what damage leads to."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError
from support import registries

import codec
from codec.commands import demo
from codec.errors import CodecError
from codec.format import container, metadata
from codec.images import lossy_decoder

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text("utf-8"))
LOSSY = sorted(name for name, entry in MANIFEST.items() if entry["fidelity"] == "lossy")
TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
"""EXIF with the orientation 6: the image is to be turned by a quarter."""
METADATA = {"icc_profile": b"a profile", "exif": TURNED, "xmp": b"<x/>"}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    registries.restored(monkeypatch)
    codec.register_opener()


def described(name, entries=METADATA):
    """Return a golden file with metadata."""
    file = container.unpack((GOLDEN / name).read_bytes())
    return container.pack(replace(file, metadata=metadata.pack(entries)))


def run(code):
    """Return the words that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.split()


class Counted(BytesIO):
    """A file that knows how far it was read."""

    furthest = 0

    def read(self, *arguments):
        data = super().read(*arguments)
        self.furthest = max(self.furthest, self.tell())
        return data


HELD = [name for name, entry in MANIFEST.items() if entry["mode"] not in ("LA;16", "RGB;16", "RGBA;16")]
"""Golden files of images that Pillow can hold."""


@pytest.mark.parametrize("name", sorted(set(MANIFEST) - set(HELD)))
def test_16_bits_that_pillow_does_not_hold_are_refused_with_advice(name):
    with pytest.raises(OSError, match=f"mode {MANIFEST[name]['mode']}, .*codec.decompress returns an array"):
        Image.open(GOLDEN / name)


@pytest.mark.parametrize("name", HELD)
def test_an_opened_file_is_what_it_decodes_to(name):
    with Image.open(GOLDEN / name) as image:
        entry = MANIFEST[name]
        assert (image.format, image.mode, image.size) == ("VLAE", entry["mode"], (entry["width"], entry["height"]))
        assert image.get_format_mimetype() == "image/vlae"
        expected = codec.decompress(GOLDEN / name)
        assert image.convert("RGBA").tobytes() == expected.convert("RGBA").tobytes()
        assert image.tobytes() == expected.tobytes()
        assert image.mode == entry["mode"]


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "file"])
def test_sources(kind, tmp_path):
    path = GOLDEN / "lossless-tiny.vlae"
    expected = codec.decompress(path)
    if kind == "file":
        with path.open("rb") as file, Image.open(file) as image:
            assert image.tobytes() == expected.tobytes()
            assert not file.closed
    else:
        source = {"path": path, "text": str(path), "bytes": BytesIO(path.read_bytes())}[kind]
        with Image.open(source) as image:
            assert image.tobytes() == expected.tobytes()


def test_opening_reads_no_more_than_the_metadata():
    data = described("lossless-rgb-bits-back.vlae", {"icc_profile": np.random.default_rng(0).bytes(100_000)})
    file = Counted(data)
    with Image.open(file) as image:
        assert image.size == (40, 140)
        assert len(image.info["icc_profile"]) == 100_000
        assert 100_000 < file.furthest < 100_200
        assert len(data) > 105_000
        image.load()
    assert file.furthest == len(data)


def test_opening_loads_neither_numpy_nor_the_compiler():
    code = (
        "import sys, codec.VlaeImagePlugin; from PIL import Image; from pathlib import Path\n"
        f"for path in map(Path('tests/golden').joinpath, {HELD}):\n"
        "    with Image.open(path) as image: print(path.name, *image.size, *image.info, image.getexif())\n"
        "print(*sys.modules)"
    )
    words = run(code)
    assert set(HELD) <= set(words)
    assert not {word.split(".")[0] for word in words} & {"numpy", "numba", "torch"}


def test_nothing_is_registered_before_it_is_asked_for():
    path = GOLDEN / "lossless-tiny.vlae"
    (answer,) = run(
        f"import codec; from PIL import Image\ntry: Image.open({str(path)!r})\nexcept OSError: print('unknown')"
    )
    assert answer == "unknown"
    assert run(f"import codec.VlaeImagePlugin; from PIL import Image; print(Image.open({str(path)!r}).mode)") == ["RGB"]


def test_registering_again_changes_nothing():
    before = Image.ID.copy(), Image.OPEN.copy(), Image.SAVE.copy()
    codec.register_opener()
    assert before == (Image.ID, Image.OPEN, Image.SAVE)


@pytest.mark.parametrize("name", ["stored-palette.vlae", "lossy-rgba.vlae", "lossless-grey-no-latents.vlae"])
def test_metadata_is_there_before_the_pixels(name):
    with Image.open(BytesIO(described(name))) as image:
        assert {key: image.info[key] for key in METADATA} == METADATA
        assert image.getexif()[274] == 6
        assert image.tile
        image.load()
        assert {key: image.info[key] for key in METADATA} == METADATA


def test_the_orientation_is_applied():
    with Image.open(BytesIO(described("lossless-tiny.vlae"))) as image:
        turned = ImageOps.exif_transpose(image)
        assert turned.size == image.size[::-1]
        assert turned.tobytes() == image.transpose(Image.Transpose.ROTATE_270).tobytes()


def test_dropped_names_and_the_transparent_colour_are_there():
    picture = Image.fromarray(demo.draw()[:20, :30])
    picture.info = {"transparency": (1, 2, 3), "comment": "a comment"}
    with Image.open(BytesIO(codec.compress(picture, lossless=True))) as image:
        assert image.info == {"dropped": ("comment",)}
        image.load()
        assert image.info == {"dropped": ("comment",), "transparency": (1, 2, 3)}


@pytest.mark.parametrize("name", ["stored-palette.vlae", "lossy-rgba.vlae", "lossless-bits.vlae"])
def test_an_opened_image_can_be_pickled(name):
    with Image.open(BytesIO(described(name))) as image:
        copy = pickle.loads(pickle.dumps(image))  # noqa: S301
        assert copy.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
        assert (copy.mode, copy.info, copy.format) == (image.mode, image.info, "VLAE")
        copy.thumbnail((5, 5))
        assert max(copy.size) == 5


def test_a_closed_image_cannot_be_loaded():
    image = Image.open(GOLDEN / "lossless-tiny.vlae")
    image.verify()
    with pytest.raises(ValueError, match="closed"):
        image.load()


def test_an_opened_image_can_be_compressed_again():
    expected = codec.decompress(GOLDEN / "lossless-tiny.vlae")
    with Image.open(GOLDEN / "lossless-tiny.vlae") as image:
        assert codec.decompress(codec.compress(image, lossless=True)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("limit", [None, 100, 1400])
def test_the_limit_is_pillows(limit, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(container, "PIXEL_LIMIT", 10)
    path = GOLDEN / "lossless-tiny.vlae"
    if limit == 100:
        with pytest.raises(Image.DecompressionBombError):
            Image.open(path)
    else:
        with Image.open(path) as image:
            image.load()


class TestReduced:
    """`draft` and thumbnails of lossy files."""

    @pytest.mark.parametrize("name", LOSSY)
    def test_draft_returns_an_eighth(self, name, monkeypatch):
        full = codec.decompress(GOLDEN / name)
        monkeypatch.setattr(lossy_decoder, "synthesise", None)  # this takes the time
        with Image.open(GOLDEN / name) as image:
            width, height = image.size
            assert image.draft("L", (width // 8, height // 8)) == (full.mode, (0, 0, width / 8, height / 8))
            assert image.draft(None, (1, 1)) is None
            expected = full.reduce(8)
            assert (image.mode, image.size) == (full.mode, expected.size)
            difference = np.asarray(image).astype(int) - np.asarray(expected)
            assert abs(difference).mean() < 4
            if full.mode == "RGBA":
                assert not difference[..., 3].any()
            assert image.size == expected.size

    def test_a_thumbnail_is_close_to_that_of_the_whole_image(self):
        full = codec.decompress(GOLDEN / "lossy-rgb.vlae")
        full.thumbnail((16, 16))
        with Image.open(GOLDEN / "lossy-rgb.vlae") as image:
            image.thumbnail((16, 16))
            assert image.size == full.size
            assert abs(np.asarray(image).astype(int) - np.asarray(full)).mean() < 4

    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("lossy-rgb.vlae", (8, 1)),
            ("lossy-rgb.vlae", (1, 34)),
            ("lossy-rgb.vlae", None),
            ("lossless-tiny.vlae", (1, 1)),
        ],
    )
    def test_draft_leaves_an_image_that_an_eighth_does_not_serve(self, name, size):
        with Image.open(GOLDEN / name) as image:
            whole = image.size
            assert image.draft("RGB", size) is None
            assert image.size == whole
            assert image.tobytes() == codec.decompress(GOLDEN / name).tobytes()


class TestDamage:
    """No damage leads to an error that is no OSError, or to a wrong image."""

    @pytest.mark.parametrize("name", ["lossy-rgba.vlae", "stored-palette.vlae"])
    def test_every_cut(self, name):
        data = described(name)
        opened = 0
        for length in range(len(data)):
            try:
                image = Image.open(BytesIO(data[:length]))
            except UnidentifiedImageError:
                continue
            opened += 1
            with pytest.raises(OSError, match="file"):
                image.load()
            with pytest.raises(OSError, match="file"):
                image.verify()
        assert opened >= 1

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("name", ["lossy-rgba.vlae", "stored-palette.vlae"])
    def test_every_bit_before_the_payload(self, name):
        data = described(name)
        for bit in range(8 * min(140, len(data))):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises((OSError, Image.DecompressionBombError)) as caught:  # noqa: PT012
                image = Image.open(BytesIO(damaged))
                image.load()
            known = UnidentifiedImageError, Image.DecompressionBombError
            assert isinstance(caught.value, known) or isinstance(caught.value.__cause__, CodecError)

    def test_a_payload_that_is_forged(self):
        file = container.unpack((GOLDEN / "lossless-tiny.vlae").read_bytes())
        payload = bytearray(file.payload)
        payload[len(payload) // 2] ^= 1
        image = Image.open(BytesIO(container.pack(replace(file, payload=bytes(payload)))))
        for _ in range(2):
            with pytest.raises(OSError, match=r".") as caught:
                image.load()
            assert isinstance(caught.value.__cause__, CodecError)

    def test_another_version_is_named(self):
        data = bytearray((GOLDEN / "lossless-tiny.vlae").read_bytes())
        data[4] = 9
        with pytest.raises(OSError, match="expected format version 0, got 9"):
            Image.open(BytesIO(data))

    def test_verify_reads_the_whole_file_and_decodes_nothing(self, monkeypatch):
        data = (GOLDEN / "lossy-rgb.vlae").read_bytes()
        monkeypatch.setattr(lossy_decoder, "synthesise", None)
        Image.open(BytesIO(data)).verify()
        with pytest.raises(OSError, match="checksum"):
            Image.open(BytesIO(data[:-1] + bytes([data[-1] ^ 1]))).verify()

    def test_a_file_that_changes_after_it_was_opened(self):
        file = BytesIO((GOLDEN / "lossless-tiny.vlae").read_bytes())
        image = Image.open(file)
        file.seek(0)
        file.write((GOLDEN / "stored-palette.vlae").read_bytes())
        file.truncate()
        with pytest.raises(OSError, match="changed"):
            image.load()


class TestOtherLibraries:
    """Libraries that open images with Pillow."""

    def test_imageio(self):
        imageio = pytest.importorskip("imageio.v3")
        path = GOLDEN / "lossless-tiny.vlae"
        assert np.array_equal(imageio.imread(path), np.asarray(codec.decompress(path)))
        assert imageio.improps(path).shape == (40, 35, 3)

    def test_matplotlib(self):
        image = pytest.importorskip("matplotlib.image")
        path = GOLDEN / "lossless-tiny.vlae"
        assert np.array_equal(image.imread(path), np.asarray(codec.decompress(path)))

    @pytest.mark.train
    def test_torchvision(self, tmp_path):
        datasets = pytest.importorskip("torchvision.datasets")
        (tmp_path / "class").mkdir()
        (tmp_path / "class" / "a.vlae").write_bytes((GOLDEN / "lossless-tiny.vlae").read_bytes())
        ((image, label),) = datasets.ImageFolder(tmp_path, is_valid_file=lambda name: name.endswith(".vlae"))
        assert label == 0
        assert image.tobytes() == codec.decompress(GOLDEN / "lossless-tiny.vlae").tobytes()
