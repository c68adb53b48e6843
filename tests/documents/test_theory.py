"""The pushes and pops that docs/THEORY.md shows are those of the coder."""

import re
from math import log2
from pathlib import Path

from codec.entropy import rans

THEORY = (Path(__file__).parents[2] / "docs" / "THEORY.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\| (push|pop) ([AB]) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) to (\d+)", re.MULTILINE)


def test_the_table_of_pushes_and_pops():
    message = rans.empty_message()
    steps = STEP.findall(THEORY)
    assert [f"{what} {symbol}" for what, symbol, *_ in steps] == ["push A", "push B", "pop B", "pop A"]
    for what, _, *numbers in steps:
        before, start, freq, after, bits_before, bits_after = map(int, numbers)
        assert int(message.head[0]) == before
        assert round(log2(before), 2) == bits_before
        if what == "push":
            rans.push(message, start, freq)
        else:
            assert start <= rans.peek(message) < start + freq
            rans.drop(message, start, freq)
        assert int(message.head[0]) == after
        assert round(log2(after), 2) == bits_after
    assert rans.is_empty(message)
    assert f"34372321280 % 2^24 = {34372321280 % 2**24}, " in THEORY
