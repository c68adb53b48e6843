"""Messages that never change, of which others are made: what they have in common is kept once.

A chain of an archive gets longer with each image, and an encoder may give up what it made or make it otherwise.
To go on from a `Stack` takes as long as what is pushed and popped, whatever else it holds: its words lie in
layers that are shared, those of an image on those of the images before.

    message, rest = stack.lift(words)       words: no more are popped
    ...                                     pushes and pops
    stack = rest.lay(message)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import LOWER
from codec.entropy.rans import Message

U32 = NDArray[np.uint32]


class _Layer(NamedTuple):
    """Words, the last pushed at the end, and the layer below them."""

    words: U32
    below: _Layer | None


@dataclass(frozen=True)
class Stack:
    """A message; without arguments an empty one.

    Attributes
    ----------
    head : int
    size : int
        Words.
    """

    head: int = LOWER
    size: int = 0
    _top: _Layer | None = field(default=None, repr=False)

    def lift(self, words: int) -> tuple[Message, Stack]:
        """Return a message with the head and the uppermost ``words``, or all that there are; and the rest.

        Whoever changes the message may pop so many words more than it pushes, and no more. The head of the rest means
        nothing. `lay` is the inverse.
        """
        lifted = wanted = min(words, self.size)
        layer, parts = self._top, [np.zeros(1, dtype=np.uint32)]  # so that an empty tail is an array too
        while wanted and layer is not None:
            kept = max(len(layer.words) - wanted, 0)
            parts.append(layer.words[kept:])
            wanted -= len(layer.words) - kept
            layer = _Layer(layer.words[:kept], layer.below) if kept else layer.below
        tail = np.concatenate(parts[::-1])
        message = Message(np.array([self.head], dtype=np.uint64), tail, np.array([lifted]))
        return message, Stack(LOWER, self.size - lifted, layer)

    def lay(self, message: Message) -> Stack:
        """Return the stack of a message on top of this one, whose head is dropped; the inverse of `lift`."""
        size = int(message.size[0])
        top = _Layer(message.tail[:size].copy(), self._top) if size else self._top
        return Stack(int(message.head[0]), self.size + size, top)

    def flatten(self) -> bytes:
        """Return the message's bytes, as `codec.entropy.rans.flatten` does."""
        parts = [self.head.to_bytes(8, "little")]
        layer = self._top
        while layer is not None:
            parts.append(layer.words[::-1].astype("<u4").tobytes())
            layer = layer.below
        return b"".join(parts)
