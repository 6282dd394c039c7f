"""How much clips, by stage: for whoever reads what a device has counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fdht.compiler.image import Image
from fdht.compiler.schedule import Contraction
from fdht.spec.bundle import Bundle
from fdht.spec.instructions import Segment
from fdht.spec.rounds import in_turn

CLIPS = 4
"""Clips of a bundle on which it is looked how much clips."""


def words_of(image: Image) -> dict[str, float]:
    """Words per step that come of each place, at most."""
    total = Counter[str]()
    for place, instruction in zip(image.places, image.machine.programs[Segment.ARRAY_PROGRAM], strict=True):
        total[place] += int(Contraction(instruction, image.target).kept.sum()) * (1 + instruction["add"])
    return {place: words / max(image.streams, 1) for place, words in total.items()}


def by_place(image: Image, clipped: Mapping[int, int]) -> dict[str, int]:
    """Clipped words by place, of those by array instruction."""
    total = Counter(dict.fromkeys(image.places, 0))
    for number, place in enumerate(image.places):
        total[place] += clipped.get(number, 0)
    return dict(total)


def with_clipping(image: Image, bundle: Bundle) -> Image:
    """The image, with the words per step that clip at each place on some of its bundle's clips; as it is, for an engine
    without tallies.
    """
    if not image.target.build.features.tallies:
        return image
    machine, total, steps = image.machine, Counter[int](), 0
    clips: Sequence[np.ndarray] = [bundle.clip(number) for number in range(min(CLIPS, len(bundle.clips)))]
    for clip in clips:
        frames = image.known(in_turn([len(clip)])) if image.streams else None
        run = machine.run(clip) if frames is None else machine.run_streams(frames, clip)
        total.update(run.clipped)
        steps += len(clip)
    return replace(image, clipping={place: count / max(steps, 1) for place, count in by_place(image, total).items()})
