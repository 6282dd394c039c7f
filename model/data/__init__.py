"""The data sets, by name: those that come inside packages, those in folders, and a user's own."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import cast

from fdht.model.data.films import clip_segments, playing_direction
from fdht.model.data.folders import Hmdb51, Recording, Ucf11, Ucf50, VideoFolder, YouTubeFaces
from fdht.model.data.numerals import digits, spoken_digits
from fdht.model.data.orl import faces, faces_hard, faces_rgb, faces_rgb_11
from fdht.model.data.sets import FRAME_HEIGHT, FRAME_SHAPE, FRAME_WIDTH, DataSet, Split
from fdht.model.data.video import CACHE
from fdht.spec.errors import SpecError
from fdht.spec.record import Checked, Count, Text

__all__ = [
    "CACHE",
    "DATA_SETS",
    "FOLDERS",
    "FRAME_HEIGHT",
    "FRAME_SHAPE",
    "FRAME_WIDTH",
    "DataSet",
    "Recording",
    "Source",
    "Split",
    "VideoFolder",
    "load",
    "own",
    "protocol",
]

DATA_SETS: dict[str, Callable[[], DataSet]] = {
    "digits": digits,
    "spoken-digits": spoken_digits,
    "faces": faces,
    "faces-hard": faces_hard,
    "faces-rgb": faces_rgb,
    "faces-rgb-11": faces_rgb_11,
    "clip-segments": clip_segments,
    "playing-direction": playing_direction,
}
"""Those that come inside packages: nothing is downloaded."""

FOLDERS: dict[str, type[VideoFolder]] = {
    layout.name: layout for layout in (VideoFolder, Ucf11, Ucf50, Hmdb51, YouTubeFaces)
}
"""Those that lie in a folder of the user's."""


MOST_FRAMES = 4096
"""Most frames of a clip in a folder."""


@dataclass(frozen=True)
class Source(Checked):
    """Which data set, and how it is read; a checkpoint notes it, so that the clips are found again.

    Attributes:
        name: of `DATA_SETS` or `FOLDERS`, or `module:name` of one's own, see `own`.
        folder: where the clips lie; None for data sets that need none.
        frames, split, fold: of clips in a folder, see `VideoFolder.load`.

    Raises:
        SpecError: no frames, or more than `MOST_FRAMES`.
    """

    name: Text
    folder: str | None = None
    frames: Count = 6
    split: Text = "group"
    fold: Count = 0

    def __post_init__(self):
        if not 1 <= self.frames <= MOST_FRAMES:
            raise SpecError(f"{self.frames} frames in a clip; it has 1 to {MOST_FRAMES:,}")

    def __str__(self) -> str:
        if self.folder is None:
            return self.name
        return f"{self.name} in {self.folder} ({self.frames} frames, split by {self.split}, fold {self.fold})"


def load(
    source: Source | str, *, cache: Path | None = CACHE, progress: Callable[[int, int], None] | None = None
) -> DataSet:
    """A data set by name, or from a folder.

    Args:
        cache: where decoded clips are kept, None for nowhere.
        progress: called with (clips read, clips there are) while a folder is read.

    Raises:
        SpecError: no such data set; names those there are. Or one of somebody's own that `own` was not told. Or a
            folder is missing, or given where none is used.
        FileError: the package that ships it is missing, or the folder holds nothing of the kind.
    """
    source = Source(source) if isinstance(source, str) else source
    found = _find(source.name)
    if isinstance(found, type) and issubclass(found, VideoFolder):
        if source.folder is None:
            raise SpecError(f"{source.name} is read from a folder; say which with --data-folder")
        return found().load(
            source.folder, frames=source.frames, split=source.split, fold=source.fold, cache=cache, progress=progress
        )
    if source != Source(source.name):
        raise SpecError(
            f"{source.name} has clips and splits of its own; leave out --data-folder, --frames, --split and --fold"
        )
    return _checked(source.name, found())


def protocol(name: str) -> str:
    """What a data set is and how it is split, in the words of its docstring.

    Raises:
        SpecError: no such data set.
    """
    return (_find(name).__doc__ or "").partition("\n    Raises:")[0].rstrip()


_OWN: dict[str, Callable[[], DataSet] | type[VideoFolder]] = {}
"""What the user of this process has named, by `module:name`."""


def own(name: str) -> None:
    """Imports a data set of one's own, so that `load` knows it by this name.

    To be called with what the user has said, never with what a file says: a module's code runs when it is imported.

    Args:
        name: `module:name`, a function that returns a `DataSet`, or a subclass of `VideoFolder`; modules are found in
            the current folder, too.

    Raises:
        SpecError: it cannot be imported, or is neither.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # the installed command does not look where it is called
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SpecError(f"{name} cannot be imported ({error}); name a function or a VideoFolder of yours") from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise SpecError(f"{name} is a {type(found).__name__}; name a function or a VideoFolder of yours")
    _OWN[name] = cast("Callable[[], DataSet] | type[VideoFolder]", found)


_FOR = {"train": "train", "validation": "validate", "final": "train finally", "test": "test"}


def _checked(name: str, data: object) -> DataSet:
    if not isinstance(data, DataSet):
        raise SpecError(f"{name} gives a {type(data).__name__}; a function for a data set returns a DataSet")
    for what in ("train", "validation", "final", "test"):
        if not len(getattr(data, what)):
            raise SpecError(f"{name} has no clips to {_FOR[what]}; its split {what} must have at least one")
        if fault := _fault(data, getattr(data, what)):
            raise SpecError(f"the split {what} of {name} {fault}")
    return data


def _fault(data: DataSet, split: Split) -> str | None:
    """What is wrong with a split of one's own, in words that follow its name."""
    frames, order, labels, raw = split.frames, split.order, split.labels, data.input_format.raw
    if frames.ndim != 2 or order.ndim != 2 or labels.shape != order.shape[:1]:
        return f"has frames {frames.shape}, order {order.shape} and labels {labels.shape}; make them F × N, B × T and B"
    if frames.shape[1] != data.inputs or order.shape[1] != data.steps:
        return f"has other steps than the test's, which are {data.steps} of {data.inputs} words"
    if any(array.dtype.kind not in "iu" for array in (frames, order, labels)):
        return f"has frames of {frames.dtype}, order of {order.dtype}, labels of {labels.dtype}; all are whole numbers"
    if frames.min() < raw.min or frames.max() > raw.max:
        return f"has words from {frames.min()} to {frames.max()}; its format has {raw.min} to {raw.max}"
    if order.min() < 0 or order.max() >= len(frames):
        return f"asks for frames {order.min()} to {order.max()} of 0 to {len(frames) - 1}"
    if labels.min() < 0 or labels.max() >= data.classes:
        return f"has labels from {labels.min()} to {labels.max()}; {data.classes} classes are 0 to {data.classes - 1}"
    if prod(data.image_shape) not in (data.inputs, data.inputs * data.steps):
        return f"has pictures of {data.image_shape}, which are neither a step of {data.inputs} words nor a clip"
    return None


def _find(name: str) -> Callable[[], DataSet] | type[VideoFolder]:
    found = DATA_SETS.get(name) or FOLDERS.get(name) or _OWN.get(name)
    if found is not None:
        return found
    if ":" in name:
        raise SpecError(
            f"{name} is code of somebody's own, which no file may name to be run; if it is yours, say so on the "
            f"command line with --data {name}"
        )
    known = ", ".join([*DATA_SETS, *FOLDERS])
    raise SpecError(f"there is no data set {name!r}; known: {known}, and module:name for one of your own")
