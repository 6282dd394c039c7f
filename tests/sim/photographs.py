"""Frames cut from photographs, for what is shown to blocks that stand in the place of a camera or behind one."""

import numpy as np
from occurrences import SEED
from sklearn.datasets import load_sample_images

CHANNELS = 3


def film(clips: int, steps: int, height: int, width: int) -> np.ndarray:
    """RGB frames, clips × steps × height × width × channels."""
    rng = np.random.default_rng([SEED, 12])
    frames = []
    for k in range(clips * steps):
        photo, scale = load_sample_images().images[k % 2], int(rng.integers(4, 24))
        top, left = (
            int(rng.integers(0, size - scale * n)) for size, n in zip(photo.shape, (height, width), strict=False)
        )
        frames.append(photo[top : top + scale * height : scale, left : left + scale * width : scale])
    return np.array(frames).reshape(clips, steps, height, width, CHANNELS)
