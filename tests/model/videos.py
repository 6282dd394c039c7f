"""Small video files, written with PyAV in the formats that the data sets come in."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    frames: int = 12,
    shade: int = 0,
    codec: str | None = None,
    picture: np.ndarray | None = None,
    degrees: int = 0,
) -> None:
    """A clip of 64 × 48 that grows brighter: frame k is grey of level `shade` + 10 k.

    Args:
        codec: as FFmpeg calls it; left out, the one that fits the file's ending (MPEG-1 or MPEG-4).
        picture: grey levels of every frame, 48 × 64, instead.
        degrees: by which players are to turn it, counterclockwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = codec or {".mpg": "mpeg1video", ".avi": "mpeg4", ".mp4": "mpeg4"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=25)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 25)
        stream.thread_count = 1
        stream.pix_fmt = "bgr0" if name == "ffv1" else "yuv420p"
        if degrees:
            stream.set_display_rotation(degrees)
        for number in range(frames):
            grey = np.full((48, 64, 3), shade + 10 * number, dtype=np.uint8)
            if picture is not None:
                grey[:] = picture[..., None]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def write_garbage(path: Path) -> None:
    """A file that is no video, whatever it is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is not a video " * 50)
