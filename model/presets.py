"""Presets: the models with their data and how they are trained."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from model.data import DataSet
from spec.errors import SpecError
from spec.lstm import LSTMSpec, Region, fdht_lstm


@dataclass(frozen=True)
class Augmentation:
    """Random changes of every training picture, drawn anew each time; all uniform in ± the given size.

    Attributes:
        rotation: radians.
        scale: relative; width and height scale together.
        shift: fraction of the picture's half width and height.
        contrast: relative, around zero.
        brightness: in units of the real input (-1..1).
    """

    rotation: float
    scale: float
    shift: float
    contrast: float
    brightness: float

    def __call__(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """Changes pictures (B × height × width, or B × height × width × channels) and keeps their values in -1..1."""

        def draw(size: float) -> Tensor:
            uniform = torch.rand(len(pictures), 1, 1, generator=generator)
            return (size * (2 * uniform - 1)).to(pictures.device)

        # Where each pixel comes from, on axes from -1 to 1. Rotation mixes the two sides, which differ in length.
        count, height, width = pictures.shape[:3]
        angle, zoom = draw(self.rotation), 1 + draw(self.scale)
        cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        right = ((2 * torch.arange(width, device=pictures.device) + 1) / width - 1).expand(count, 1, width)
        down = ((2 * torch.arange(height, device=pictures.device) + 1) / height - 1)[:, None].expand(count, height, 1)
        grid = torch.empty(count, height, width, 2, device=pictures.device)
        grid[..., 0] = cosine * right + (draw(self.shift) - sine * height / width * down)
        grid[..., 1] = sine * width / height * right + (draw(self.shift) + cosine * down)
        planes = pictures.reshape(count, height, width, -1).movedim(3, 1)
        moved = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
        gain, offset = 1 + draw(self.contrast)[:, None], draw(self.brightness)[:, None]
        return (moved * gain + offset).clamp(-1, 1).movedim(1, 3).reshape(pictures.shape)


@dataclass(frozen=True)
class Preset:
    """A model and how it is trained.

    Attributes:
        name: how users call it.
        data: name of the data set.
        spec: the model.
        epochs: rounds, each ending in a checkpoint.
        clips_per_epoch: training clips drawn per epoch without replacement (all, if there are fewer).
        batch: clips per step of the optimiser.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        dropout: before the head.
        augmentation: changes of the training pictures; None for none.
    """

    name: str
    data: str
    spec: LSTMSpec
    epochs: int
    clips_per_epoch: int
    batch: int
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    dropout: float = 0.0
    augmentation: Augmentation | None = None


def _faces() -> LSTMSpec:
    """The faces model: a frame of 120 rows of 160 pixels as 8 × 8 fields of 15 × 20 pixels.

    The position inside a field is in modes 1 and 2, contracted first; the field is in modes 3 and 4, next to the output
    modes that number the hidden units. Rank r12 then counts features of a field, not of the whole picture.
    """
    spec = fdht_lstm(19200, 256, 40, (16, 20, 8, 8), (2, 2, 8, 32), 8)
    row_of_field, row_in_field, column_of_field, column_in_field = 2, 0, 3, 1
    return replace(spec, x=replace(spec.x, order=(row_of_field, row_in_field, column_of_field, column_in_field)))


def _video(classes: int) -> LSTMSpec:
    """The model for video: a frame of 120 rows of 160 pixels of 3 channels as 8 × 8 fields of 15 × 20 pixels.

    As in `_faces`, the position inside a field is contracted first: a row of a field (20 pixels of 3 channels) is in
    mode 1, its number in the field in mode 2. Mode 3 is the slowest, so each of its values is a band of the picture;
    h is in the last three of them, which the array comes to when the gate unit is done.

    Rank 16 of mode 1 gives the first stage 16 rows; the smaller ranks of modes 2 and 4 keep all weights few enough for
    the block RAM of an iCE40 (see the table in README.md).
    """
    ranks = {"1": 16, "2": 6, "3": 8, "4": 3, "12": 8, "34": 8}
    spec = fdht_lstm(57600, 256, classes, (61, 15, 8, 8), (1, 2, 16, 32), ranks)
    row_of_field, row_in_field, column_of_field, place_in_row = 2, 1, 3, 0
    order = (row_of_field, row_in_field, column_of_field, place_in_row)
    h = Region((60, 0, 5, 0), (1, 15, 3, 8), order, 256)
    return replace(spec, x=replace(spec.x, order=order), h=h)


_OF_PICTURES = Augmentation(rotation=0.15, scale=0.1, shift=0.1, contrast=0.2, brightness=0.2)


def _on_pictures(name: str, data: str, spec: LSTMSpec, clips_per_epoch: int = 400) -> Preset:
    """A model trained on 12,000 clips of photographs or films."""
    return Preset(
        name,
        data=data,
        spec=spec,
        epochs=12_000 // clips_per_epoch,
        clips_per_epoch=clips_per_epoch,
        batch=40,
        weight_decay=1.0,
        dropout=0.3,
        augmentation=_OF_PICTURES,
    )


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "digits",
            data="digits",
            spec=fdht_lstm(8, 64, 10, (9, 2, 4), (4, 4, 16), 12),
            epochs=40,
            clips_per_epoch=1437,
            batch=64,
            augmentation=Augmentation(rotation=0.2, scale=0.1, shift=0.12, contrast=0.1, brightness=0.0),
        ),
        Preset(
            "spoken-digits",
            data="spoken-digits",
            spec=fdht_lstm(13, 64, 10, (10, 2, 4), (4, 4, 16), 12),
            epochs=30,
            clips_per_epoch=2400,
            batch=64,
            dropout=0.3,
            augmentation=Augmentation(rotation=0.0, scale=0.0, shift=0.0, contrast=0.1, brightness=0.1),
        ),
        _on_pictures("faces", "faces", _faces()),
        _on_pictures("faces-hard", "faces-hard", _faces(), clips_per_epoch=160),
        _on_pictures("faces-rgb", "faces-rgb", _video(40)),
        _on_pictures("clip-segments", "clip-segments", _video(16)),
        # Pictures moved each in its own way would hide what moves from one to the next.
        replace(
            _on_pictures("playing-direction", "playing-direction", _video(2)), augmentation=None, weight_decay=0.01
        ),
        # These have the classes of the data sets they are named after, which lie in a folder of the user's. Without it
        # they are trained on the faces of 11 people, and of all 40, with 7 classes that never occur.
        _on_pictures("ucf11", "faces-rgb-11", _video(11)),
        _on_pictures("youtube-faces", "faces-rgb", _video(47)),
    )
}


def find_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        SpecError: no such preset; names those there are.
    """
    if name not in PRESETS:
        raise SpecError(f"there is no preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def fitted(preset: Preset, data: DataSet) -> Preset:
    """The preset with as many classes as a data set has.

    Raises:
        SpecError: its steps have another size than the preset's model takes.
    """
    if preset.spec.inputs != data.inputs:
        there = ", ".join(other.name for other in PRESETS.values() if other.spec.inputs == data.inputs)
        raise SpecError(
            f"a step of {data.name} has {data.inputs:,} values, the model of preset {preset.name} takes "
            f"{preset.spec.inputs:,}; presets of that size: {there or 'none'}"
        )
    return replace(preset, spec=replace(preset.spec, classes=data.classes))
