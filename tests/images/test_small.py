"""The models of small images: a single one, alike ones, few and many, and those that only look like digits."""

import numpy as np
import pytest
from PIL import Image
from support.make_golden import draw, draw_digit

import codec
from codec.commands import demo
from codec.frozen import shipped
from codec.images import small
from codec.images.choice import pixels_for
from codec.images.goals import LOSSLESS, goal_of
from codec.images.small import BLACK_AND_WHITE, COLOURS, models_for

SHRUNK = Image.fromarray(demo.draw()).resize((64, 48), Image.Resampling.LANCZOS)


def thumbnails(count, side=32, grain=0):
    """Return small images that are shrunk and cut as thumbnails are."""
    found = []
    for number in range(count):
        x, y = 2 * number % (SHRUNK.width - side), number % (SHRUNK.height - side)
        thumbnail = np.asarray(SHRUNK.crop((x, y, x + side, y + side)))
        noise = np.random.default_rng(number).normal(0, grain, thumbnail.shape)
        found.append(Image.fromarray(np.clip(np.rint(thumbnail + noise), 0, 255).astype(np.uint8)))
    return found


def names(images, goal=LOSSLESS):
    found = models_for(images, lambda image: pixels_for(image, goal), goal)
    return [model and model.name for model in found]


def test_many_small_images_get_a_model_of_their_own_and_few_do_not():
    assert names(thumbnails(16)) == [COLOURS] * 16
    assert names(thumbnails(1)) == [None]
    assert names(thumbnails(small.FEWEST - 1)) == [None] * (small.FEWEST - 1)
    assert names(thumbnails(16, grain=3)) == [None] * 16


@pytest.mark.parametrize("mode", ["1", "L"])
def test_one_digit_is_enough(mode):
    digit = draw_digit(28, 28, seed=1).convert(mode)
    assert names([digit]) == [BLACK_AND_WHITE]
    data = codec.compress(digit, lossless=True)
    assert codec.info(data).fidelity == "lossless"
    assert len(data) == len(codec.compress(digit, lossless=True, model=BLACK_AND_WHITE))
    back = codec.decompress(data)
    assert (back.mode, back.tobytes()) == (digit.mode, digit.tobytes())


def test_each_image_gets_the_model_of_its_kind():
    digits = [draw_digit(28, 28, seed=seed).convert("1L"[seed % 2]) for seed in range(4)]
    keyed = digits[1].copy()
    keyed.info["transparency"] = 0
    large = draw("RGB", 256, 128, seed=1)
    mixed = [*digits, keyed, large, draw("P", 20, 20, seed=1), *thumbnails(16)]
    assert names(mixed) == [*[BLACK_AND_WHITE] * 4, None, None, None, *[COLOURS] * 16]


@pytest.mark.parametrize("goal", [goal_of(quality=50), goal_of(max_error=1)])
def test_other_goals_leave_only_black_and_white_exact(goal):
    bits = draw_digit(28, 28, seed=1)
    assert names([bits, bits.convert("L"), *thumbnails(16)], goal) == [BLACK_AND_WHITE, None, *[None] * 16]


def test_what_only_looks_like_a_digit_is_stored():
    stripes = Image.fromarray(np.tile(np.uint8([0, 255]), (64, 32))).convert("1")
    assert codec.info(codec.compress(stripes, lossless=True)).fidelity == "stored"


def test_ways_that_a_caller_names_are_kept():
    digit = draw_digit(28, 28, seed=1).convert("L")
    facts = codec.info(codec.compress(digit, lossless=True, model="photo"))
    assert facts.fidelity == "stored" or facts.model == shipped.LOSSLESS
