"""Immutable messages that share their words.

The message of an archive's chain gets longer with each image, and an encoder tries several ways to encode an image. So
it must be able to go on from the same message several times. To go on from a `Stack` takes only the time of the pushes
and pops, however many words it holds: its words lie in layers, and all messages that go on from a layer share it.

    message, rest = stack.lift(words)       at most ``words`` words will be popped
    ...                                     pushes and pops
    stack = rest.lay(message)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import LOWER
from codec.entropy.rans import Message, head_bytes

U32 = NDArray[np.uint32]


class _Layer(NamedTuple):
    """Words, of which the last pushed stands at the end, and the layer below them."""

    words: U32
    below: _Layer | None


@dataclass(frozen=True)
class Stack:
    """An immutable message. Without arguments it is an empty one.

    Attributes
    ----------
    head : int
    size : int
        Number of words.
    """

    head: int = LOWER
    size: int = 0
    _top: _Layer | None = field(default=None, repr=False)

    def lift(self, words: int) -> tuple[Message, Stack]:
        """Return a message with the head and the uppermost ``words`` words, and the stack of the other words.

        If there are fewer words, the message has all of them. Pops may take at most ``words`` words more than pushes
        add. The head of the other stack has no meaning. `lay` is the inverse.
        """
        lifted = wanted = min(words, self.size)
        layer, parts = self._top, [np.zeros(1, dtype=np.uint32)]  # so that the array is never empty
        while wanted and layer is not None:
            kept = max(len(layer.words) - wanted, 0)
            parts.append(layer.words[kept:])
            wanted -= len(layer.words) - kept
            layer = _Layer(layer.words[:kept], layer.below) if kept else layer.below
        tail = np.concatenate(parts[::-1])
        message = Message(np.array([self.head], dtype=np.uint64), tail, np.array([lifted]))
        return message, Stack(LOWER, self.size - lifted, layer)

    def lay(self, message: Message) -> Stack:
        """Return the stack with a message on top of this one, whose own head is dropped. The inverse of `lift`."""
        size = int(message.size[0])
        top = _Layer(message.tail[:size].copy(), self._top) if size else self._top
        return Stack(int(message.head[0]), self.size + size, top)

    @property
    def flat_bytes(self) -> int:
        """Number of bytes of the message laid flat."""
        return 4 * self.size + len(head_bytes(self.head))

    def flatten(self) -> bytes:
        """Return the message's bytes, as `codec.entropy.rans.flatten` does."""
        parts = [head_bytes(self.head)]
        layer = self._top
        while layer is not None:
            parts.append(layer.words.astype("<u4").tobytes())
            layer = layer.below
        return b"".join(reversed(parts))
