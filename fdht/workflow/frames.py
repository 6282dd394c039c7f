"""Clips as people look at them: frames as pictures, sequences of values as shades of grey."""

from collections.abc import Sequence
from math import prod

import numpy as np
from PIL import Image

from fdht.spec.fixed import Fixed

LINES = 72
"""Pixels that a picture is high."""

WIDEST = 288
"""Pixels that the steps of a sequence of values may take."""


def pictures_of(clips: np.ndarray, shape: Sequence[int], raw: Fixed, scaled: bool) -> list[Image.Image]:
    """Pictures of clips of raw words (B × T × N): of each step, or of each clip if that is one picture.

    Args:
        shape: height × width of a picture, × channels if there are any, see fdht.model.data.DataSet.image_shape.
        raw: format of a word. scaled: words stand for real values; steps then run to the right, if they are rows.
    """
    a_clip_is_a_picture = prod(shape) != clips.shape[2]
    grey = (clips.astype(np.int64) - raw.min) >> max(0, raw.width - 8)
    pictures = grey.astype(np.uint8).reshape(-1, *shape)
    if a_clip_is_a_picture and scaled:
        size = min(WIDEST, max(LINES, clips.shape[1])), LINES
        turned = (Image.fromarray(np.ascontiguousarray(picture.T)) for picture in pictures)
        return [picture.resize(size, Image.Resampling.NEAREST).convert("RGB") for picture in turned]
    if pictures.ndim == 4 and pictures.shape[3] != len("RGB"):
        pictures = pictures[..., 0]
    height, width = shape[:2]
    enlarged = LINES // height
    if enlarged:
        size, way = (width * enlarged, height * enlarged), Image.Resampling.NEAREST
    else:
        size, way = (max(1, width * LINES // height), LINES), Image.Resampling.BILINEAR
    return [Image.fromarray(picture).resize(size, way).convert("RGB") for picture in pictures]
