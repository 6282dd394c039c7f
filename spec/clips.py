"""Rules about clips that all follow: the order in which words are sent, the class that logits give, which clips."""

import numpy as np


def in_sending_order(frames: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """The raw words of frames (… × N) in the order in which an engine takes them.

    Args:
        order: for each place in that order the word's position in the frame, N integers; None keeps the frame's own.
    """
    return frames if order is None else frames[..., order]


def classes_of(logits: np.ndarray) -> np.ndarray:
    """The class of each vector of logits (… × classes → …): the first of the largest, -1 without a head."""
    if logits.shape[-1] == 0:
        return np.full(logits.shape[:-1], -1)
    return logits.argmax(-1)


def spread_over(there: int, count: int) -> np.ndarray:
    """Numbers of `count` clips of those there are, evenly from the first to the last; some twice if there are fewer."""
    return np.linspace(0, there - 1, count).astype(int)
