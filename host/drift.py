"""What a device has clipped since its image was loaded, and whether that is more than it should be."""

import warnings
from collections import Counter

from fdht.compiler.clipping import by_place, words_of
from fdht.compiler.image import Image
from fdht.host.connection import Connection
from fdht.spec.tallies import tallies

DRIFT = 4
"""How many times as many words as on the bundle's own clips may clip at a place."""

LEAST = 1e-3
"""Share of a place's words below which clipping is no matter."""


class DriftWarning(UserWarning):
    """A stage clips far more on the device than it did on the clips that the model was compiled with."""


class Drift:
    """Adds up the tallies of runs.

    Args:
        image: that is loaded.

    Attributes:
        steps: finished, by stream. clipped: words, by place.
    """

    def __init__(self, image: Image):
        self._image, self._words = image, words_of(image)
        self.steps = dict.fromkeys(range(max(image.streams, 1)), 0)
        self.clipped = dict.fromkeys(self._words, 0)
        self._told = set[str]()

    def add(self, connection: Connection) -> None:
        """Adds those of the run that is over, or that goes on when the engine waits for inputs; warns, once for a
        place.
        """
        image = self._image
        counts = list[int]()
        while len(counts) < tallies(image.target):
            counts += connection.tallies(len(counts))
        for stream in self.steps:
            self.steps[stream] += counts[stream * image.apart]
        of_instructions = Counter(dict(enumerate(counts[image.target.streams : tallies(image.target)])))
        for place, count in by_place(image, of_instructions).items():
            self.clipped[place] += count
        self._look()

    def _look(self) -> None:
        steps = sum(self.steps.values())
        for place, expected in self._image.clipping.items():
            most = max(DRIFT * expected, LEAST * self._words[place])
            if steps and self.clipped[place] > most * steps and place not in self._told:
                self._told.add(place)
                warnings.warn(
                    f"{place} clips {self.clipped[place] / steps:.3g} of {self._words[place]:.0f} words a step, where "
                    f"it clipped {expected:.3g} on the bundle's clips; look whether inputs are still in the range that "
                    "the model was trained on, or compile it anew with clips of today",
                    DriftWarning,
                    stacklevel=4,
                )
