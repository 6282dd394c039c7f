"""Clips out of video files and pictures, decoded once and kept as arrays."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fdht.model.data.sets import FRAME_HEIGHT, FRAME_WIDTH
from fdht.spec.cache import cache_folder
from fdht.spec.container import replacing
from fdht.spec.errors import FileError

if TYPE_CHECKING:
    from PIL.Image import Image

CACHE = cache_folder() / "data"
"""Where decoded clips are kept when nothing else is said."""

VIDEOS = frozenset({".avi", ".mpg", ".mpeg", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".wmv"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".bmp", ".gif", ".tif", ".tiff"})

_RECIPE = "2: middles of equal parts, upright, 8 bits, RGB, Pillow bilinear"
"""Part of every key; changes with what is done to a clip."""


class ClipError(FileError):
    """A clip that cannot be used; the others can."""


def clip(path: Path, frames: int, cache: Path | None) -> np.ndarray:
    """Evenly spaced frames of a video file, a picture or a folder of pictures: T × 57,600 bytes, channel fastest.

    Of a clip of C frames, the k-th of T is number ⌊(2k+1)C / 2T⌋, the middle of the k-th of T equal parts. Frames are
    turned as their file says (the display matrix of a video, the EXIF orientation of a picture) and stretched to
    160 × 120. Of 16 bits the upper 8 are taken; floating point from 0 to 1 becomes 0 to 255.

    Args:
        path: a file, or a folder whose pictures are the frames in the order of their names, where numbers count as
            such: 2.png before 10.png.
        frames: T.
        cache: folder of decoded clips; None to decode anew. A clip is known by the content of its files, so it is
            found again wherever it has moved, and decoded anew when it has changed.

    Raises:
        ClipError: unreadable, no video, fewer than T frames, or numbers whose range nobody knows.
        FileError: the cache cannot be written.
    """
    files = sorted(_visible(path, PICTURES), key=natural) if path.is_dir() else [path]
    key = hashlib.sha256(f"{_RECIPE} {frames} {FRAME_WIDTH} {FRAME_HEIGHT}".encode())
    try:
        for file in files:
            with file.open("rb") as content:
                key.update(hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        raise ClipError(f"{path} cannot be read ({error.strerror})") from None
    return cached(cache, key.hexdigest(), lambda: _decoded(path, files, frames))


def natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """A key to sort files by their names, with numbers in them in the order of numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def cached(cache: Path | None, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` makes, from the cache if it has been made before.

    Raises:
        FileError: the cache cannot be written.
    """
    if cache is None:
        return make()
    path = cache / key[:2] / f"{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        array = make()
    try:
        with replacing(path) as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        raise FileError(
            f"cannot keep decoded clips in {cache}: {error.strerror}; make room there (those decoded so far are kept)"
        ) from None
    return array


def every_frame(path: Path) -> Iterator:
    """The frames of a video file, one after the other, as `av.VideoFrame`.

    Raises:
        ClipError: unreadable, or no video.
    """
    import av  # half a second, and only video needs it
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ClipError(f"{path} has no video stream")
            stream = container.streams.video[0]
            stream.thread_count = 1  # clips are small: starting threads takes longer than they save
            yield from container.decode(stream)
    except FFmpegError as error:
        raise ClipError(f"{path} cannot be decoded ({error.strerror})") from None


def _decoded(path: Path, files: list[Path], frames: int) -> np.ndarray:
    from PIL import Image, ImageOps

    is_video = path.suffix.lower() in VIDEOS and not path.is_dir()
    count = sum(1 for _ in every_frame(path)) if is_video else len(files)
    if count < frames:
        raise ClipError(f"{path} has {count} frame{'s' * (count != 1)}, fewer than the {frames} asked for")
    wanted = [(2 * k + 1) * count // (2 * frames) for k in range(frames)]
    if is_video:
        chosen = set(wanted)
        pictures = [
            frame.to_image().rotate(frame.rotation, Image.Resampling.BILINEAR, expand=True)
            for number, frame in enumerate(every_frame(path))
            if number in chosen
        ]
    else:
        pictures = []
        for number in wanted:
            try:
                with Image.open(files[number]) as picture:
                    picture.load()  # which turns a TIFF by itself
                    upright = picture if picture.format == "TIFF" else ImageOps.exif_transpose(picture)
                    pictures.append(_of_bytes(upright, files[number], picture.format).convert("RGB"))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise ClipError(f"{files[number]} cannot be decoded ({error})") from None
    size = (FRAME_WIDTH, FRAME_HEIGHT)
    resized = [picture.resize(size, Image.Resampling.BILINEAR) for picture in pictures]
    return np.stack([np.asarray(picture, dtype=np.uint8).reshape(-1) for picture in resized])


def _of_bytes(picture: "Image", path: Path, format: str | None) -> "Image":
    """A picture of 8 bits a channel.

    Raises:
        ClipError: numbers whose range nobody knows.
    """
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if picture.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
            raise ClipError(
                f"{path} holds floating-point numbers from {values.min():g} to {values.max():g}; a picture has 0 to 1"
            )
        values = np.floor(values * 255 + 0.5)
    elif picture.mode != "I" or format in ("PNG", "PPM"):  # these have 16 bits, whatever Pillow makes of them
        values = values >> 8
    else:
        raise ClipError(f"{path} holds 32-bit integers, whose range nobody knows; save 8 or 16 bits")
    return Image.fromarray(values.astype(np.uint8))


def _visible(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            yield path
