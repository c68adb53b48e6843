"""The ledger of an archive adds up to the bit, and its rows are those of its images' own ledgers."""

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

import codec
from codec import api
from codec.archive import blocks
from codec.commands import cli, demo, warm_up
from codec.encoder import encoding
from codec.format import container
from codec.format.archive_sections import TRAILER_BYTES, is_archive
from codec.format.headers import Fidelity, Latents
from codec.ledger import tables
from codec.ledger.ledger import ARCHIVE_ROWS, MESSAGE_ROWS, Promises
from codec.vlae import decoding


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """Compile all kernels now, so that no message about it comes in the middle of a test."""
    for lossy in (False, True):
        warm_up.prepare(lambda line: None, for_lossy=lossy)


def crop(width, height, mode="RGB", seed=0):
    """Return a part of the demo's picture."""
    left, top = 7 * seed % 40, 5 * seed % 20
    return Image.fromarray(
        np.tile(
            demo.draw(),
            (2, 2, 1),
        )[top : top + height, left : left + width]
    ).convert(mode)


def sizes():
    """Return images of several sizes, some of more than one band, and grey, transparent and stored ones."""
    images = {
        "wide": crop(130, 20),
        "tall/a": crop(30, 150, seed=1),
        "small": crop(9, 7, seed=2),
        "grey": crop(70, 66, "L", 3),
        "clear": crop(40, 90, "RGBA", 4),
        "palette": crop(30, 20, "P", 5),
        "last": crop(64, 64, seed=6),
    }
    images["wide"].info["icc_profile"] = b"a profile"
    return images


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Return the path of an archive with all fidelities, three additions and several blocks."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.vlar"
    codec.create_archive(path, sizes(), lossless=True, block=4, processes=1)
    for options in ({"max_error": 2}, {"quality": 40}):
        named = {f"{options}/{name}": image for name, image in sizes().items()}
        codec.add_to_archive(path, named, block=5, processes=1, **options)
    return path


@pytest.fixture(scope="module")
def entries(mixed):
    with codec.Archive(mixed) as archive:
        return archive.entries


@pytest.fixture(scope="module")
def measured(mixed):
    return codec.measure_archive(mixed, processes=1)


def code_latents_as(latents, monkeypatch):
    """Make all images code their latents in one way. By default small images have none."""
    encode = encoding.encode
    monkeypatch.setattr(encoding, "encode", lambda model, x, d, _, **options: encode(model, x, d, latents, **options))


def test_all_rows_sum_to_the_file(measured, mixed, entries):
    assert measured.file_bits == 8 * mixed.stat().st_size
    assert math.fsum(measured.rows.values()) == pytest.approx(measured.file_bits, abs=0.01)
    assert tuple(measured.rows) == ARCHIVE_ROWS
    assert {entry.header.fidelity for entry in entries.values()} == set(Fidelity)
    assert measured.images == len(entries) == 21
    assert measured.stored == sum(entry.header.fidelity == Fidelity.STORED for entry in entries.values())
    images = sizes()
    exact = sum(i.width * i.height * len(i.getbands()) for i in images.values())
    in_place_of_indices = 2 * images["palette"].width * images["palette"].height  # lossy files have no palette
    assert measured.samples == 3 * exact + in_place_of_indices
    assert measured.bpsp == measured.file_bits / measured.samples


def test_parts_have_their_rows(measured, entries):
    rows = measured.rows
    assert rows["header_bits"] == 8 * 5
    sections, blocks = 3, 2 + 2 + 2
    assert rows["checksum_bits"] == 32 * (measured.images + blocks + 2 * sections)
    trailers = 8 * TRAILER_BYTES * sections - 64 * sections
    assert trailers < rows["index_bits"] < trailers + 8 * sum(30 + len(name) for name in entries)
    assert rows["ignored_bits"] == 0
    assert rows["lane_table_bits"] == 0  # the index has the lengths
    for name in ("metadata", "alpha", "stored"):
        assert rows[f"{name}_bits"] > 0, name
    model = math.fsum(rows[name] for name in MESSAGE_ROWS)
    assert model == pytest.approx(measured.message_bits, abs=0.01)


def test_the_messages_are_as_long_as_promised(measured):
    elbo = measured.promises.elbo
    excess = measured.message_bits + measured.rows["adaptation_bits"] - elbo.bits
    assert measured.message_overhead_percent == pytest.approx(100 * excess / elbo.bits)
    fixed = measured.rows["initial_bits"] + measured.rows["rans_bits"]
    assert abs(excess - fixed) < 0.005 * elbo.bits + 4 * elbo.stderr_bits


def test_what_a_crash_left_has_a_row(mixed, tmp_path, measured):
    path = tmp_path / "longer.vlar"
    shutil.copy(mixed, path)
    with path.open("ab") as file:
        file.write(b"left behind")
    report = codec.measure_archive(path, processes=1)
    assert report.rows["ignored_bits"] == 88
    assert math.fsum(report.rows.values()) == pytest.approx(report.file_bits, abs=0.01)
    assert report.promises == measured.promises


def test_the_number_of_processes_changes_nothing(mixed, measured):
    done = []
    report = codec.measure_archive(mixed, processes=2, report=done.append)
    assert report == measured
    assert sum(done) == measured.images


@pytest.mark.parametrize("latents", list(Latents))
def test_an_archive_of_one_image_has_the_rows_of_its_file(tmp_path, monkeypatch, latents):
    code_latents_as(latents, monkeypatch)
    image = crop(90, 140)
    codec.create_archive(tmp_path / "one.vlar", {"one": image}, lossless=True, processes=1)
    report = codec.measure_archive(tmp_path / "one.vlar", processes=1, importance=3)
    file = codec.measure(image, lossless=True, importance=3)
    assert file.info.latents == latents.name.lower().replace("_", "-")
    assert report.promises.elbo == file.ledger.promises.elbo
    if latents == Latents.BITS_BACK:  # other bits choose z
        assert report.message_bits == pytest.approx(file.ledger.message_bits, rel=0.01)
        return
    for name in (*MESSAGE_ROWS, "alpha_bits", "metadata_bits", "adaptation_bits"):
        # The checksum in a file's message takes the place of bits that say nothing, and changes how bytes are filled.
        within = 31 + 8 if name == "rans_bits" else 1e-6
        assert report.rows[name] == pytest.approx(file.ledger.rows[name], abs=within), name
    assert report.promises == file.ledger.promises


def test_initial_bits_are_paid_once_in_a_chain(tmp_path, monkeypatch):
    code_latents_as(Latents.BITS_BACK, monkeypatch)
    images = {f"{seed}": crop(70, 60, seed=seed) for seed in range(4)}
    reports = []
    for block in (1, 4):
        path = tmp_path / f"{block}.vlar"
        codec.create_archive(path, images, lossless=True, block=block, processes=1)
        reports.append(codec.measure_archive(path, processes=1))
    alone, chained = reports
    assert alone.rows["initial_bits"] == pytest.approx(-alone.rows["posterior_bits"])
    last = codec.measure(images["3"], lossless=True).ledger
    assert chained.rows["initial_bits"] == pytest.approx(last.rows["initial_bits"])
    assert chained.promises.elbo == alone.promises.elbo
    assert chained.message_overhead_percent < alone.message_overhead_percent
    assert alone.promises.saved_bits == 0 != chained.promises.saved_bits
    # Of one message in place of four, the bits below the first symbol and those that fill a byte are paid once.
    assert alone.rows["rans_bits"] - chained.rows["rans_bits"] == pytest.approx(3 * 34.5, abs=3 * 4.5)


def test_each_image_is_decoded_once(mixed, measured, monkeypatch):
    decoded = []
    pop = decoding.pop_bands
    monkeypatch.setattr(decoding, "pop_bands", lambda *a, **k: (decoded.append(1), pop(*a, **k)))
    codec.measure_archive(mixed, processes=1)
    assert len(decoded) == measured.images - measured.stored


def test_an_archive_of_stored_images_is_promised_nothing(tmp_path):
    path = tmp_path / "stored.vlar"
    codec.create_archive(path, {"a": crop(9, 9, "P"), "b": crop(5, 9, "P")}, lossless=True, processes=1)
    report = codec.measure_archive(path, processes=1, importance=2)
    assert report.promises == Promises()
    assert report.message_overhead_percent is report.as_dict()["elbo_bits"] is None
    assert sum(report.rows.values()) == report.file_bits
    assert report.message_bits == sum(report.rows[name] for name in MESSAGE_ROWS) == 0


def test_a_raster_is_that_of_a_coded_image_only(mixed):
    with codec.Archive(mixed) as archive:
        begin, block = next(b for b in archive.blocks() if any(i.coding is None for i in b[1].images))
    index = next(i for i, image in enumerate(block.images) if image.coding is None)
    data = mixed.read_bytes()[begin : begin + block.length]
    with pytest.raises(ValueError, match="expected a coded image"):
        blocks.BlockReader(block, data).raster(index)


# ---- On the command line ----------------------------------------------------------------------


def test_measure_prints_the_ledger_of_an_archive(mixed, measured, capfd):
    assert cli.run(["measure", str(mixed), "--json", "--importance", "2"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["file"] == str(mixed)
    assert {name: found[name] for name in ARCHIVE_ROWS} == dict(measured.rows)
    assert found["elbo_bits"] == measured.promises.elbo.bits
    assert found["overhead_percent"] == measured.message_overhead_percent
    assert found["importance_samples"] == 2
    assert found["importance_bits"] < found["elbo_bits"]
    assert cli.run(["measure", str(mixed)]) == 0
    out, err = capfd.readouterr()
    assert out == f"{tables.archive_table(str(mixed), measured)}\n"
    assert err == ""
    for word in ("21 images, ", "pixel", "index", "archive", "promised (ELBO)"):
        assert word in out
    assert "ignored" not in out
    assert "importance" not in out


@pytest.mark.parametrize("more", [["--lossless"], ["--max-error", "0"], ["--effort", "2"], ["picture"]])
def test_an_archive_is_measured_as_it_is(mixed, tmp_path, capfd, more):
    crop(9, 9).save(tmp_path / "picture", "PNG")
    more = [str(tmp_path / "picture") if argument == "picture" else argument for argument in more]
    assert cli.run(["measure", str(mixed), *more]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"vlae: {mixed}: an archive is measured as it is, without images or their options\n"


def test_a_damaged_archive_is_an_error(mixed, tmp_path, capfd):
    data = bytearray(mixed.read_bytes())
    data[100] ^= 1
    (tmp_path / "bad.vlar").write_bytes(data)
    assert cli.run(["measure", str(tmp_path / "bad.vlar")]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "checksum" in err


def test_archives_are_known_by_how_they_begin(mixed, tmp_path):
    assert is_archive(mixed)
    (tmp_path / "short").write_bytes(b"VL")
    (tmp_path / "file.vlar").write_bytes(container.pack(container.unpack(api.compress(crop(9, 9), lossless=True))))
    assert not is_archive(tmp_path / "short")
    assert not is_archive(tmp_path / "file.vlar")
