"""The golden vectors of a bundle: which are looked at, their classes, and how what was computed differs from them."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from fdht.spec.bundle import Bundle
from fdht.spec.clips import classes_of, spread_over
from fdht.spec.errors import FdhtError, SpecError

SHOWN_MISMATCHES = 10
"""Differences that are shown one by one; of the others only the number is said."""

CLIPS_AT_ONCE = 25
"""What the golden model runs together: enough to be fast, few enough for the memory of a small machine."""

CLIPS = 3
"""How many clips are looked at, where nobody says and there are as many."""


class Disagreement(FdhtError):
    """What was computed and its prediction differ."""


def spread(bundle: Bundle, count: int | None) -> list[int]:
    """Numbers of `count` clips of the bundle, spread over all of them; of `CLIPS` or all there are when left out.

    Raises:
        SpecError: fewer than one, or more than there are.
    """
    if not len(bundle.clips):
        raise SpecError("the bundle holds no clips; compile the checkpoint anew")
    count = min(CLIPS, len(bundle.clips)) if count is None else count
    if not 1 <= count <= len(bundle.clips):
        raise SpecError(f"{count} clips asked for, the bundle holds {len(bundle.clips)}; choose 1..{len(bundle.clips)}")
    return spread_over(len(bundle.clips), count).tolist()


def golden_classes(bundle: Bundle) -> np.ndarray:
    """The golden model's class of each clip of the bundle: the first of the largest logits, -1 without a head."""
    return classes_of(bundle.logits)


def float_class(bundle: Bundle, clip: int) -> int | None:
    """The float model's class of a clip, as noted when the bundle was made."""
    classes = bundle.about.get("float_classes")
    return None if classes is None else classes[clip]


def disagreements(bundle: Bundle) -> list[dict]:
    """Clips of the bundle to which integers and float model give different classes."""
    classes, golden = bundle.about.get("float_classes", []), golden_classes(bundle).tolist()
    return [
        {"clip": clip, "label": int(bundle.labels[clip]), "float": of_float, "golden": golden[clip]}
        for clip, of_float in enumerate(classes)
        if of_float != golden[clip]
    ]


def against_vectors(bundle: Bundle, clip: int, logits: np.ndarray, hidden: np.ndarray) -> list[str]:
    """What was computed against the golden model's vectors in the bundle, one sentence per differing word."""
    hidden = hidden[-bundle.spec.hidden :]  # of the last layer
    pairs = {"logit": (logits, bundle.logits[clip]), "h of unit": (hidden, bundle.hidden[clip])}
    return [
        f"clip {clip}: {name} {k} is {seen[k]}, {expected[k]} in the golden model"
        for name, (seen, expected) in pairs.items()
        for k in np.flatnonzero(seen != expected)
    ]


def run_again(bundle: Bundle, progress: Callable[[int], None]) -> dict[str, float]:
    """Runs the golden model on every clip of the bundle anew; `progress` is called with the clips done.

    Returns:
        The fraction of values that were clipped, by place.

    Raises:
        Disagreement: it no longer gives the vectors of the bundle.
    """
    from fdht.model.golden import GoldenLSTM  # torch takes seconds to load, and simulations do without

    model, clipped, values = GoldenLSTM(bundle), Counter[str](), Counter[str]()
    for start in range(0, len(bundle.clips), CLIPS_AT_ONCE):
        some = slice(start, start + CLIPS_AT_ONCE)
        trace = model.run(bundle.clips[some], lengths=None if bundle.lengths is None else bundle.lengths[some])
        vectors = (trace.logits.numpy(), bundle.logits[some]), (trace.last.numpy(), bundle.hidden[some])
        if not all(np.array_equal(found, kept) for found, kept in vectors):
            raise Disagreement(
                "the golden model no longer gives the vectors of this bundle; compile the checkpoint anew"
            )
        clipped.update(trace.saturations)
        values.update(trace.values)
        progress(min(start + CLIPS_AT_ONCE, len(bundle.clips)))
    return {place: clipped[place] / count for place, count in values.items()}
