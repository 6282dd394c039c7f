"""The data sets, by name: those that come inside packages, in folders, in files, and a user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fdht.model.data.arrays import from_arrays, from_dataset
from fdht.model.data.checking import checked
from fdht.model.data.files import is_file_name, read_file
from fdht.model.data.films import clip_segments, playing_direction
from fdht.model.data.folders import JOINED, Hmdb51, Recording, Ucf11, Ucf50, VideoFolder, YouTubeFaces
from fdht.model.data.numerals import digits, spoken_digits
from fdht.model.data.orl import faces, faces_hard, faces_rgb, faces_rgb_11
from fdht.model.data.sets import FRAME_HEIGHT, FRAME_SHAPE, FRAME_WIDTH, DataSet, Split
from fdht.model.data.video import CACHE
from fdht.spec.errors import SpecError, no_such
from fdht.spec.named import called, named
from fdht.spec.record import LONGEST_TEXT, Checked, Count, Text
from fdht.spec.scaling import BITS

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
    "from_arrays",
    "from_dataset",
    "here",
    "is_file_name",
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
        name: of `DATA_SETS` or `FOLDERS`, a data file (see fdht.model.data.files), or `module:name` of one's own, see
            `own`.
        folder: where the clips or the file lie; None for data sets that need none, and for the current folder.
        frames, split: of clips in a folder, see `VideoFolder.load`.
        fold: of these, and of the samples in a file.
        bits: of the raw words that real values in a file are scaled to.

    Raises:
        SpecError: no frames, or more than `MOST_FRAMES`, words of other than 8 or 16 bits, or a name that no checkpoint
            can hold.
    """

    name: Text
    folder: str | None = None
    frames: Count = 6
    split: Text = "group"
    fold: Count = 0
    bits: Count = BITS[0]

    def __post_init__(self):
        if not self.name.isprintable() or len(self.name) > LONGEST_TEXT:
            raise SpecError(
                f"{self.name[:LONGEST_TEXT]!a} names data in more than {LONGEST_TEXT} characters, or in some that "
                "cannot be shown; rename the file or its folder"
            )
        if self.bits not in BITS:
            raise SpecError(f"input words of {self.bits} bits; they have {' or '.join(map(str, BITS))}")
        if not 1 <= self.frames <= MOST_FRAMES:
            raise SpecError(f"{self.frames} frames in a clip; it has 1 to {MOST_FRAMES:,}")

    @property
    def file(self) -> Path | None:
        """The data file, if it is one."""
        return Path(self.folder or "", self.name) if is_file_name(self.name) else None

    def __str__(self) -> str:
        if self.file is not None:
            changed = [f"fold {self.fold}"] * (self.fold > 0) + [f"{self.bits} bits"] * (self.bits != BITS[0])
            return f"{self.file} ({', '.join(changed)})" if changed else str(self.file)
        if self.folder is None:
            return self.name
        return f"{self.name} in {self.folder} ({self.frames} frames, split by {self.split}, fold {self.fold})"


def load(
    source: Source | str, *, cache: Path | None = CACHE, progress: Callable[[int, int], None] | None = None
) -> DataSet:
    """A data set by name, from a folder or from a file.

    Args:
        cache: where decoded clips are kept, None for nowhere.
        progress: called with (clips read, clips there are) while a folder is read.

    Raises:
        SpecError: no such data set; names those there are. Or one of somebody's own that `own` was not told. Or a
            folder is missing, or given where none is used.
        FileError: the package that ships it is missing, the folder holds nothing of the kind, or the file cannot be
            read.
    """
    source = Source(source) if isinstance(source, str) else source
    if source.file is not None:
        if source != Source(source.name, source.folder, fold=source.fold, bits=source.bits):
            raise SpecError(f"{source.name} has whole sequences; leave out --frames and --split")
        return checked(source.name, read_file(source.file, bits=source.bits, fold=source.fold))
    if source.bits != BITS[0]:
        raise SpecError(f"{source.name} has input words of its own; leave out --input-bits")
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
    return checked(source.name, called(found, source.name))


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
    found = named(name, "a function or a VideoFolder")
    if not callable(found):
        raise SpecError(f"{name} is a {type(found).__name__}; name a function or a VideoFolder of yours")
    _OWN[name] = cast("Callable[[], DataSet] | type[VideoFolder]", found)


def here(data: DataSet) -> Source:
    """Makes a data set of this process known to `load`, and to all that takes a source; no other process has it."""
    source = Source(f"here:{data.name}")
    _OWN[source.name] = lambda: data
    return source


def _find(name: str) -> Callable[[], DataSet] | type[VideoFolder]:
    found = DATA_SETS.get(name) or FOLDERS.get(name) or _OWN.get(name)
    if found is not None:
        return found
    if ":" in name:
        raise SpecError(
            f"{name} is code of somebody's own, which no file may name to be run; if it is yours, say so on the "
            f"command line with --data {name}"
        )
    if Path(name).is_dir():
        raise SpecError(
            f"{name} is a folder; of films or pictures (CLASS/clip.mp4) pass it with --data-folder, of tables {JOINED}"
        )
    raise no_such("data set", name, [*DATA_SETS, *FOLDERS], ", and module:name for one of your own")
