"""The segments of an image: words of memories, and what lies in them lane by lane."""

from collections.abc import Mapping

import numpy as np

from fdht.spec.instructions import WORD, Segment, segment_width, words_for
from fdht.spec.target import Target

Segments = Mapping[Segment, np.ndarray]
"""Memory words by segment, as Python integers in object arrays."""


def pack(lanes: np.ndarray, width: int) -> np.ndarray:
    """Words × lanes of signed integers as one integer per word, lane 0 in the least significant bits."""
    mask = (1 << width) - 1
    result = np.zeros(len(lanes), dtype=object)
    for lane in range(lanes.shape[1]):
        result += np.array([(int(value) & mask) << lane * width for value in lanes[:, lane]], dtype=object)
    return result


def unpack(words: np.ndarray, lanes: int, width: int) -> np.ndarray:
    """The inverse of packing: signed integers, words × lanes."""
    mask, sign = (1 << width) - 1, 1 << width - 1
    rows = [[((word >> lane * width & mask) ^ sign) - sign for lane in range(lanes)] for word in words]
    return np.array(rows, dtype=np.int64).reshape(len(words), lanes)


def stream_words(segments: Segments, target: Target, table_width: int) -> np.ndarray:
    """The image as the 16-bit words fdht.hw.engine.loader.ImageLoader takes: per segment number, address, count,
    words."""
    words: list[int] = []
    for segment, content in segments.items():
        if not len(content):
            continue
        parts = words_for(segment_width(target, segment, table_width))
        first = target.scratchpad_words - len(content) if segment is Segment.SCRATCHPAD else 0
        words += [int(segment), first, len(content)]
        words += [int(word) >> WORD * part & (1 << WORD) - 1 for word in content for part in range(parts)]
    return np.array(words, dtype=np.uint16)
