"""docs/FORMAT.md says what the code does: its tables, constants and examples are compared with it."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load
from support import plain_model, spatial_model, tensor_model, transform_model

import codec
from codec import constants
from codec.entropy import mixtures, rans, tables
from codec.entropy.bits_back import push_intervals
from codec.format import archive_index, archive_sections, bare_png, container, fields, headers, metadata
from codec.format.headers import Description, Fidelity, Header, Latents, Lengths
from codec.frozen import (
    contexts,
    features,
    features_weights,
    layout,
    modulation,
    plain,
    prior,
    shipped,
    transform_weights,
    weights,
)
from codec.networks import quantisation, transform
from codec.vlae import decoding
from codec.wide import low_planes, parts

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")
SECTIONS = re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)
CITATION = re.compile(r'FORMAT\.md,((?:\s+(?:and\s+)?"[^"]+",?)+)')


def section(title):
    """Return the text from a heading to the next one."""
    return re.split(r"^##+ ", TEXT.split(f"# {title}\n", 1)[1], flags=re.MULTILINE)[0]


def rows(title, first):
    """Return the cells of the table whose first column is called ``first``, without its head."""
    lines = section(title).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def hex_bytes(title, *, numbered):
    lines = re.findall(r"^    ([0-9a-f]{2}(?: +[0-9a-f]{2})+)$", section(title), re.MULTILINE)
    lines = [line for line in lines if ("  " in line) == numbered]
    return bytes.fromhex("".join(line.split("  ", 1)[-1] for line in lines))


HEADER = Header(Fidelity.LOSSLESS, "L", 0, 1, 1)


def described(**changes):
    """Return the bytes of a description of which some parts, by name, are others."""
    own = {name: changes.pop(name) for name in list(changes) if name in Description._fields}
    return headers.pack_description(Description(replace(HEADER, **changes))._replace(**own))


def bits_of(name):
    """Return the first bit of a part of `form` or `coding`, and its mask, from the table that has it."""
    for table in re.findall(r"^\| bits \| name .*?(?=\n\n)", section("Description"), flags=re.MULTILINE | re.DOTALL):
        for line in table.splitlines()[2:]:
            bits, found = (cell.strip() for cell in line.split("|")[1:3])
            if found == name:
                first, last = int(bits.split("..")[0]), int(bits.split("..")[-1])
                return first, (1 << last + 1) - (1 << first)
    raise AssertionError(name)


def test_header():
    table = rows("Header", "offset")
    assert [row[3] for row in table] == ["magic", "version", "file_crc"]
    sizes = [len(headers.MAGIC), 1, container.CRC_BYTES]
    assert [(int(offset), int(size)) for offset, size, *_ in table] == [(0, 4), (4, 1), (5, 4)]
    assert sum(sizes) == container.HEADER_BYTES == 9
    assert f"bytes 0..4 of the file and all bytes from {container.HEADER_BYTES} on" in section("Checksums")
    assert headers.MAGIC.hex(" ").upper() in table[0][4]


def test_bits_of_a_description():
    for fidelity, value in ((f, int(f)) for f in Fidelity):
        made = described(fidelity=fidelity, degree=int(value >= 2))
        first, mask = bits_of("fidelity")
        assert made[0] & mask == value << first
    first, mask = bits_of("mode")
    for mode in ("L", "LA", "RGB", "RGBA"):
        made = described(mode=mode, lengths=Lengths(alpha=int("A" in mode)))
        assert made[0] & mask == headers.MODES.index(mode) << first
    for name, changes in (
        ("metadata", {"lengths": Lengths(metadata=1)}),
        ("coded", {"lanes": 2}),
        ("long", {"width": headers.SHORT_SIDE + 1}),
    ):
        assert described()[0] | bits_of(name)[1] == described(**changes)[0], name
    for name, changes, value in (
        ("latents", {"latents": Latents.TWO_PART}, 2),
        ("lanes - 1", {"lanes": headers.MAX_LANES}, headers.MAX_LANES - 1),
        ("adaptation", {"lengths": Lengths(adaptation=9)}, 1),
    ):
        assert described(**changes)[4] == value << bits_of(name)[0], name
    borrowing = described(latents=Latents.BITS_BACK, borrows=True)
    assert borrowing[4] == described(latents=Latents.BITS_BACK)[4] | bits_of("borrows")[1]


def test_fields_of_a_description_follow_each_other():
    names = [row[1] for row in rows("Description", "type")]
    values = {
        "form": "ff",
        "width": "8820",
        "height": "00",
        "degree": "07",
        "coding": "26",
        "metadata_bytes": "ac02",
        "adaptation_bytes": "05",
        "alpha_bytes": "81" + "01",
    }
    assert names == ["form", "sides", "width", "height", "kind", *list(values)[3:]]  # no file has both kind and degree
    header = Header(Fidelity.NEAR_LOSSLESS, "RGBA", 7, 4097 + 8, 1, grey=True)
    made = headers.pack_description(Description(header, Latents.TWO_PART, 2, False, Lengths(300, 5, 129)))
    assert made[0] == 2 | 7 << 2 | 7 << 5
    assert made.hex() == f"{made[0]:02x}" + "".join(list(values.values())[1:])
    formula = next(row[3] for row in rows("Description", "type") if row[1] == "sides")
    value = eval(products(formula), {}, {"W": 12, "H": 7})  # noqa: S307  our own document
    assert described(width=12, height=7)[1:4] == value.to_bytes(3, "little")
    assert f"both sides at most {headers.SHORT_SIDE}: corrupt" in section("Description")


def test_parts_of_a_file():
    text = section("Container")
    assert "    header | description | coding header | metadata | adaptation | alpha | payload\n" in text
    assert "    header | description | samples_crc | metadata | PNG or parts\n" in text
    longest = container.HEADER_BYTES + 1 + 2 * fields.MAX_NUMBER_BYTES
    assert f"known from the first {longest} bytes" in text
    assert f"at most {fields.MAX_NUMBER_BYTES}: a last byte of 0" in section("Conventions")
    assert f"less than {container.LEAST_MESSAGE_BYTES} bytes for the last message" in section("Lengths")
    hashed = next(row for row in rows("Coding header", "type") if row[1] == "weights_hash")
    assert hashed[0] == f"{headers.HASH_BYTES} bytes"
    assert f"first {headers.HASH_BYTES} bytes of the SHA-256" in hashed[2]
    assert f"the lowest {headers.SAMPLES_CRC_BITS} bits count" in section("Checksums")
    assert f"modulo 2^{headers.SAMPLES_CRC_BITS}" in section("Checksums")


def test_modes_fidelities_and_latents():
    modes = rows("Description", "mode")
    assert [row[1] for row in modes] == [*headers.MODES, *headers.COLOURED_MODES]
    assert [int(row[0]) for row in modes] == list(range(8))
    for number, name, channels, alpha, meaning in modes:
        header = replace(HEADER, mode=name, grey="equals" in meaning or meaning == "the same")
        assert header.mode_number == int(number)
        assert headers.mode_of(int(number)) == (header.mode, header.grey)
        assert (int(channels), alpha == "yes") == (header.channels, header.has_alpha)
        assert ("only stored" in meaning) == (name not in (*headers.CODED_MODES, headers.BITS_MODE))
        assert ("coded losslessly" in meaning) == (name == headers.BITS_MODE)
    text = section("Description")
    for kind in (Fidelity, Latents):
        assert ", ".join(f"{v:d} {v.name.lower().replace('_', '-')}" for v in kind) in text


def test_constants():
    values = {name: int(value) for name, value, _ in rows("Constants", "name")}
    assert values == {
        "format version": headers.VERSION,
        "largest error": headers.MAX_ERROR,
        "largest quality": headers.MAX_QUALITY,
        "lanes": headers.MAX_LANES,
        "short side": headers.SHORT_SIDE,
        "band height": headers.MAX_BAND_HEIGHT,
        "pixel limit": headers.PIXEL_LIMIT,
        "metadata entry": metadata.LIMIT_BYTES,
        "metadata names": metadata.NAMES_LIMIT_BYTES,
        "levels": parts.LEVELS_BYTES,
        "precision": constants.PRECISION,
        "lower bound": constants.LOWER,
        "slope": constants.SLOPE,
        "missing pixel": constants.NO_PIXEL,
        "exact sum": constants.EXACT,
        "bias limit": constants.BIAS_LIMIT,
        "adaptation step": constants.ADAPTATION_STEP,
        "adaptation limit": constants.ADAPTATION_LIMIT,
        "adaptation scale": constants.ADAPTATION_SCALE,
    }


def test_archives():
    values = {name: int(value) for name, value, _ in rows("Archives", "name")}
    assert values == {
        "images of an archive": archive_sections.IMAGE_LIMIT,
        "images of a block": archive_index.MAX_BLOCK_IMAGES,
        "indexes": archive_sections.INDEX_LIMIT,
        "name": archive_index.NAME_LIMIT,
        "candidates": archive_sections.CANDIDATE_LIMIT,
    }
    text = section("Archives")
    assert f'{archive_sections.MAGIC.hex(" ").upper()} ("{archive_sections.MAGIC.decode()}")' in text
    assert f"encoders take {archive_index.BLOCK_IMAGES} of large images by default" in text
    assert f"If {archive_sections.CANDIDATE_LIMIT} places" in section("Trailer")
    assert f"1 to {archive_index.NAME_LIMIT} bytes" in section("Index")


def test_the_fields_of_archives():
    trailer = rows("Trailer", "offset")
    assert archive_sections.TRAILER_MAGIC.hex(" ").upper() in trailer[0][4]
    offsets = [int(row[0]) for row in trailer]
    assert [0, *np.cumsum([int(row[1]) for row in trailer])] == [*offsets, archive_sections.TRAILER_BYTES]
    assert f"The last {archive_sections.TRAILER_BYTES} bytes" in section("Trailer")
    text = section("Index")
    names = re.findall(r"^\| (?!type)[^|]+\| (\w+) \|", text, re.MULTILINE)
    block = ["images", "chains", "model", "weights_hash", "lanes"]
    assert names == [*block, "png_bytes", "chain"]
    assert f"at most {archive_sections.INDEX_LIMIT} bytes" in text
    assert f"| not 1..{archive_index.MAX_BLOCK_IMAGES}: corrupt |" in text
    assert f"above {headers.MAX_LANES}: corrupt |" in text


def test_metadata_and_png():
    tags = rows("Metadata", "tag")
    assert [int(row[0]) for row in tags] == list(metadata.TAGS.values())
    named = {row[1]: int(re.search(r"(\d+) bytes?$", row[2])[1]) for row in tags if row[1] in metadata.SIZES}
    assert named == metadata.SIZES
    text = section("Stored images")
    for mode, kinds in bare_png.KINDS.items():
        own = kinds if mode == "P" else kinds[:1]
        depths = " or ".join(", ".join(str(depth) for depth, _ in own).rsplit(", ", 1))
        others = ", or as P" if kinds[1:] == bare_png.PALETTES else ""
        assert f" {mode} {depths} and {kinds[0][1]}{others}" in text


def test_wide_modes():
    names = [row[1] for row in rows("Description", "wide")]
    assert names == list(headers.WIDE_MODES)
    form, *_, kind = headers.pack_description(Description(Header(Fidelity.STORED, "CMYK", 0, 1, 1, parts=True)))
    assert form == headers.WIDE << bits_of("mode")[0]
    assert kind == 4 | bits_of("parts")[1]


def test_low_planes():
    text = section("Low planes")
    assert f"clip((2 (guess - u - 2^b)) >> b, -{low_planes.PLACES}, {low_planes.PLACES})" in text
    assert f"less 1, 0, {low_planes.SPREADS - 1})" in text
    assert f"begins with {low_planes.EVEN}" in text
    assert f"clip(chance, {low_planes.LEAST}, {65536 - low_planes.LEAST})" in text
    assert f"min(count + 1, {low_planes.MEMORY})" in text


def test_tables():
    whole = {
        "LOGISTIC": tables.logistic(),
        "NORMAL": tables.normal(),
        "WEIGHT": tables.weights(),
        "INVERSE": tables.inverse_scales(),
        "COMPRESS": tables.compress(),
    }
    documented = rows("Tables", "table")
    assert [row[0] for row in documented] == list(whole)
    for name, index, _, ends in documented:
        low, high = (int(v) for v in re.findall(r"-?\d+", index))
        assert len(whole[name]) == high - low + 1
        assert [int(v) for v in ends.split(", ")] == [whole[name][0], whole[name][-1]]
    assert whole["COMPRESS"][-1] == layout.samples().largest_input
    normal = whole["NORMAL"]
    zeros, ones = re.search(r"NORMAL is 0 up to i = (\d+) and 2\^30 from i = (\d+) on", section("Tables")).groups()
    assert np.flatnonzero(normal == 0).tolist() == list(range(int(zeros) + 1))
    assert np.flatnonzero(normal == 1 << 30).tolist() == list(range(int(ones), len(normal)))
    series = re.search(r"Φ\(x\) = (1 / 2 .+ \.\.\.\));", section("Tables"))[1]
    python = series.replace("e^(-x^2 / 2)", "exp(-x * x / 2)").replace("2 π", "2 * pi").replace(" + ...", "")
    python = python.replace("·", "*").replace("^", "**")
    names = {"exp": math.exp, "sqrt": math.sqrt, "pi": math.pi}
    for i in (640, 641, 650, 660):  # this close to the middle four terms are enough
        value = eval(python, names, {"x": (i - 640) / 32})  # noqa: S307  our own document
        assert value * 2**30 == pytest.approx(normal[i], rel=1e-4)
    bits = re.search(r"That of bits has d = (\S+)\.\.(\S+) and the entries ([-\d, ]+)\.", section("Tables"))
    assert len(layout.bits().compress) == int(bits[2]) - int(bits[1]) + 1
    assert layout.bits().compress.tolist() == [int(v) for v in bits[3].split(", ")]
    limit, *ends = re.search(r"limit of (\d+) it ends with (-\d+) and (\d+)", section("Tables")).groups()
    compress = layout.tensor(1, 1, int(limit), 0).compress
    assert len(compress) == 4 * int(limit) + 1
    assert [int(v) for v in ends] == [compress[0], compress[-1]]


def test_grids_and_coding_order():
    (_, *samples), (_, *numbers), (_, *bits) = rows("Distributions", "grid")
    middle = re.search(r"^    b = (.+)$", section("Distributions"), re.MULTILINE)[1]
    symbol = re.search(r"codes the symbol (.+?), whose", section("Near-lossless"))[1]
    clip = {"clip": lambda value, low, high: min(max(value, low), high)}

    def value(cell, **names):
        python = re.sub(r"([\d)]) ([a-zA-Z(])", r"\1 * \2", cell)
        return eval(python, clip, names)  # noqa: S307  our own document

    for d in range(headers.MAX_ERROR + 1):
        for c in range(0, 256, 5):
            b = value(middle, c=c, d=d)
            grid = mixtures.sample_grid(c, d)
            assert grid == tuple(value(cell, b=b, d=d) for cell in samples[:3])
            for k in (0, grid.count // 2, grid.count - 1):
                meaning = value(samples[3].removeprefix("the sample "), b=b, d=d, k=k)
                assert meaning == mixtures.value_of(k, grid, 0, 255)
            assert value(symbol, x=c // 2, b=b, d=d) == mixtures.symbol_of(c // 2, grid)
    for limit in (1, 31, 127):
        assert mixtures.number_grid(-limit, limit) == tuple(value(cell, K=limit) for cell in numbers[:3])
    assert mixtures.number_grid(0, 1) == tuple(value(cell) for cell in bits[:3])
    names = ("red", "green", "blue")
    assert f"in the order {', '.join(names[c] for c in contexts.ORDER)}:" in section("Likelihood")


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("d", [0, 1, 10])
def test_the_bound_on_samples(mode, channels, d):
    bound = re.search(r"too short for the image: (.+) > (.+)\.$", section("Lengths"), re.MULTILINE)
    python = [re.sub(r"(\d) ([a-z])", r"\1 * \2", t.replace("·", "*").replace("^", "**")) for t in bound.groups()]
    coding = headers.CodingHeader(headers.Latents.NONE, 1, 0, b"")
    names = {"W": 1, "H": 7, "C": channels, "d": d, "payload_bytes": 1000}
    least, limit = (eval(term, {}, names) for term in python)  # noqa: S307  our own document
    for width in (limit // least, limit // least + 1):
        header = headers.Header(headers.Fidelity.LOSSLESS, mode, d, width, 7)
        file = container.Container(header, coding, (1000,), b"", b"", b"", bytes(1000))
        assert container.holds_samples(file) == (width * least <= limit)


def products(cell):
    """Return a formula whose products have no sign as one of Python."""
    return re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", cell)


def raster_values(kind, names):
    """Return what the table of rasters says of a kind, computed from names where it can be; no ranges."""
    found = {}
    for name, *cells in rows("Rasters", "value"):
        cell = cells[("samples", "bits", "tensor").index(kind)]
        if ".." in cell or not cell:
            continue
        try:
            value = eval(products(cell), {}, names | found)  # noqa: S307  our own document
        except (SyntaxError, NameError):
            value = cell
        found[name.split(",")[0]] = value
    return found


def config_of(data):
    """Return the configuration in a weights file's bytes."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["config"])


SHIPPED = {path.stem: path.read_bytes() for path in sorted(shipped.WEIGHTS.glob("*.safetensors"))}


def shipped_of(networks):
    """Return, by name, the shipped weights of a family."""
    return {name: data for name, data in SHIPPED.items() if config_of(data).get("networks", "modulation") == networks}


MODELS = shipped_of("modulation") | {"tensor": tensor_model.weights()}
SPATIAL = shipped_of("spatial") | {name: spatial_model.weights(name) for name in spatial_model.CONFIGS}
PLAIN = shipped_of("plain") | {"plain": plain_model.weights()}
EVERY = MODELS | SPATIAL | PLAIN


def names_of(data):
    """Return the values, in a model, of the names in the formulas of the document's tables."""
    config, frozen, tensors = config_of(data), weights.parse_model(data), load(data)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    spatial = config.get("networks") == "spatial"
    names = {name: value for name, value in config.items() if isinstance(value, int)} | {
        "P": len(frozen.network.offsets),
        "M": frozen.network.mixtures,
        "N": frozen.latents,
        "L": shapes["likelihood.fixed_biases"][0],
        "U": shapes["likelihood.hidden1.weight"][1],
        "h": shapes["likelihood.conditioning"][1],
    }
    if frozen.latents:
        names |= {"J": shapes["prior.hidden.weight"][1], "v": config.get("neighbours", 1)}
    if spatial:
        names |= {"Y1": shapes["posterior.input.weight"][1], "Y2": shapes["features.output.weight"][0] // 9}
    elif frozen.latents:
        names |= {"X": shapes["modulation.hidden.weight"][1], "V": shapes["posterior.dense.weight"][1]}
        names |= {f"C{i}": shapes[f"posterior.conv{i}.weight"][1] for i in (1, 2, 3)}
    names |= raster_values(frozen.kind.name, names)
    names["B"] = 3 * names["U"] + names["G"] * names["h"]
    if spatial:  # as the sentence below the table says
        assert "I is P + 1 where contexts show grey" in section("Rasters")
        assert "in models with spatial networks it is larger by `features`." in section("Rasters")
        names["I"] = (names["P"] + 1 if config.get("window_shows") == "grey" else names["I"]) + config["features"]
    return names


@pytest.mark.parametrize("name", EVERY)
def test_rasters(name):
    data = EVERY[name]
    frozen, values = weights.parse_model(data), names_of(data)
    coded, kind = frozen.layout, frozen.kind.name
    assert values["E"] == frozen.conditions
    assert values["D"] == len(coded.order)
    assert values["G"] == len(coded.sizes)
    assert coded.sizes == [values["D"] / values["G"]] * values["G"]
    assert values["F"] == len(coded.features)
    if name in MODELS:
        assert values["Z"] == frozen.networks.planes
    assert values["low"] == (coded.low, coded.high)
    for field in ("missing", "references"):
        assert values[field] == getattr(coded, field)
    assert values["level shift"] == coded.level_shift
    if kind == "samples":
        assert values["coding order"] == tuple(coded.order)
        assert values["coefficients of place p"] == "p"
        assert coded.coefficients.tolist() == [0, 1, 2]
    else:
        assert coded.order.tolist() == list(range(values["D"]))
        assert values["coefficients of place p"] == coded.coefficients.max() == 0


def test_configurations():
    tables_of = {
        "config": weights.CONFIG,
        "config of latents": weights.LATENT_CONFIG,
        "config of tensors": layout.TENSOR.ranges,
        "config of modulation": modulation.FAMILY.ranges,
        "config of spatial": features_weights.FAMILY.ranges,
        "config of plain": plain.FAMILY.ranges,
    }
    for head, ranges in tables_of.items():
        found = {}
        for entry, _, requirement in rows("Models", head):
            limits = re.match(r"(\d+)\.\.(\d+)", requirement)
            if limits:
                found[entry] = (int(limits[1]), int(limits[2]))
        assert found == ranges, head
    words = {row[0]: row[1].split("`")[1::2] for row in rows("Models", "config")}
    assert set(words["kind"]) == {kind.name for family in weights.FAMILIES.values() for kind in family.kinds}
    assert set(words["networks"]) == set(weights.FAMILIES)
    assert tuple(words["latent_distribution"]) == weights.DISTRIBUTIONS
    assert tuple(words["window_shows"]) == weights.SHOWN
    for name, usual in weights.USUAL.items():
        row = next(row for row in rows("Models", "config") if row[0] == name)
        assert re.search(rf"`{usual}` \(also where (it|{name}) is absent\)", row[1])
    sentence = r"Networks `(\w+)` and `(\w+)` code (\w+) or (\w+), networks `(\w+)` (\w+) or (\w+)\."
    first, second, *kinds = re.search(sentence, section("Models")).groups()
    for networks, *coded in ((first, *kinds[:2]), (second, *kinds[:2]), kinds[2:]):
        assert tuple(kind if kind != "tensors" else "tensor" for kind in coded) == tuple(
            kind.name for kind in weights.FAMILIES[networks].kinds
        )
    tile = next(row for row in rows("Models", "config of modulation") if row[0] == "tile")
    assert f"a multiple of {modulation.TILE_UNIT}" in tile[2]


def documented_tensors(heads, blocks):
    """Return the types and shapes, as formulas, of the tensors in the tables that begin with heads.

    Parameters
    ----------
    blocks : dict
        How many a network has.
    """
    found = {}
    for head in heads:
        for name, dtype, shape, _ in rows("Models", head):
            for k in range(blocks.get(name.split(".")[0], 0)) if "*k*" in name else range(1):
                found[name.replace("*k*", str(k + 1))] = (dtype, shape.replace("^", "**"))
    return found


@pytest.mark.parametrize("name", EVERY)
def test_tensors(name):
    data = EVERY[name]
    tensors = {name: tensor for name, tensor in load(data).items() if not name.startswith(("analysis.", "synthesis."))}
    sizes = names_of(data)
    blocks = {prefix: transform_weights.block_count(tensors, f"{prefix}.block") for prefix in features_weights.PREFIXES}
    around_z = ["tensor of the prior", "tensor of spatial" if name in SPATIAL else "tensor of modulation"]
    documented = documented_tensors(["tensor"] if name in PLAIN else ["tensor", *around_z], blocks)
    assert set(documented) == set(tensors)
    for name, (dtype, shape) in documented.items():
        terms = [products(term) for term in shape.split(", ")]
        assert tensors[name].dtype in [np.dtype(word.replace("I", "int")) for word in dtype.split(" or ")], name
        assert tensors[name].shape == tuple(eval(term, {}, sizes) for term in terms), name  # noqa: S307  ours
        if name.endswith(".shift"):
            assert ((tensors[name] >= 0) & (tensors[name] <= 31)).all()
        if name.endswith(".multiplier"):
            assert (np.abs(tensors[name].astype(np.int64)) <= 1 << 38).all()


def test_the_neighbours_of_the_prior():
    listed = [(int(number), tuple(map(int, pair.split(", ")))) for number, pair in rows("Prior", "neighbour")]
    assert listed == list(enumerate(prior.NEIGHBOURS))


@pytest.mark.parametrize(
    ("title", "name", "scales"),
    [
        ("Posterior", "scale_c", constants.POSTERIOR_SCALES),
        ("Prior", "y_(N+c)", constants.PRIOR_SCALES),
        ("Maps of features", "r_(N+c)", constants.POSTERIOR_SCALES),
    ],
)
def test_scales_of_latents(title, name, scales):
    assert f"scale clip({name}, {scales[0]}, {scales[1]})" in section(title)


def test_what_spatial_networks_see():
    text = section("Maps of features")
    assert int(re.search(r"of samples less (\d+)", text)[1]) == -features.centred(np.zeros(1), layout.samples())[0]
    scale, less = (int(v) for v in re.search(r"of bits (\d+) b - (\d+)\.", text).groups())
    assert features.centred(np.arange(2), layout.bits()).tolist() == [-less, scale - less]
    largest = re.search(r"the largest input is (\d+) of samples and (\d+) of bits for v", text)
    for found, coded in zip(largest.groups(), (layout.samples(), layout.bits()), strict=True):
        assert int(found) == features.largest_centred(coded)
    assert f"-{constants.RAW_LIMIT}, {constants.RAW_LIMIT})" in text
    assert constants.SUM_LIMIT == (1 << 31) - 1
    assert "<= 2^31 - 1" in text
    assert f"{layout.samples().largest_input} for samples and {layout.bits().largest_input} for bits" in section(
        "Exact networks"
    )


def test_tensors_of_transforms():
    C, n, f, T, L, blocks = 5, 7, 3, 4, 3, {"coarse": 2, "fine": 1}
    config = {"stream_limit": 99, "hidden_limit": 99}
    tensors = transform_model.make(C, (n, f), T, (blocks["coarse"], blocks["fine"]), L, config)
    sizes = {"C": C, "n": n, "f": f, "T": T, "L": L, "E": len(tensors["synthesis.steps"])}
    documented = {}
    for name, dtype, *columns, _ in rows("Transforms", "tensor"):
        count = blocks.get(name.split("*")[0], 1)
        for prefix, cell in zip(("synthesis", "analysis"), columns, strict=True):
            shape = tuple(eval(products(term), {}, sizes) for term in cell.split(", ") if term)  # noqa: S307  ours
            for k in range(1, count + 1) if shape else ():
                documented[f"{prefix}.{name.replace('*k*', str(k))}"] = (dtype.replace("I", "int"), shape)
    assert documented == transform_weights.tensor_shapes(tensors)
    entries = {name: re.findall(r"\d+", requirement) for name, _, requirement in rows("Transforms", "config")}
    assert entries == {name: [str(v) for v in limits] for name, limits in transform_weights.CONFIG.items()}


def test_constants_of_transforms():
    assert {name: int(value) for name, value, _ in rows("Transforms", "constant")} == {
        "patch": transform.PATCH,
        "samples": transform.SAMPLES,
        "centre": transform.CENTRE,
        "step bits": constants.STEP_BITS,
        "value bits": constants.VALUE_BITS,
        "value limit": constants.VALUE_LIMIT,
        "transform sum": constants.SUM_LIMIT,
        "transform multiplier": transform_weights.MULTIPLIER_LIMIT,
        "transform shift": constants.OUTPUT_SHIFT,
    }
    unit, bits = re.search(r"results y, in 1/(\d+) of a sample, lie within ±2\^(\d+)\.", section("Transforms")).groups()
    assert (int(unit), 1 << int(bits)) == (1 << constants.Y_BITS, constants.Y_LIMIT)


def test_steps_of_transforms():
    text = section("Transforms").replace("^", "**")
    found = re.search(r"^    v = (.+)$", text, re.MULTILINE)[1], re.search(r"q = (.+), with the model", text)[1]
    dequantised, quantised = (products(re.sub(r"\|(.)\|", r"abs(\1)", formula)) for formula in found)
    names = {"floor": np.floor, "sign": np.sign, "min": min, "abs": abs}
    for step in (1, 1 << 14, 99991, 1 << 24, (1 << 31) - 1):
        steps = np.array([step], dtype=np.int32)
        for q in (-32767, -300, -1, 0, 1, 2, 77, 2047):
            value = eval(dequantised, names, {"q": q, "step": step})  # noqa: S307  our own document
            assert value == quantisation.dequantise(np.full((1, 1, 1), q, np.int16), steps)[0, 0, 0]
        for y in (-(1 << 20), -999, 0, 5, 333, 70000):
            for rounding in (128, 50):
                value = eval(quantised, names, {"y": y, "step": step, "limit": 2047, "rounding": rounding / 256})  # noqa: S307
                found = quantisation.quantise(np.full((1, 1, 1), y, np.int32), steps, 2047, rounding)
                assert value == found[0, 0, 0]


def test_every_section_that_code_cites_exists():
    cited = {}
    for folder in ("codec", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for titles in CITATION.findall(path.read_text(encoding="utf-8")):
                for title in re.findall(r'"([^"]+)"', titles):
                    cited[title] = path.name
    assert len(cited) >= 10
    assert set(cited) <= set(SECTIONS)


def test_every_file_of_the_format_cites_a_section():
    folders = {
        "format": "fields headers container metadata png wide_png bare_png archive_index archive_sections",
        "entropy": "rans tables mixtures",
        "networks": "checks quantisation convolutions depthwise transform",
        "frozen": "contexts layout likelihood prior modulation features plain model weights shipped",
        "vlae": "image coders decoding wavefront adaptation",
        "wide": "parts low_planes",
        "archive": "blocks reader",
    }
    for folder, names in folders.items():
        for name in names.split():
            assert "FORMAT.md" in (ROOT / "codec" / folder / f"{name}.py").read_text(encoding="utf-8"), name


def test_contexts_of_the_documented_rule():
    radius = 4
    legal = [
        (k, j)
        for k in range(radius + 1)
        for j in range(-radius, radius + 1)
        if j <= 2 * k - 1 and k * k + j * j <= radius * (radius + 1)
    ]
    assert contexts.offsets(radius).tolist() == [list(pair) for pair in legal]
    assert f"A radius of 4 has {len(legal)} contexts" in section("Waves and contexts")


def test_windows_of_the_documented_rule():
    columns, up = map(
        int, re.search(r"A window of (\d+) columns and (\d+) rows has", section("Waves and contexts")).groups()
    )
    beside = columns // 2
    legal = [(k, j) for k in range(up + 1) for j in range(-beside, beside + 1) if j <= 2 * k - 1]
    assert contexts.window(columns, up).tolist() == [list(pair) for pair in legal]
    assert f"has {len(legal)} contexts" in section("Waves and contexts")


def numbers_of(title, data):
    """Return the numbers of an example's fields, by name, and check that the fields follow each other."""
    found, end = {}, 0
    for place, name, value in rows(title, "bytes"):
        first, last = int(place[:2], 16), int(place[-2:], 16)
        assert first == end
        end = last + 1
        found[name] = int.from_bytes(data[first:end], "little")
        written = re.match(r"[0-9a-f]+", value)
        if name.endswith("crc"):
            assert found[name] == int(written[0], 16)
        elif name == "weights_hash":
            assert data[first:end].hex() == written[0]
        elif name == "magic":
            assert data[first:end] == value.encode()
        elif name not in ("PNG", "payload"):
            assert found[name] == int(written[0])
    assert end == len(data)
    return found


def test_example_of_a_stored_file():
    data = hex_bytes("Examples", numbered=True)
    image = codec.decompress(data)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("L", (1, 1), 77)
    found = numbers_of("Examples", data)
    assert list(found) == ["magic", "version", "file_crc", "form", "sides", "samples_crc", "PNG"]
    assert found["samples_crc"] == container.unpack(data).header.samples_crc


def test_example_of_a_message():
    message = rans.empty_message()
    (_, _, empty, _), *pushes = rows("Examples", "start")
    assert int(message.head[0]) == int(empty, 16)
    for start, freq, head, word in pushes:
        size = int(message.size[0])
        push_intervals(message, np.array([int(start, 16)], np.uint32), np.array([int(freq, 16)], np.uint32))
        assert int(message.head[0]) == int(head, 16)
        assert [f"{w:x}" for w in message.tail[size : message.size[0]]] == word.split()
    assert rans.flatten(message) == hex_bytes("Examples", numbered=False)


def test_example_of_a_distribution():
    table, grid = mixtures.load_tables(), mixtures.sample_grid(0, 0)
    prepared = np.zeros(3 * constants.COMPONENTS, dtype=np.int64)
    raw = np.array([0, -64, 300, -77, 16, 64])
    mixtures.prepare(raw, 2, 25600, prepared, table)
    weights, _, inverse = prepared.reshape(3, -1)[:, :2].tolist()
    assert (weights, inverse) == ([21846, 10922], [741455, 262144])
    text = section("Examples")
    assert "weights are 21846 and 10922" in text
    assert "scales 741455 and 262144" in text
    cums = []
    for k, _, _, cum in rows("Examples", "k"):
        cums.append(mixtures.cumulative(int(k), grid, prepared, table))
        assert int(cum) == cums[-1]
    assert f"start {cums[0]} and freq {cums[1] - cums[0]}" in text
    centre = mixtures.mean(prepared)
    grid = mixtures.sample_grid(centre, 2)
    middle = (grid.first + grid.step // 2) // 256
    assert f"centre is {centre}, so b = {middle}, n = {grid.count} and first = {grid.first}." in text
    symbol = mixtures.symbol_of(centre, grid)
    same = [x for x in range(256) if mixtures.symbol_of(x, grid) == symbol]
    decoded = mixtures.value_of(symbol, grid, 0, 255)
    assert f"samples {same[0]}..{same[-1]} have symbol {symbol} and are decoded as {decoded}." in text


def test_example_of_a_lossy_file():
    title = "A lossy file"
    data = hex_bytes(title, numbered=True)
    text = section(title)
    file = container.unpack(data)
    assert numbers_of(title, data)["form"] == 3
    lossy = shipped.load_model(shipped.LOSSY)
    raster, samples_crc = decoding.decode(lossy, file)
    q = raster.samples
    assert f"The head is then {(1 << 31) + samples_crc:x} (hexadecimal), so samples_crc is {samples_crc:08x}." in text
    values = quantisation.dequantise(q, lossy.transforms.steps[file.header.condition])
    where = np.flatnonzero(q)
    listed = [", ".join(map(str, a.reshape(-1)[where])) for a in (q, values)]
    assert f"q is {listed[0]} in the channels {', '.join(map(str, where))} and 0 in the others" in text
    assert f"dequantise to {listed[1]} sixteenths" in text
    samples = [list(map(int, line.split())) for line in re.findall(r"^    (\d+(?: \d+){7})$", text, re.MULTILINE)]
    np.testing.assert_array_equal(np.asarray(codec.decompress(data)), samples)
