"""Models that a caller names: those of digits and of tiny images, through files, archives and commands."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support import reference_decoder as reference
from support.make_golden import draw, draw_digit

import codec
from codec.commands.cli import EXIT_USAGE, run
from codec.errors import CorruptDataError, ImageError
from codec.format import container
from codec.format.headers import CODED_MODES, Fidelity, Latents
from codec.frozen.shipped import load_model, named_model, weights_path
from codec.vlae import decoding

BITS = ("mnist-static", "mnist-dynamic")
SIZES = [(28, 28), (1, 1), (30, 5), (9, 61)]


def same(a, b):
    return (a.mode, a.size, a.tobytes()) == (b.mode, b.size, b.tobytes())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BITS)
def test_bits_come_back(name, size):
    image = draw_digit(*size, seed=3)
    data = codec.compress(image, lossless=True, model=name)
    assert same(codec.decompress(data), image)
    facts = codec.info(data)
    assert sum(facts.part_bits.values()) == 8 * len(data)


def test_a_digit_is_coded_and_not_stored():
    data = codec.compress(draw_digit(28, 28, seed=1), lossless=True, model="mnist-static")
    facts = codec.info(data)
    assert (facts.fidelity, facts.mode) == ("lossless", "1")
    assert facts.part_bits["payload_bits"] < 500


@pytest.mark.parametrize("mode", CODED_MODES)
@pytest.mark.parametrize("size", [(32, 32), (3, 2), (50, 70)])
def test_samples_come_back(mode, size):
    image = draw(mode, *size, seed=2)
    data = codec.compress(image, lossless=True, model="tiny")
    assert same(codec.decompress(data), image)


def test_latents_alone_make_a_digit():
    data = codec.compress(draw_digit(28, 28, seed=1), lossless=True, model="mnist-static", latents=Latents.TWO_PART)
    likeliest = codec.decompress(data, latents_only=True)
    drawn = codec.decompress(data, latents_only=True, sample=5)
    assert likeliest.mode == drawn.mode == "1"
    assert likeliest.size == drawn.size == (28, 28)
    assert not same(drawn, codec.decompress(data, latents_only=True, sample=6))


@pytest.mark.parametrize("name", BITS)
def test_models_of_bits_refuse_grey(name):
    with pytest.raises(ImageError, match="codes bits, got mode L"):
        codec.compress(draw("L", 28, 28, 1), lossless=True, model=name)


@pytest.mark.parametrize("mode", ["1", "P"])
def test_models_of_samples_refuse_bits_and_palettes(mode):
    with pytest.raises(ImageError, match=f"codes samples, got mode {mode}"):
        codec.compress(Image.new(mode, (9, 9)), lossless=True, model="tiny")


def test_a_model_is_for_lossless_files():
    with pytest.raises(ValueError, match="expected lossless, too"):
        codec.compress(draw("RGB", 9, 9, 1), quality=50, model="tiny")


def test_an_unknown_model_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"expected one of .*mnist-static.*got 'nobody'"):
        weights_path("nobody")


def test_names_are_those_of_the_weights():
    for name in (*BITS, "tiny", "photo"):
        assert named_model(name).name == name


def test_a_file_of_another_kind_of_image_is_refused():
    file = container.unpack(codec.compress(draw_digit(28, 28, seed=1), lossless=True, model="mnist-static"))
    model = load_model(file.coding.model)
    for changes in ({"mode": "RGB"}, {"mode": "L", "fidelity": Fidelity.NEAR_LOSSLESS, "degree": 1}):
        with pytest.raises(CorruptDataError, match="codes bits, got "):
            decoding.blank(model, replace(file, header=replace(file.header, **changes)))


@pytest.mark.parametrize("name", BITS)
def test_grey_images_of_black_and_white_come_back_grey(name):
    digit = draw_digit(28, 28, seed=1)
    bits, grey = (codec.compress(image, lossless=True, model=name) for image in (digit, digit.convert("L")))
    assert same(codec.decompress(grey), digit.convert("L"))
    assert len(grey) == len(bits)
    assert reference.decode(grey, weights_path(name).parent)[1].tobytes() == digit.convert("L").tobytes()


def test_digits_in_an_archive_are_chained(tmp_path):
    images = {f"{seed}": draw_digit(28, 28, seed) for seed in range(40)}
    path = tmp_path / "digits.vlar"
    codec.create_archive(path, images, lossless=True, model="mnist-static", block=40, processes=1)
    alone = sum(len(codec.compress(image, lossless=True, model="mnist-static")) for image in images.values())
    with codec.Archive(path) as archive:
        assert all(same(archive[name], image) for name, image in images.items())
        assert archive.file_bytes < alone
    ledger = codec.measure_archive(path)
    assert sum(ledger.rows.values()) == pytest.approx(8 * path.stat().st_size, abs=1e-6)
    assert ledger.message_bits == pytest.approx(ledger.promises.elbo.bits, rel=0.05)


def test_commands_take_a_name(tmp_path):
    draw_digit(28, 28, seed=1).save(tmp_path / "digit.png")
    assert run(["compress", str(tmp_path / "digit.png"), "--lossless", "--model", "mnist-static", "-q"]) == 0
    assert run(["decompress", str(tmp_path / "digit.vlae"), "-o", str(tmp_path / "back.png"), "-q"]) == 0
    with Image.open(tmp_path / "digit.png") as image, Image.open(tmp_path / "back.png") as back:
        assert np.array_equal(np.asarray(image), np.asarray(back))
    archive = ["archive", "create", str(tmp_path / "a.vlar"), str(tmp_path / "digit.png"), "-q"]
    assert run([*archive, "--lossless", "--model", "mnist-dynamic"]) == 0
    assert run(["archive", "verify", str(tmp_path / "a.vlar"), "-q"]) == 0
    assert run(["measure", str(tmp_path / "digit.png"), "--lossless", "--model", "mnist-static"]) == 0


def test_commands_refuse_a_model_without_lossless(tmp_path, capsys):
    draw_digit(28, 28, seed=1).save(tmp_path / "digit.png")
    for command in (["compress", str(tmp_path / "digit.png")], ["archive", "create", "a.vlar", str(tmp_path)]):
        assert run([*command, "--model", "mnist-static"]) == EXIT_USAGE
        assert "lossless" in capsys.readouterr().err
