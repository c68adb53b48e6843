"""Archives: everything comes back, each image alone too; no damage or crash is ever more than an error."""

import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec.archive.blocks import BlockReader
from codec.archive.encoding import encode_block
from codec.commands import cli, demo, warm_up
from codec.encoder import encoding
from codec.entropy.stack import Stack
from codec.errors import CodecError, CorruptDataError, ImageError, UnsupportedError, UnsupportedImageError
from codec.format import archive_index, archive_sections, container
from codec.format.archive_index import check_name, pack_index, unpack_index
from codec.format.archive_sections import (
    IMAGE_LIMIT,
    INDEX_LIMIT,
    START,
    TRAILER_BYTES,
    TRAILER_MAGIC,
    pack_trailer,
    read_sections,
)
from codec.format.headers import Fidelity, Latents
from codec.frozen.shipped import load_model
from codec.image_files import conversion
from codec.image_files.loading import UnknownImageError
from codec.images.choice import reach
from codec.images.fidelities import Encoder
from codec.images.goals import goal_of
from codec.vlae import decoding

ROOT = Path(__file__).parents[2]
PICTURE = demo.draw()
METADATA = {"icc_profile": b"a profile", "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0", "xmp": b"<x/>"}

if sys.platform == "win32":
    pytest.skip("kills processes and makes links", allow_module_level=True)


def crop(size, mode="RGB", seed=0):
    """Return a part of the demo's picture in a mode, alpha not constant."""
    left, top = 7 * seed % 40, 5 * seed % 20
    image = Image.fromarray(PICTURE[top : top + size[1], left : left + size[0]])
    if mode in ("LA", "RGBA"):
        alpha = Image.fromarray(np.ascontiguousarray(PICTURE[top : top + size[1], left : left + size[0], 1]))
        image = image.convert(mode[:-1])
        image.putalpha(alpha)
        return image
    return image.convert(mode)


def mixed():
    """Return images of all modes and many sizes, one with metadata, two that are stored."""
    images = {
        "wide/rgb.png": crop((90, 20)),
        "tall.jpg": crop((20, 110), seed=1),
        "grey": crop((33, 70), "L", 2),
        "wide/alpha.png": crop((40, 30), "RGBA", 3),
        "grey alpha": crop((24, 24), "LA", 4),
        "palette": crop((30, 20), "P", 5),
        "bits": crop((30, 20), "1", 6),
        "pixel": crop((1, 1), seed=7),
        "row": crop((100, 1), seed=8),
        "ünï çödé/画像.png": crop((50, 66), seed=9),
    }
    images["wide/rgb.png"].info.update(METADATA)
    images["palette"].info.update(METADATA)
    return images


def assert_same(a, b):
    assert (a.mode, a.size) == (b.mode, b.size)
    assert a.tobytes() == b.tobytes()
    assert a.convert("RGBA").tobytes() == b.convert("RGBA").tobytes()
    for key in METADATA:
        assert a.info.get(key) == b.info.get(key)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the bytes of an archive of two additions, their length before the second, and the images' names."""
    path = tmp_path_factory.mktemp("small") / "small.vlar"
    first = {"a": crop((12, 9)), "b": crop((3, 4), "P")}
    second = {"c": crop((9, 12), "LA", 2), "d": crop((10, 10), seed=3), "e": crop((2, 2), "1")}
    codec.create_archive(path, first, lossless=True, processes=1)
    before = path.stat().st_size
    codec.add_to_archive(path, second, lossless=True, processes=1, block=2)
    return path.read_bytes(), before, {**first, **second}


def opened(tmp_path, data):
    """Return an archive of these bytes."""
    path = tmp_path / "bytes.vlar"
    path.write_bytes(data)
    return codec.Archive(path)


def rebuilt(blocks_and_data, start=START):
    """Return an archive of one section, with all its checksums right."""
    data = b"".join(data for _, data in blocks_and_data)
    index = pack_index([replace(block, crc=zlib.crc32(data)) for block, data in blocks_and_data], INDEX_LIMIT)
    return start + with_index(data, index)


def with_index(data, index):
    """Return a section of blocks and an index, with the right checksum of that."""
    return data + index + pack_trailer(index, len(data) + len(index) + TRAILER_BYTES)


def taken_apart(index):
    """Return the fields of an index, and the checksums behind them."""
    stream = zlib.decompressobj()
    return stream.decompress(index), stream.unused_data


@pytest.fixture(scope="module")
def block(small):
    """Return a block of a coded image and a stored one, and its bytes."""
    data, before, _ = small
    (section,) = read_sections(BytesIO(data[:before]))
    (found,) = section.blocks
    return found, data[section.start : section.start + found.length]


# What goes in comes back


def test_images_of_all_kinds_come_back_in_order(tmp_path):
    images = mixed()
    names = list(images)
    fidelities = [{"lossless": True}, {"max_error": 2}, {"quality": 50}, {}]
    path = tmp_path / "all.vlar"
    for number, fidelity in enumerate(fidelities):
        part = {f"{number}/{name}": image for name, image in images.items()}
        write = codec.add_to_archive if number else codec.create_archive
        write(path, part, block=4, processes=1, **fidelity)
    with codec.Archive(path) as archive:
        assert len(archive) == len(fidelities) * len(images)
        assert list(archive) == [f"{number}/{name}" for number in range(4) for name in names]
        for full, image in archive.items():
            number, name = full.split("/", 1)
            source = images[name]
            if number in "23" and (source.mode, image.mode) == ("P", "RGB"):  # lossy files have no palette
                source = source.convert("RGB")
            kind = archive.entries[full].header.fidelity
            if number == "0" or kind in (Fidelity.STORED, Fidelity.LOSSLESS):
                assert_same(image, source)
                continue
            assert (image.mode, image.size) == (source.mode, source.size)
            assert {key: image.info.get(key) for key in METADATA} == {key: source.info.get(key) for key in METADATA}
            a, b = (np.asarray(i).astype(int) for i in (image, source))
            if number == "1":
                assert np.abs(a - b).max() <= 2
            if source.mode in ("LA", "RGBA"):
                assert (a[..., -1] == b[..., -1]).all()
                a, b = (i[b[..., -1] > 0] for i in (a, b))  # what can be seen
            # A palette of the web is dithered, which no lossy file keeps.
            assert np.abs(a - b).mean() < (20 if name == "palette" else 8)
        kinds = {entry.header.fidelity for entry in archive.entries.values()}
        assert kinds == set(Fidelity)
        assert {entry.header.quality for entry in archive.entries.values()} >= {50, 65}
        assert sum(archive.part_bits().values()) == 8 * archive.file_bytes == 8 * path.stat().st_size
        archive.verify(processes=1)


def test_an_image_alone_is_what_it_is_among_all(tmp_path):
    path = tmp_path / "all.vlar"
    codec.create_archive(path, mixed(), quality=40, block=5, processes=1)
    with codec.Archive(path) as archive:
        together = {name: image.tobytes() for name, image in archive.items()}
    rng = np.random.default_rng(0)
    with codec.Archive(path) as archive:
        for name in rng.permutation(list(archive)).tolist() * 2:
            assert archive[name].tobytes() == together[name]
    for name in together:
        with codec.Archive(path) as archive:
            assert archive[name].tobytes() == together[name]


def test_only_the_chain_up_to_an_image_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "some.vlar"
    images = {f"{i}": crop((20, 20), seed=i) for i in range(6)} | {"p": crop((20, 20), "P")}
    codec.create_archive(path, images, lossless=True, block=4, processes=1)
    decoded = []
    pop = decoding.pop_bands
    monkeypatch.setattr(decoding, "pop_bands", lambda *a, **k: (decoded.append(1), pop(*a, **k)))
    with codec.Archive(path) as archive:
        for name, cost in (("p", 0), ("1", 2), ("1", 2), ("3", 2), ("5", 2), ("4", 1), ("0", 1)):
            decoded.clear()
            assert_same(archive[name], images[name])
            assert len(decoded) == cost, name
    with codec.Archive(path) as archive:
        decoded.clear()
        assert [image.tobytes() for image in archive.values()] == [image.tobytes() for image in images.values()]
        assert len(decoded) == 6


def test_membership_decodes_nothing(tmp_path, small, monkeypatch):
    monkeypatch.setattr(codec.Archive, "__getitem__", None)
    with opened(tmp_path, small[0]) as archive:
        assert "a" in archive
        assert "z" not in archive


def test_an_unknown_name_is_a_key_error(tmp_path, small):
    with opened(tmp_path, small[0]) as archive, pytest.raises(KeyError):
        _ = archive["z"]


def test_the_number_of_processes_changes_no_byte(tmp_path):
    images = {f"{i}": crop((40, 30), seed=i) for i in range(5)}
    done = []
    for processes in (1, 2):
        codec.create_archive(
            tmp_path / f"{processes}", images, lossless=True, block=2, processes=processes, report=done.append
        )
        assert sum(done) == 5
        done.clear()
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with codec.Archive(tmp_path / "1") as archive:
        paths = archive.extract(tmp_path / "out", processes=2, report=done.append)
    assert sum(done) == 5
    for path, image in zip(paths, images.values(), strict=True):
        with Image.open(path) as back:
            assert_same(back, image)


# The chain


@pytest.fixture
def always_bits_back(monkeypatch):
    monkeypatch.setattr(encoding, "choose", lambda image, *_: (Latents.BITS_BACK, None))


@pytest.mark.usefixtures("always_bits_back")
def test_images_borrow_from_those_after_them(tmp_path):
    images = {f"{i}": crop((100, 70), seed=i) for i in range(4)}
    sizes = {}
    for count in (1, 4):
        codec.create_archive(tmp_path / "a", images, lossless=True, model="photo", block=count, processes=1)
        with codec.Archive(tmp_path / "a") as archive:
            assert [entry.dry for entry in archive.entries.values()] == [count == 1] * 3 + [True]
            for name, image in archive.items():
                assert_same(image, images[name])
            sizes[count] = archive.part_bits()["message_bits"]
    # Of three images in two lanes each: a head, at least 31 bits, and half a bit of each of 32 latents.
    assert sizes[1] - sizes[4] > 3 * 2 * (31 + 32 // 2)


@pytest.mark.usefixtures("always_bits_back")
def test_an_image_that_finds_too_little_is_dry(tmp_path):
    images = {"a": crop((100, 70)), "b": crop((100, 70), seed=1), "c": crop((1, 1), "L")}
    codec.create_archive(tmp_path / "a", images, lossless=True, model="photo", processes=1)
    with codec.Archive(tmp_path / "a") as archive:
        # The pixel lends to one lane only, and not enough.
        assert [entry.dry for entry in archive.entries.values()] == [False, True, True]
        for name, image in archive.items():
            assert_same(image, images[name])


# Long chains


def tiny(count, size=(9, 9)):
    """Return tiny images, of which a few are repeated."""
    return {f"{i:04}": crop(size, "L", i % 50) for i in range(count)}


def many(tmp_path, images):
    """Return the path of an archive of one block."""
    path = tmp_path / f"{len(images)}.vlar"
    codec.create_archive(path, images, lossless=True, model="photo", block=len(images), processes=1)
    return path


@pytest.mark.usefixtures("always_bits_back")
def test_an_image_of_a_long_chain_costs_what_it_costs_in_a_short_one(tmp_path, monkeypatch):
    lifted, flattened = [], []
    lift, flatten = Stack.lift, Stack.flatten

    def lift_and_tell(stack, words):
        message, rest = lift(stack, words)
        lifted.append(len(message.tail))
        return message, rest

    monkeypatch.setattr(Stack, "lift", lift_and_tell)
    monkeypatch.setattr(Stack, "flatten", lambda stack: flattened.append(stack.size) or flatten(stack))
    sizes = {}
    for count in (50, 100, 300):
        lifted.clear()
        flattened.clear()
        path = many(tmp_path, tiny(count))
        with codec.Archive(path) as archive:
            sizes[count] = archive.part_bits()["message_bits"]
            assert sum(entry.dry for entry in archive.entries.values() if entry.coding) < 5
        # Encoding copied only the words that an image could borrow, and at the end once all words of the chain.
        assert len(lifted) < count + 10
        assert max(lifted) <= load_model().latents + 1 < max(flattened) / 10
        assert len(flattened) == 1
    assert sizes[300] - sizes[100] == pytest.approx(4 * (sizes[100] - sizes[50]), rel=0.01)


def test_a_long_chain_is_decoded_once_from_its_beginning_to_its_end(tmp_path, monkeypatch):
    images = tiny(300)
    path = many(tmp_path, images)
    popped, tails, counted = [], set(), []
    pop, demand = decoding.pop_bands, decoding.demand

    def pop_and_tell(image, messages, *arguments, **options):
        popped.append(1)
        pop(image, messages, *arguments, **options)
        tails.update(id(message.tail) for message in messages)
        kept.extend(message.tail for message in messages)  # so that no other gets its id

    kept = []
    monkeypatch.setattr(decoding, "pop_bands", pop_and_tell)
    monkeypatch.setattr(decoding, "demand", lambda *arguments: counted.append(1) or demand(*arguments))
    with codec.Archive(path) as archive:
        for name, image in archive.items():
            assert image.tobytes() == images[name].tobytes()
        assert len(popped) == len(counted) == len(images)
        assert len(tails) <= 2  # the words of the chain were not copied for each image
        assert archive["0007"].tobytes() == images["0007"].tobytes()
        assert len(popped) == len(images) + 8


def test_one_image_costs_its_block_only(tmp_path, monkeypatch):
    images = tiny(192)
    path = tmp_path / "a.vlar"
    codec.create_archive(path, images, lossless=True, model="photo", block=64, processes=1)
    popped = []
    pop = decoding.pop_bands
    monkeypatch.setattr(decoding, "pop_bands", lambda *a, **k: popped.append(1) or pop(*a, **k))
    with codec.Archive(path) as archive:
        (section,) = archive._sections
        begin, length = section.start + section.blocks[0].length, section.blocks[1].length
        archive._file = reads = Reads(archive._file)
        for name, cost in (("0100", 37), ("0127", 27), ("0064", 1)):
            popped.clear()
            assert archive[name].tobytes() == images[name].tobytes()
            assert len(popped) == cost
        assert reads.done == [(begin, length)]


class Reads:
    """A file that remembers what was read of it."""

    def __init__(self, file):
        self.file, self.done = file, []

    def seek(self, *place):
        return self.file.seek(*place)

    def read(self, length):
        self.done.append((self.file.tell(), length))
        return self.file.read(length)

    def close(self):
        self.file.close()


def test_a_block_may_have_thousands_of_images(tmp_path):
    images = {f"{i}": Image.new("L", (1, 1), i % 256) for i in range(1100)}
    with codec.Archive(many(tmp_path, images)) as archive:
        (block,) = archive._sections[0].blocks
        assert len(block.images) == len(images)
        assert all(image.coding is not None for image in block.images)
        assert archive["1099"].getpixel((0, 0)) == 1099 % 256


@pytest.mark.parametrize("fidelity", [{"lossless": True}, {"max_error": 1}, {"quality": 40}])
def test_the_size_of_a_file_is_what_it_adds_to_its_chain(fidelity):
    chains, before = {}, 0
    for seed, size in enumerate([(20, 30), (40, 200), (33, 10)]):
        image = crop(size, seed=seed)
        encoder = Encoder(image, conversion.from_pillow(image), None, 1, 1, None, chains)
        file = reach(encoder, goal_of(**fidelity))
        assert file.size == container.file_bytes(file.whole()) - before
        chains = {file.container.coding.model: file.chain}
        before = len(file.whole().payload)


@pytest.mark.parametrize("fidelity", [{"lossless": True}, {"max_error": 1}, {"quality": 40}])
def test_small_images_are_the_same_with_any_threads(fidelity):
    images = list({f"{i}": crop((31 + i, 33), seed=i) for i in range(6)}.items())
    blocks = [encode_block(images, goal_of(**fidelity), None, threads, lambda _: None)[:2] for threads in (None, 1, 3)]
    assert blocks[0] == blocks[1] == blocks[2]
    read = [[BlockReader(*blocks[0], threads).image(i).tobytes() for i in range(6)] for threads in (None, 1, 3)]
    assert read[0] == read[1] == read[2]


# Additions


def test_adding_keeps_what_is_there(small):
    data, before, _ = small
    assert [section.start for section in read_sections(BytesIO(data))] == [len(START), before]
    assert [section.end for section in read_sections(BytesIO(data[:before]))] == [before]


def test_a_cut_addition_leaves_the_archive_as_it_was(tmp_path, small):
    data, before, images = small
    for end in range(before, len(data) + 1):
        with opened(tmp_path, data[:end]) as archive:
            whole = end == len(data)
            assert list(archive) == (list(images) if whole else ["a", "b"])
            assert archive.ignored_bytes == (0 if whole else end - before)
            assert sum(archive.part_bits().values()) == 8 * end
            if end % 50 == 0:
                for name, image in archive.items():
                    assert_same(image, images[name])


def test_a_cut_first_section_is_refused(tmp_path, small):
    data, before, _ = small
    for end in range(before):
        with pytest.raises(CorruptDataError, match=r"^archive: "):
            opened(tmp_path, data[:end])


def test_adding_again_after_a_crash_gives_the_same_archive(tmp_path, small):
    data, before, images = small
    path = tmp_path / "a.vlar"
    again = {name: images[name] for name in "cde"}
    for end in range(before, len(data), 40):
        path.write_bytes(data[:end] + bytes(100))
        codec.add_to_archive(path, again, lossless=True, processes=1, block=2)
        assert path.read_bytes() == data


@pytest.mark.parametrize("step", [1, 16, 29, 1 << 20])
def test_the_last_trailer_is_found_behind_any_garbage(monkeypatch, small, step):
    monkeypatch.setattr(archive_sections, "SEARCH_BYTES", step)
    data, before, _ = small
    rng = np.random.default_rng(1)
    for length in range(70):
        for garbage in (bytes(length), rng.bytes(length), (TRAILER_MAGIC * 9)[:length]):
            sections = read_sections(BytesIO(data + garbage))
            assert [section.end for section in sections] == [before, len(data)]


def test_the_search_ends_after_a_number_of_places_that_look_like_trailers(small):
    data, _, _ = small
    limit = archive_sections.CANDIDATE_LIMIT
    assert read_sections(BytesIO(data + TRAILER_MAGIC * (limit - 1)))
    with pytest.raises(CorruptDataError, match="no valid index after 64 damaged ones"):
        read_sections(BytesIO(data + TRAILER_MAGIC * 1_000_000))


def test_a_valid_trailer_at_a_wrong_place_is_passed_over(small):
    # The section would begin at a place before which no trailer lies.
    data, before, _ = small
    last = data[before:]
    with pytest.raises(CorruptDataError, match="expected the end of a section at byte"):
        read_sections(BytesIO(data + b"x" + last))


STAGES = {"while images are coded": "report", "before the trailer": "fsync 1", "after it": "fsync 2"}
KILLED = """
import os, sys, time
from pathlib import Path
from PIL import Image
import codec

stage, seen = sys.argv[2], []

def wait_at(name):
    seen.append(name)
    if f"{name} {len(seen)}" == stage:
        print("now", flush=True)
        time.sleep(600)

os.fsync = lambda number: wait_at("fsync")
images = {path.stem: path for path in sorted(Path(sys.argv[3]).iterdir())}
report = (lambda n: wait_at("report")) if stage.startswith("report") else (lambda n: None)
codec.add_to_archive(sys.argv[1], images, lossless=True, block=1, processes=1, report=report)
"""


@pytest.mark.parametrize(("stage", "whole"), [("report 2", False), ("fsync 1", False), ("fsync 2", True)])
def test_a_killed_process_leaves_old_images_and_whole_new_ones(tmp_path, small, stage, whole):
    data, _, images = small
    path, new = tmp_path / "a.vlar", tmp_path / "new"
    path.write_bytes(data)
    new.mkdir()
    added = {f"new {i}": crop((60, 60), seed=i) for i in range(3)}
    for name, image in added.items():
        image.save(new / f"{name}.png")
    command = [sys.executable, "-c", KILLED, path, stage, new]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert path.read_bytes()[: len(data)] == data
    assert path.stat().st_size > len(data)
    with codec.Archive(path) as archive:
        assert list(archive) == [*images, *(added if whole else ())]
        for name, image in archive.items():
            assert_same(image, (images | added)[name])
    if not whole:
        codec.add_to_archive(path, added, lossless=True, processes=1)
        with codec.Archive(path) as archive:
            archive.verify(processes=1)


def test_a_killed_worker_is_an_error_and_changes_nothing(tmp_path, small, monkeypatch):
    path = tmp_path / "a.vlar"
    path.write_bytes(small[0])
    started, start = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])

    def kill(_):
        for process in started:
            process.kill()

    images = {f"new {i}": crop((20, 20), seed=i) for i in range(12)}
    with pytest.raises(ChildProcessError, match="was killed"):
        codec.add_to_archive(path, images, lossless=True, block=1, processes=2, report=kill)
    assert path.read_bytes() == small[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_image_that_fails_may_be_left_out(tmp_path, processes):
    path = tmp_path / "a.vlar"
    bad = {"floats": Image.new("F", (3, 3)), "none": str(tmp_path / "none.png"), "text": b"no image"}
    good = {"x": crop((30, 30)), "z": crop((20, 30))}
    names = ["floats", "x", "none", "text", "z"]
    refused = []
    options = {
        "lossless": True,
        "processes": processes,
        "refuse": lambda name, error: refused.append((name, type(error))),
    }
    for block in (1, 2, 9):
        codec.create_archive(path, {name: (bad | good)[name] for name in names}, block=block, **options)
        expected = [("floats", UnsupportedImageError), ("none", FileNotFoundError), ("text", UnknownImageError)]
        assert refused == expected, block
        refused.clear()
        with codec.Archive(path) as opened:
            assert list(opened) == ["x", "z"]
            assert opened["z"].tobytes() == good["z"].tobytes()
            opened.verify()
    before = path.read_bytes()
    with pytest.raises(UnsupportedImageError, match="not an image"):
        codec.add_to_archive(path, bad, **options)
    assert path.read_bytes() == before
    with pytest.raises(UnsupportedImageError, match="not an image"):
        codec.create_archive(tmp_path / "b.vlar", bad, **options)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_image_that_fails_changes_nothing(tmp_path, small, processes):
    path = tmp_path / "a.vlar"
    path.write_bytes(small[0] + b"what a crash left")
    images = {"x": crop((30, 30)), "y": Image.new("LAB", (3, 3))}
    with pytest.raises(ImageError, match=r"^y: .*got LAB"):
        codec.add_to_archive(path, images, lossless=True, block=1, processes=processes)
    assert path.read_bytes() == small[0]
    with pytest.raises(ImageError):
        codec.create_archive(path, images, lossless=True, block=1, processes=1)
    assert path.read_bytes() == small[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_is_there_once(tmp_path, small):
    path = tmp_path / "a.vlar"
    path.write_bytes(small[0])
    with pytest.raises(ValueError, match="name 'd': is in the archive"):
        codec.add_to_archive(path, {"d": crop((3, 3))}, lossless=True)
    assert path.read_bytes() == small[0]


def test_two_do_not_add_at_the_same_time(tmp_path, small):
    path = tmp_path / "a.vlar"
    path.write_bytes(small[0])
    caught = []

    def add_too(_):
        with pytest.raises(BlockingIOError, match=r"a\.vlar: another process is adding to it") as error:
            codec.add_to_archive(path, {"y": crop((3, 3))}, lossless=True)
        caught.append(error)

    codec.add_to_archive(path, {"x": crop((3, 3))}, lossless=True, processes=1, report=add_too)
    assert caught
    with codec.Archive(path) as archive:
        assert list(archive)[-1] == "x"


def test_an_addition_to_what_another_has_replaced_is_an_error(tmp_path, small):
    path = tmp_path / "a.vlar"
    path.write_bytes(small[0])

    def replace(_):
        codec.create_archive(path, {"other": crop((3, 3))}, lossless=True)

    with pytest.raises(
        FileNotFoundError, match=r"a\.vlar: another process has replaced it meanwhile, nothing was added"
    ):
        codec.add_to_archive(path, {"x": crop((3, 3))}, lossless=True, processes=1, report=replace)
    with codec.Archive(path) as archive:
        assert list(archive) == ["other"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 0}, "block: expected 1 to 65535, got 0"),
        ({"block": 65536}, "block: expected 1 to 65535, got 65536"),
        ({"lossless": True, "quality": 3}, "expected one of"),
        ({"images": {}}, "images: expected 1 to 262144, got 0"),
    ],
)
def test_mistakes_of_a_caller(tmp_path, options, message):
    images = options.pop("images", {"a": crop((3, 3))})
    with pytest.raises(ValueError, match=message):
        codec.create_archive(tmp_path / "a", images, **options)
    assert list(tmp_path.iterdir()) == []


# Damage


def read_all(archive):
    return {name: (image.mode, image.size, image.tobytes()) for name, image in archive.items()}


def test_every_flipped_byte_is_refused_or_harmless(tmp_path, small):
    data, before, images = small
    expected = {name: (image.mode, image.size, image.tobytes()) for name, image in images.items()}
    harmless = 0
    for place in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= mask
            try:
                with opened(tmp_path, bytes(damaged)) as archive:
                    found = read_all(archive)
                    ignored = archive.ignored_bytes
            except (CorruptDataError, UnsupportedError):
                continue
            # The last addition is not seen. `verify` reports that.
            assert place >= before
            assert found == {name: expected[name] for name in "ab"}
            assert ignored == len(data) - before
            harmless += 1
    (_, last) = read_sections(BytesIO(data))
    assert harmless == 3 * (last.index_bytes + TRAILER_BYTES)


def test_verify_tells_of_damage(tmp_path, small):
    data, before, _ = small
    with opened(tmp_path, data) as archive:
        archive.verify(processes=1)
    with opened(tmp_path, data[:-1]) as archive, pytest.raises(CorruptDataError, match="all 2 images are whole, but"):
        archive.verify(processes=1)
    damaged = bytearray(data)
    damaged[before + 3] ^= 1
    with opened(tmp_path, bytes(damaged)) as archive:
        assert_same(archive["a"], small[2]["a"])
        with pytest.raises(CorruptDataError, match=r"^archive: block of 'c': expected \d+ bytes of checksum"):
            archive.verify(processes=1)


def test_flipped_bits_behind_right_checksums_are_never_another_image(tmp_path, small, block):
    found, data = block
    expected = read_all(small[2])
    fields, checksums = taken_apart(pack_index([found], INDEX_LIMIT))
    rng = np.random.default_rng(2)
    for bit in rng.integers(0, 8 * len(data), 150).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            with opened(tmp_path, rebuilt([(found, bytes(damaged))])) as archive:
                images = read_all(archive)
        except CodecError:
            continue
        # The last byte of a deflate stream may have bits that mean nothing.
        assert list(images.values()) == [expected["a"], expected["b"]]
    for bit in range(8 * (len(fields) + len(checksums))):
        damaged = bytearray(fields + checksums)
        damaged[bit // 8] ^= 1 << bit % 8
        index = zlib.compress(damaged[: len(fields)]) + damaged[len(fields) :]
        try:
            with opened(tmp_path, START + with_index(data, index)) as archive:
                images = read_all(archive)
        except CodecError:
            continue
        # Only names are free.
        assert list(images.values()) == [expected["a"], expected["b"]]


def test_noise_is_refused(tmp_path):
    rng = np.random.default_rng(3)
    for length in (0, 1, 4, 5, 33, 500):
        for data in (rng.bytes(length), START + rng.bytes(length), b"VLAE" + rng.bytes(length)):
            with pytest.raises(CorruptDataError, match=r"^archive: "):
                opened(tmp_path, data)
    with pytest.raises(UnsupportedError, match="expected format version 0, got 9"):
        opened(tmp_path, b"VLAR\x09" + bytes(100))


def test_noise_as_index_leads_to_no_other_error(tmp_path):
    rng = np.random.default_rng(4)
    for length in rng.integers(1, 120, 300).tolist():
        head = bytes([1, *rng.integers(0, 3, 2).tolist()])
        fields = (head + rng.integers(0, 6, length, dtype=np.uint8).tobytes())[:length]
        for data in (fields, zlib.compress(fields) + bytes(8)):
            with pytest.raises((CorruptDataError, UnsupportedError)):
                opened(tmp_path, START + with_index(b"", data))


def changed(block, number=0, **changes):
    """Return a block with changed parts of an image: of its header, its coding header, or its entry."""
    image = block.images[number]
    for name, value in changes.items():
        for part in ("header", "coding"):
            if hasattr(getattr(image, part), name):
                image = replace(image, **{part: replace(getattr(image, part), **{name: value})})
                break
        else:
            image = replace(image, **{name: value})
    images = list(block.images)
    images[number] = image
    return replace(block, images=tuple(images))


def with_chain(block, **changes):
    return replace(block, chains=(replace(block.chains[0], **changes),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: replace(b, images=(), chains=()), "expected 1 to 65535 images in a block, got 0"),
        (lambda b: replace(b, images=(b.images[0], b.images[0])), "expected a section of|is there twice"),
        (lambda b: replace(b, chains=b.chains * 2), "expected chains of ascending models"),
        (lambda b: replace(b, chains=b.chains * 3), "expected at most 2 chains, got 3"),
        (lambda b: with_chain(b, lane_table=(9, 0)), "expected lanes of models"),
        (lambda b: with_chain(b, lane_table=(0,) * 9), "expected 1 to 8 lanes, got 9"),
        (lambda b: with_chain(b, lane_table=()), "expected 1 to 8 lanes, got 0"),
        (lambda b: with_chain(b, lane_table=(1 << 34,)), "expected a section of 1717"),
        (lambda b: changed(b, height=1 << 31), "over the limit"),
        (lambda b: changed(b, lanes=2), "lanes: expected at most the chain's 1, got 2"),
        (lambda b: changed(b, chunks=(5, 0, 0, 0)), "expected a section of"),
        (lambda b: changed(b, 1, chunks=(0, 0, 0, 0)), "png_bytes: expected at least 1"),
        (lambda b: changed(b, latents=Latents.NONE, dry=False), "borrows: expected 0 without bits-back, got 1"),
        (lambda b: changed(b, name="x" * 1025), "expected 1 to 1024 bytes"),
        (lambda b: changed(b, name="b"), "is there twice"),
    ],
)
def test_hostile_indexes_are_refused(tmp_path, block, change, message):
    found, data = block
    hostile = change(found)
    with pytest.raises((CorruptDataError, UnsupportedError), match=message):
        opened(tmp_path, rebuilt([(hostile, data)]))


def test_fields_that_no_block_of_ours_can_have_are_refused(tmp_path, block):
    found, data = block
    fields, checksums = taken_apart(pack_index([found], INDEX_LIMIT))
    image = 1 + 2 + 1 + 2 + len([1, *found.chains[0].lane_table]) + (found.chains[0].lane_table[0] > 127)
    assert fields[image + 1 : image + 4] == (11 | 8 << 12).to_bytes(3, "little")  # the sides
    for begin, end, other, message in (
        (0, 1, b"\x00", "is longer or shorter than its images need"),
        (0, 1, b"\x02", "archive: index|archive: name"),
        (1, 2, b"\x00", "images in a block, got 0"),
        (1, 2, b"\x81\x00", "more bytes than it needs"),
        (2, 3, b"\x03", "expected at most 2 chains, got 3"),
        (image, image + 1, bytes([1 | 4 << 2]), "mode: expected one that is coded"),
        (image, image + 1, bytes([2 | 2 << 2]), "degree: expected 1 to 10"),
        (image, image + 1, bytes([1 | 2 << 2 | 1 << 6]), "coding: expected 1 to 127"),
        (image + 4, image + 5, b"\x01", "chain: expected less than 1, got 1"),
        (len(fields), len(fields), b"c\0", "is longer or shorter than its images need"),
        (len(fields) - 1, len(fields), b"", r"expected b'.x00' after byte"),
    ):
        damaged = fields[:begin] + other + fields[end:]
        with pytest.raises(CorruptDataError, match=message):
            opened(tmp_path, START + with_index(data, zlib.compress(damaged) + checksums))


def test_damaged_streams_and_other_numbers_of_checksums_are_refused(tmp_path, block):
    found, data = block
    fields, checksums = taken_apart(pack_index([found], INDEX_LIMIT))
    stream = zlib.compress(fields)
    for index, message in (
        (stream[:-5], "index: cut"),
        (b"\0" + stream[1:] + checksums, "incorrect header check"),
        (stream + checksums[:-1], "is longer or shorter than its images need"),
        (stream + checksums + b"\0", "is longer or shorter than its images need"),
        (stream, "is longer or shorter than its images need"),
    ):
        with pytest.raises(CorruptDataError, match=message):
            opened(tmp_path, START + with_index(data, index))


def test_an_index_is_decompressed_up_to_the_limit_only(tmp_path, block, monkeypatch):
    found, data = block
    index = pack_index([found], INDEX_LIMIT)
    length = len(taken_apart(index)[0])
    with pytest.raises(UnsupportedError, match=f"index: expected at most {length - 1} bytes"):
        unpack_index(index, IMAGE_LIMIT, length - 1)
    assert unpack_index(index, IMAGE_LIMIT, length)[1] == length
    with pytest.raises(ValueError, match=f"an index of at most {length - 1} bytes, got {length}"):
        pack_index([found], length - 1)
    monkeypatch.setattr(archive_sections, "INDEX_LIMIT", 2 * length - 1)
    renamed = replace(found, images=tuple(replace(i, name=f"{i.name.upper()}") for i in found.images))
    twice = rebuilt([(found, data)]) + rebuilt([(renamed, data)], b"")
    with pytest.raises(UnsupportedError, match=f"index: expected at most {length - 1} bytes"):  # both together
        opened(tmp_path, twice)
    monkeypatch.setattr(archive_sections, "INDEX_LIMIT", 2 * length)
    with opened(tmp_path, twice) as archive:
        assert list(archive) == ["a", "b", "A", "B"]


def test_a_bomb_takes_little_memory_and_time(tmp_path):
    stream = zlib.compressobj(9)
    bomb = b"".join([*(stream.compress(bytes(1 << 20)) for _ in range(80)), stream.flush()])
    begin = time.perf_counter()
    with pytest.raises(UnsupportedError, match="index: expected at most 67108864 bytes"):
        opened(tmp_path, START + with_index(b"", bomb))
    assert time.perf_counter() - begin < 5


def test_names_that_count_upwards_cost_little(tmp_path):
    path = tmp_path / "a"
    codec.create_archive(path, {f"digit-{i:04}.png": Image.new("L", (1, 1), i % 7) for i in range(200)}, processes=1)
    with codec.Archive(path) as archive:
        assert archive.part_bits()["index_bits"] < 10 * len(archive)
        assert list(archive) == [f"digit-{i:04}.png" for i in range(200)]


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("a-09.png", "a-10.png"),
        ("x9", "x10"),
        ("0", "1"),
        ("b2/c01d", "b2/c02d"),
        ("٣", None),
        ("plain", None),
        ("1" + "x" * 254, "2" + "x" * 254),
        ("9" + "x" * 254, None),
        ("1" + "é" * 127, "2" + "é" * 127),
        ("1" + "é" * 128, None),
        ("1" * 1024, None),
    ],
)
def test_names_count_on(name, following):
    assert archive_index.next_name(name) == following


@pytest.mark.parametrize("names", [["", "b"], ["a", ""], ["9" + "x" * 254, ""]])
def test_a_name_that_counts_on_from_nothing_is_refused(tmp_path, block, names):
    found, data = block
    fields, checksums = taken_apart(pack_index([found], INDEX_LIMIT))
    fields = fields.removesuffix(b"a\0b\0") + "".join(f"{name}\0" for name in names).encode()
    with pytest.raises(CorruptDataError, match="name '': expected 1 to 1024 bytes"):
        opened(tmp_path, START + with_index(data, zlib.compress(fields) + checksums))


@pytest.mark.parametrize(("section", "index"), [(0, 10), (27, 1), (28, 10), (1 << 63, 10), (60, 0), (60, 1 << 31)])
def test_hostile_trailers_are_no_trailers(tmp_path, section, index):
    fields = struct.pack("<8sQII", TRAILER_MAGIC, section, index, zlib.crc32(bytes(min(index, 100))))
    with pytest.raises(CorruptDataError, match="no valid index"):
        opened(tmp_path, START + bytes(32) + fields + struct.pack("<I", zlib.crc32(fields)))


def test_too_many_images_are_refused(tmp_path, small, monkeypatch):
    monkeypatch.setattr(archive_sections, "IMAGE_LIMIT", 4)
    with pytest.raises(UnsupportedError, match="expected at most 2 images more"):
        opened(tmp_path, small[0])
    with opened(tmp_path, small[0][: small[1]]) as archive:
        assert len(archive) == 2


def test_a_chain_that_is_too_short_for_its_images_is_refused_before_decoding(tmp_path, block):
    found, data = block
    with opened(tmp_path, rebuilt([(changed(found, width=9000, height=9000), data)])) as archive:
        begin = time.perf_counter()
        with pytest.raises(CorruptDataError, match=r"^archive: 'a': chain: asks for more values"):
            _ = archive["a"]
        assert time.perf_counter() - begin < 5


def test_an_index_is_read_as_it_was_written(small):
    for section in read_sections(BytesIO(small[0])):
        index = pack_index(section.blocks, INDEX_LIMIT)
        assert unpack_index(index, IMAGE_LIMIT, INDEX_LIMIT) == (section.blocks, section.field_bytes)
        assert len(index) == section.index_bytes
        assert len(taken_apart(index)[1]) == 4 * (len(section.blocks) + section.images)


# Names

HOSTILE = [
    "",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "a/./b",
    "/etc/passwd",
    "a//b",
    "a/",
    "C:/a",
    "c:a",
    "a/d:",
    "..\\a",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\x7f",
    "\x85",
    "é" * 513,
    "\udc80",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(tmp_path, block, name):
    with pytest.raises(ValueError, match=r"^name "):
        codec.create_archive(tmp_path / "a", {name: crop((3, 3))}, lossless=True)
    if name == "\udc80":  # cannot be packed
        return
    if name == "a\0b":  # would be two names
        return
    found, data = block
    with pytest.raises(CorruptDataError, match=r"^archive: index: name "):
        opened(tmp_path, rebuilt([(changed(found, name=name), data)]))


def test_names_that_are_not_utf8_are_refused(tmp_path, block):
    found, data = block
    fields, checksums = taken_apart(pack_index([changed(found, name="abc")], INDEX_LIMIT))
    index = zlib.compress(fields.replace(b"abc", b"a\xffc")) + checksums
    with pytest.raises(CorruptDataError, match="not UTF-8"):
        opened(tmp_path, START + with_index(data, index))


@pytest.mark.parametrize("name", ["a", "a b.png", "...", "..a", "a..", "12:30", "é" * 512, "a/b/c", "画像", "-rf"])
def test_other_names_are_fine(name):
    check_name(name)


def test_no_link_leads_out_of_the_folder(tmp_path, small):
    images = {"sub/a": crop((3, 3)), "b.png": crop((4, 4))}
    codec.create_archive(tmp_path / "a", images, lossless=True, processes=1)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with codec.Archive(tmp_path / "a") as archive:
        with pytest.raises(ValueError, match="a link leads out of"):
            archive.extract(tmp_path / "out", processes=1)
        (tmp_path / "out" / "sub").unlink()
        (tmp_path / "out" / "b.png").symlink_to(tmp_path / "elsewhere" / "b.png")
        with pytest.raises(ValueError, match="a link leads out of"):
            archive.extract(tmp_path / "out", force=True, processes=1)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_images_do_not_get_one_file(tmp_path):
    codec.create_archive(tmp_path / "a", {"x": crop((3, 3)), "x.png": crop((4, 4))}, lossless=True, processes=1)
    with codec.Archive(tmp_path / "a") as archive:
        with pytest.raises(ValueError, match=r"would be that of 'x' and of 'x\.png'"):
            archive.extract(tmp_path / "out", force=True)
        assert len(archive.extract(tmp_path / "out", ["x"], processes=1)) == 1


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    codec.create_archive(tmp_path / "a", {"x": crop((3, 3)), "y": crop((4, 4))}, lossless=True, processes=1)
    other = tmp_path / "y.png"  # as the file of an image "X" would, where a system ignores case
    with codec.Archive(tmp_path / "a") as archive:
        with pytest.raises(ValueError, match="exists, expected --force"):
            archive.extract(tmp_path, processes=1, report=lambda _: other.write_bytes(b"mine"))
        assert other.read_bytes() == b"mine"
        archive.extract(tmp_path, force=True, processes=1)
    assert other.read_bytes() != b"mine"


# The command


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of images, made the working directory's."""
    for lossy in (False, True):  # else the first command says that it compiles
        warm_up.prepare(lambda line: None, for_lossy=lossy)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    images = {"b.png": crop((40, 30)), "sub/a.png": crop((30, 40), "L"), "sub/c.webp": crop((20, 20), seed=2)}
    for name, image in images.items():
        image.save(tmp_path / "photos" / name, lossless=True)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return images


def run(line):
    return cli.run(["archive", *line.split()])


def test_the_commands(photos, tmp_path, capfd):
    assert run("create a.vlar photos --lossless --processes 1") == 0
    out, err = capfd.readouterr()
    done, left_out = err.splitlines()
    assert out == ""
    assert left_out == "vlae: photos: left out 1 file that is no image (notes.txt)"
    assert done == f"a.vlar: 3 images more, {(tmp_path / 'a.vlar').stat().st_size} bytes in all"
    crop((25, 25), seed=4).save(tmp_path / "new.png")
    assert run("add a.vlar new.png --max-error 1 --processes 1 -q") == 0
    assert capfd.readouterr() == ("", "")
    assert run("list a.vlar") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [*photos, "new.png"]
    assert lines[1].split() == ["lossless", "L", "30x40", "sub/a.png"]
    assert lines[3].split() == ["near-lossless", "1", "RGB", "25x25", "new.png"]
    assert run("verify a.vlar --processes 1") == 0
    assert capfd.readouterr().err == "a.vlar: 4 images, all as they were coded\n"
    assert run("extract a.vlar sub/c.webp b.png --to out --processes 1") == 0
    assert capfd.readouterr().err == "a.vlar -> out: 2 images\n"
    found = {path.relative_to("out").as_posix(): path for path in Path("out").rglob("*") if path.is_file()}
    assert set(found) == {"b.png", "sub/c.webp.png"}
    for name, path in found.items():
        with Image.open(path) as image:
            assert_same(image, photos[name.removesuffix(".png") if "webp" in name else name])


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("create a.vlar photos", 2, "output a.vlar: exists, expected --force"),
        ("create photos photos --force", 2, "output photos: is a folder"),
        ("create b.vlar photos photos/b.png", 2, "name 'b.png': would be that of photos/b.png and of photos/b.png"),
        ("create b.vlar photos --quality 0", 2, "quality: expected 1 to 100, got 0"),
        ("create b.vlar photos --quality 5 --lossless", 2, "expected one of lossless"),
        ("create b.vlar photos --block 0", 2, "block: expected 1 to 65535"),
        ("create b.vlar photos/notes.txt", 4, "not an image"),
        ("create b.vlar none.png", 1, "No such file"),
        ("create b.vlar photos/sub/empty", 1, "No such file"),
        ("create b.vlar", 2, "Missing argument"),
        ("add none.vlar photos", 1, "No such file"),
        ("add a.vlar photos/b.png", 2, "name 'b.png': is in the archive"),
        ("extract a.vlar z", 2, "name 'z': not in the archive"),
        ("extract a.vlar --to photos", 2, "exists, expected --force"),
        ("list photos/b.png", 3, "photos/b.png: is an image of another format, expected an archive"),
        ("verify cut.vlar", 3, "of an addition that did not end"),
    ],
)
def test_errors_of_the_commands(photos, tmp_path, capfd, line, code, message):
    codec.create_archive("a.vlar", photos, lossless=True, processes=1)
    data = Path("a.vlar").read_bytes()
    Path("cut.vlar").write_bytes(data + b"VLAR")
    before = sorted(tmp_path.rglob("*"))
    assert run(f"{line} --processes 1" if "list" not in line else line) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("vlae: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("a.vlar").read_bytes() == data


def test_list_tells_of_what_a_crash_left(photos, capfd):
    codec.create_archive("a.vlar", photos, lossless=True, processes=1)
    with Path("a.vlar").open("ab") as file:
        file.write(b"cut")
    assert run("list a.vlar") == 0
    assert "the last 3 bytes are of an addition that did not end" in capfd.readouterr().err
    assert run("extract a.vlar --to photos --force --processes 1 -q") == 3
    assert "images are whole, but the last 3 bytes" in capfd.readouterr().err
    assert run("extract a.vlar b.png --to photos --force --processes 1 -q") == 0
    assert "the last 3 bytes are of an addition that did not end" in capfd.readouterr().err


def test_list_needs_no_compiler(tmp_path, small):
    (tmp_path / "a.vlar").write_bytes(small[0])
    code = "import sys; from codec.commands.cli import run; run(sys.argv[1:]); print('numba' in sys.modules)"
    command = [sys.executable, "-c", code, "archive", "list", tmp_path / "a.vlar"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.splitlines()[-1] == "False"
    assert len(done.stdout.splitlines()) == 6
