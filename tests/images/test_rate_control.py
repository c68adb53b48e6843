"""Goals and the search for the quality that meets them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.images.goals import DEFAULT_QUALITY, Goal, Kind, goal_of
from codec.images.rate_control import last_below


@given(
    steps=st.lists(st.floats(0.001, 1), min_size=100, max_size=100),
    target=st.floats(-1, 60),
    slope=st.floats(0.001, 1),
)
def test_the_last_one_below_is_found_in_few_trials(steps, target, slope):
    values = np.cumsum(steps)
    tried = []

    def measure(quality):
        tried.append(quality)
        return float(values[quality - 1])

    assert last_below(measure, 100, target, slope) == int((values <= target).sum())
    assert len(tried) == len(set(tried)) <= 21


def test_on_what_is_nearly_a_line_few_trials_do():
    for target in np.linspace(2.0, 5.4, 50):
        tried = []

        def measure(quality, tried=tried):
            tried.append(quality)
            return 2 + 0.035 * quality + 0.02 * np.sin(quality / 9)

        quality = last_below(measure, 100, target, 0.035)
        assert measure(quality + 1) > target
        assert quality == 0 or measure(quality) <= target
        assert len(tried) <= 8


def test_without_a_word_it_is_the_default_quality():
    assert goal_of() == Goal(Kind.QUALITY, DEFAULT_QUALITY)
    assert goal_of(lossless=True) == goal_of(max_error=0) == Goal(Kind.MAX_ERROR, 0)
    assert goal_of(target_bpp=0.5, quality=None) == Goal(Kind.BPP, 0.5)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"lossless": True, "max_error": 0}, ValueError),
        ({"quality": 50, "target_size": 1000}, ValueError),
        ({"quality": 0}, ValueError),
        ({"quality": 101}, ValueError),
        ({"quality": 50.0}, TypeError),
        ({"quality": True}, TypeError),
        ({"max_error": 11}, ValueError),
        ({"target_size": 0}, ValueError),
        ({"target_size": 10.5}, TypeError),
        ({"target_bpp": -1.0}, ValueError),
        ({"target_bpp": "1"}, TypeError),
        ({"target_bpp": float("nan")}, ValueError),
        ({"min_psnr": float("inf")}, ValueError),
    ],
)
def test_what_is_no_goal_is_refused(given, error):
    with pytest.raises(error, match="expected"):
        goal_of(**given)
