"""What a device, and its driver in front of it, have clipped since an image was loaded, and whether it is too much."""

import warnings
from collections import Counter

import numpy as np

from fdht.compiler.clipping import by_place, words_of
from fdht.compiler.image import Image
from fdht.host.connection import Connection
from fdht.spec.errors import SpecError
from fdht.spec.scaling import DEVIATIONS
from fdht.spec.tallies import tallies

DRIFT = 4
"""How many times as many words as on the bundle's own clips may clip at a place."""

LEAST = 1e-3
"""Share of a place's words below which clipping is no matter."""

BEYOND = 1 / DEVIATIONS**2
"""Share of real values that may lie beyond the range of words, which reaches so many standard deviations or further. Of
no distribution more than this share does (Chebyshev's inequality), if it has the mean and the deviation of the training
data's.
"""

ENOUGH = 1000
"""Real values of which a share says something."""


class DriftWarning(UserWarning):
    """A stage clips far more on the device than on the clips that the model was compiled with, or inputs lie beyond the
    range of its words.
    """


class Inputs:
    """Makes clips the raw words of an image, and counts real values that have none.

    Args:
        image: that is loaded.

    Attributes:
        values: real ones that were scaled. beyond: of these, how many lay beyond what words reach.
    """

    def __init__(self, image: Image):
        self._image, self._told = image, False
        self.values = self.beyond = 0

    def words(self, clip: np.ndarray) -> np.ndarray:
        """A clip's (… × N) raw words: itself, or its real values scaled. Warns once of too many that have no word.

        Raises:
            SpecError: real values where the image says no scaling, or a part of the user's module is missing in front
                of it; no numbers, or words beyond the range.
        """
        if clip.dtype.kind != "f":
            self._image.input.check(clip)
            return clip
        if self._image.host:
            raise SpecError(
                f"clips of {clip.dtype}, and {' and '.join(self._image.host)}, in front of the model's LSTM, stays on "
                "the host: pass accelerator.words(x), which runs it (fdht.compile); of values that went through it, "
                "image.scaling.to_words(values)"
            )
        scaling = self._image.scaling
        if scaling is None:
            raise SpecError(
                f"clips of {clip.dtype}, and the image says nothing of how real values are scaled; pass raw words of "
                f"{self._image.input.raw}"
            )
        words = scaling.to_words(clip)
        self.values += clip.size
        self.beyond += scaling.saturated(clip)
        if self.values >= ENOUGH and self.beyond > BEYOND * self.values and not self._told:
            self._told = True
            warnings.warn(
                f"{self.beyond:,} of {self.values:,} real values lie beyond the range that the model's words reach, "
                f"and are clipped; of data as in training at most {BEYOND:.1%} do; look whether inputs are still in "
                "the range that the model was trained on, or train it anew with data of today",
                DriftWarning,
                stacklevel=4,
            )
        return words


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
