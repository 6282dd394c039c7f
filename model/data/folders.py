"""Video data sets in folders as they are distributed, and a user's own.

Each is a small class: `recordings` finds the clips below a folder, with the class and the group of each. A group is
what was cut from one source (a video, a scene, an appearance), so that its clips look alike.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from fdht.model.data import video
from fdht.model.data.sets import FRAME_SHAPE, DataSet, Split
from fdht.spec.errors import FileError, SpecError
from fdht.spec.formats import PIXELS

FOLDS = 5
"""Folds of a split. A class with fewer clips or groups has as many folds as it has of these."""

LEAST = 3
"""Clips or groups that a class needs: one each to train on, to validate on and to test on."""

PARTS = ("train", "validation", "test")

JOINED = "join tables into one CSV with a column sequence, or into an .npz (docs/data.md, a folder of tables)"
"""The way out for whoever has a file per recording."""

ARCHIVES = frozenset({".rar", ".zip", ".tar", ".gz", ".tgz", ".7z"})


@dataclass(frozen=True)
class Recording:
    """A clip as it lies on the disk.

    Attributes:
        path: a video file, a picture, or a folder of pictures.
        label: name of its class.
        group: what it was cut from; the same name in two classes means two groups.
    """

    path: Path
    label: str
    group: str


class VideoFolder:
    """Clips of your own: a folder with one folder per class.

    In a class's folder lie video files (`CLASS/clip.mp4`), folders whose pictures are the frames of a clip in the order
    of their names (`CLASS/clip/0001.png`), or pictures that are clips of one frame. Clips cut from one source belong in
    a folder of their own (`CLASS/source/clip.mp4`): it is their group. Other files are ignored.
    """

    name = "folder"
    example = "CLASS/clip.mp4"
    splits: tuple[str, ...] = ("group", "clip")

    def recordings(self, root: Path) -> Iterator[Recording]:
        """The clips below a folder; all that a class for another layout must say."""
        for place in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            seen = set[Path]()
            for file in files_below(place, video.VIDEOS | video.PICTURES):
                is_frame = file.suffix.lower() in video.PICTURES and file.parent != place
                path = file.parent if is_frame else file
                if path not in seen:
                    seen.add(path)
                    yield Recording(path, place.name, path.relative_to(place).parts[0])

    def parts(self, root: Path, recordings: list[Recording], split: str, fold: int) -> list[str]:
        """What each recording is for: `train`, `validation`, `test`, or nothing if that is empty."""
        units = [recording.group if split == "group" else str(recording.path) for recording in recordings]
        return dealt([recording.label for recording in recordings], units, fold)

    def load(
        self,
        root: Path | str,
        *,
        frames: int = 6,
        split: str = "group",
        fold: int = 0,
        cache: Path | None = video.CACHE,
        progress: Callable[[int, int], None] | None = None,
    ) -> DataSet:
        """The data set of a folder: clips of `frames` pictures of 120 × 160 × 3.

        Clips that cannot be decoded or are too short are left out and listed in `skipped`. The others are shuffled
        (seed 0) and dealt into 5 folds, class by class: fold `fold` tests, the next validates, the rest train.

        Args:
            root: the folder.
            frames: steps of a clip.
            split: `group` deals groups, so that what was cut from one source is on one side. `clip` deals single clips,
                like the public code of the earlier papers (5 folds of shuffled clips); then nearly every clip of the
                test has a sibling in training.
            fold: 0 to 4.
            cache: folder of decoded clips, None for none.
            progress: called with (clips read, clips there are).

        Raises:
            SpecError: no such split or fold, or fewer than one frame.
            FileError: no such folder, nothing of this layout in it, or a class with too few clips that can be used.
        """
        root = Path(root)
        if split not in self.splits:
            raise SpecError(f"{self.name} has no split {split!r}; there are {', '.join(self.splits)}")
        if not 0 <= fold < FOLDS:
            raise SpecError(f"there is no fold {fold}; folds are 0 to {FOLDS - 1}")
        if frames < 1:
            raise SpecError(f"{frames} frames in a clip; at least one is needed")
        found = self._found(root)
        usable, skipped = list[Recording](), list[str]()
        pixels = np.empty((len(found), frames, prod(FRAME_SHAPE)), dtype=np.uint8)  # gigabytes: never held twice
        for number, recording in enumerate(found):
            try:
                pixels[len(usable)] = video.clip(recording.path, frames, cache)
                usable.append(recording)
            except video.ClipError as error:
                skipped.append(str(error))
            if progress is not None:
                progress(number + 1, len(found))
        if not usable:
            raise FileError(f"none of the {len(found)} clips in {root} can be used; the first: {skipped[0]}")
        parts = self.parts(root, usable, split, fold)
        names = tuple(sorted({recording.label for recording in found}))
        if len(names) == 1:
            raise FileError(f"{root} has one class, {names[0]}; there must be two or more to tell apart")
        self._check(names, usable, parts, split, skipped)
        labels = np.array([names.index(recording.label) for recording in usable])
        pictures = pixels[: len(usable)].reshape(-1, prod(FRAME_SHAPE))

        def those(*wanted: str) -> Split:
            chosen = np.flatnonzero(np.isin(parts, wanted))
            return Split(pictures, frames * chosen[:, None] + np.arange(frames), labels[chosen])

        return DataSet(
            name=self.name,
            input_format=PIXELS,
            class_names=names,
            train=those("train"),
            validation=those("validation"),
            final=those("train", "validation"),
            test=those("test"),
            image_shape=FRAME_SHAPE,
            skipped=tuple(skipped),
            clip_names=tuple(os.path.relpath(recording.path, root) for recording in usable),
        )

    def _found(self, root: Path) -> list[Recording]:
        if not root.is_dir():
            raise FileError(f"there is no folder {root}; pass the one that holds {self.name}")
        found = list(self.recordings(root))
        if not found:
            archive = next(files_below(root, ARCHIVES), None)
            table = next(files_below(root, frozenset({".csv"})), None)
            if table is not None:
                raise FileError(
                    f"{root} has tables like {table.name} and no films or pictures ({self.example}); {JOINED}"
                )
            instead = f"archives like {archive.name} must be extracted first" if archive else "check the folder"
            raise FileError(f"{root} does not look like {self.name}: nothing in it is like {self.example}; {instead}")
        return found

    def _check(
        self, names: tuple[str, ...], recordings: list[Recording], parts: list[str], split: str, skipped: list[str]
    ) -> None:
        """Every class must be in every part."""
        there = {(recording.label, part) for recording, part in zip(recordings, parts, strict=True)}
        for name in names:
            if all((name, part) in there for part in PARTS):
                continue
            own = [recording for recording in recordings if recording.label == name]
            groups = {recording.group for recording in own}
            what = _counted(len(groups), "group") if split == "group" else _counted(len(own), "clip")
            left_out = ""
            if skipped:
                verb = "was" if len(skipped) == 1 else "were"
                left_out = f" ({_counted(len(skipped), 'clip')} {verb} skipped; the first: {skipped[0]})"
            raise FileError(
                f"class {name} has {what}, too few for train, validation and test{left_out}; "
                f"give it at least {LEAST}, or leave it out"
            )


class Ucf11(VideoFolder):
    """UCF11, the YouTube Action data set (Liu, Luo & Shah 2009): 11 actions, 1,600 clips in 25 groups per action.

    As extracted from UCF11_updated_mpg.rar: `basketball/v_shooting_01/v_shooting_01_04.mpg`, where 01 is the group and
    04 the clip; the Annotation folders beside them are ignored. Clips of a group share person, place and background.
    """

    name = "ucf11"
    example = "basketball/v_shooting_01/v_shooting_01_04.mpg"
    _pattern = re.compile(r"(v_.+_\d+)_\d+\.(mpg|avi)", re.IGNORECASE)

    def recordings(self, root: Path) -> Iterator[Recording]:
        for file in files_below(root, video.VIDEOS):
            if match := self._pattern.fullmatch(file.name):
                folder = file.parent if file.parent.name != match[1] else file.parent.parent
                yield Recording(file, folder.name, match[1])


class Ucf50(VideoFolder):
    """UCF50 (Reddy & Shah 2013): 50 actions, 6,618 clips in 25 groups per action.

    As extracted from UCF50.rar: `BaseballPitch/v_BaseballPitch_g01_c01.avi`, where g01 is the group and c01 the clip.
    The class is the folder (some files have another name). Clips of a group share person, place and background.
    """

    name = "ucf50"
    example = "BaseballPitch/v_BaseballPitch_g01_c01.avi"
    _pattern = re.compile(r"v_.+_g(\d+)_c\d+\.(avi|mpg)", re.IGNORECASE)

    def recordings(self, root: Path) -> Iterator[Recording]:
        for file in files_below(root, video.VIDEOS):
            if match := self._pattern.fullmatch(file.name):
                yield Recording(file, file.parent.name, match[1])


class Hmdb51(VideoFolder):
    """HMDB51 (Kuehne et al. 2011): 51 actions, 6,766 clips from films and the web.

    As extracted from the archives inside hmdb51_org.rar: `brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi`. What
    stands before the action is the source, the group of a clip; the rest tells body parts, camera motion, people,
    viewpoint, quality and a number.

    The official splits `official-1` to `official-3` need `testTrainMulti_7030_splits` in the same folder: its files
    give a clip 1 to train, 2 to test, 0 for neither. Of the groups that train, a fifth validates; `fold` says which.
    """

    name = "hmdb51"
    example = "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
    splits = ("group", "clip", "official-1", "official-2", "official-3")
    _pattern = re.compile(r"(.+)_[a-z]+_(?:cm|nm)_np\d+_[a-z]+_[a-z]+_\d+\.avi", re.IGNORECASE)

    def recordings(self, root: Path) -> Iterator[Recording]:
        for file in files_below(root, video.VIDEOS):
            if match := self._pattern.fullmatch(file.name):
                label = file.parent.name
                yield Recording(file, label, match[1].removesuffix(f"_{label}"))

    def parts(self, root: Path, recordings: list[Recording], split: str, fold: int) -> list[str]:
        if not split.startswith("official"):
            return super().parts(root, recordings, split, fold)
        official = self._official(root, split.removeprefix("official-"))
        purposes = [official.get((recording.label, recording.path.name)) for recording in recordings]
        training = [r for r, purpose in zip(recordings, purposes, strict=True) if purpose == "1"]
        dealt_out = dict(zip(training, super().parts(root, training, "group", fold), strict=True))
        validates = {recording for recording, part in dealt_out.items() if part == "test"}
        return [
            {"1": "validation" if recording in validates else "train", "2": "test"}.get(purpose or "", "")
            for recording, purpose in zip(recordings, purposes, strict=True)
        ]

    def _official(self, root: Path, number: str) -> dict[tuple[str, str], str]:
        """What the official lists say of each clip, by class and file name."""
        ending = f"_test_split{number}.txt"
        lists = [file for file in files_below(root, frozenset({".txt"})) if file.name.endswith(ending)]
        if not lists:
            raise FileError(
                f"{root} has no lists of the official split, like brush_hair{ending}; extract test_train_splits.rar "
                "there, or split by group"
            )
        return {
            (file.name.removesuffix(ending), words[0]): words[1]
            for file in lists
            for words in map(str.split, file.read_text().splitlines())
            if len(words) == 2
        }


class YouTubeFaces(VideoFolder):
    """YouTube Celebrities (Kim et al. 2008): faces of 47 people, 1,910 clips cut from 3 videos a person.

    As extracted from ytcelebrity.tar, all in one folder: `0094_03_002_al_gore.avi` is clip 94 of all, the second from
    the third video of Al Gore. The video is the group: of three, one trains, one validates and one tests.
    """

    name = "youtube-faces"
    example = "0094_03_002_al_gore.avi"
    _pattern = re.compile(r"\d+_(\d+)_\d+_(.+)\.avi", re.IGNORECASE)

    def recordings(self, root: Path) -> Iterator[Recording]:
        for file in files_below(root, video.VIDEOS):
            if match := self._pattern.fullmatch(file.name):
                yield Recording(file, match[2].lower(), match[1])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def dealt(labels: list[str], units: list[str], fold: int) -> list[str]:
    """Deals the units of each class into folds, shuffled with seed 0, and says what each clip is for.

    Args:
        labels: class of each clip.
        units: what must stay together; the same name in two classes means two units.
        fold: which tests; the next validates.

    Returns:
        `train`, `validation` or `test` for each clip; a class of two units has no training, of one neither validation.
    """
    generator = np.random.default_rng(0)
    part = dict[tuple[str, str], str]()
    for label in sorted(set(labels)):
        own = sorted({unit for unit, of in zip(units, labels, strict=True) if of == label})
        folds = min(FOLDS, len(own))
        for number, unit in enumerate(generator.permutation(own)):
            distance = (number - fold) % folds
            part[label, str(unit)] = "test" if distance == 0 else "validation" if distance == 1 else "train"
    return [part[label, unit] for label, unit in zip(labels, units, strict=True)]


def files_below(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Files of these kinds in a folder and all below it, in order; hidden ones are left out."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file() and "/." not in f"/{path.relative_to(folder).as_posix()}":
            yield path
