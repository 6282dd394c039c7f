"""Presets: the models with their data and how they are trained."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fdht.model.data import DataSet
from fdht.model.recipe import ALIKE, RATES, RECURRENT_START, SCHEDULES
from fdht.spec.errors import SpecError, no_such
from fdht.spec.lstm import LSTMSpec, Region, fdht_lstm
from fdht.spec.record import Checked, JsonRecord, Text, check_name

if TYPE_CHECKING:
    from torch import Generator, Tensor

LARGEST_RATE = 1e38
"""Largest learning rate and weight decay: what single precision holds."""

LARGEST_CHANGE = 100
"""Largest shift, turn or scale of an augmentation: far beyond what leaves a picture recognisable."""

MOST = 10**9
"""Most epochs, clips and the like."""

_WORDS = {
    "epochs": "epochs",
    "clips_per_epoch": "clips per epoch",
    "batch": "clips in a batch",
    "patience": "epochs of patience",
}


@dataclass(frozen=True)
class Augmentation(Checked):
    """Random changes of training clips, drawn anew each time; all uniform in ± the given size.

    Attributes:
        rotation: radians.
        scale: relative; width and height scale together.
        shift: fraction of the picture's half width and height.
        contrast: relative, around zero.
        brightness: in units of the real input (-1..1).
        per: what is drawn for: a `clip`, whose pictures then all change alike and go on showing what moves from one to
            the next, or a `picture`.

    Raises:
        SpecError: `per` is something else, or a size beyond `LARGEST_CHANGE`.
    """

    rotation: float
    scale: float
    shift: float
    contrast: float
    brightness: float
    per: str = "clip"

    def __post_init__(self):
        for name in ("rotation", "scale", "shift", "contrast", "brightness"):
            if not abs(getattr(self, name)) <= LARGEST_CHANGE:
                raise SpecError(f"an augmentation's {name} of {getattr(self, name)} is outside ±{LARGEST_CHANGE}")
        if self.per not in ("clip", "picture"):
            raise SpecError(f"augmentation per {self.per!r}; there is one per clip and one per picture")

    def draw(self, clips: int, pictures: int, generator: "Generator") -> "Tensor":
        """What changes how much: clips × 1 or clips × pictures, × 6 numbers in ±1."""
        import torch  # only training draws; what plans and synthesises reads presets without it

        each = pictures if self.per == "picture" else 1
        return (2 * torch.rand(6, clips, each, generator=generator) - 1).movedim(0, 2)

    def __call__(self, clips: "Tensor", drawn: "Tensor") -> "Tensor":
        """Changes clips (B × pictures × height × width × channels) as drawn; their values stay in -1..1."""
        pictures, height, width, channels = clips.shape[1:]
        alike = pictures // drawn.shape[1]  # so many pictures change alike: they are moved as channels of one
        groups = clips.reshape(-1, alike, height, width, channels)
        planes = groups.permute(0, 1, 4, 2, 3).reshape(len(groups), alike * channels, height, width)
        turn, zoom, right, down, gain, offset = drawn.to(clips).reshape(-1, 6, 1, 1).unbind(1)
        moved = self._moved(planes, turn, zoom, right, down)
        gain, offset = 1 + self.contrast * gain[:, None], self.brightness * offset[:, None]
        changed = (moved * gain + offset).clamp(-1, 1)
        return changed.view(len(groups), alike, channels, height, width).permute(0, 1, 3, 4, 2).reshape(clips.shape)

    def _moved(self, planes: "Tensor", turn: "Tensor", zoom: "Tensor", right: "Tensor", down: "Tensor") -> "Tensor":
        """Planes (G × any × height × width) turned, zoomed and shifted by G × 1 × 1 numbers in ±1."""
        import torch
        from torch.nn import functional

        # Where each pixel comes from, on axes from -1 to 1. Rotation mixes the two sides, which differ in length.
        count, _, height, width = planes.shape
        angle, larger = self.rotation * turn, 1 + self.scale * zoom
        cosine, sine = torch.cos(angle) * larger, torch.sin(angle) * larger
        x = ((2 * torch.arange(width, device=planes.device) + 1) / width - 1).expand(count, 1, width)
        y = ((2 * torch.arange(height, device=planes.device) + 1) / height - 1)[:, None].expand(count, height, 1)
        grid = torch.empty(count, height, width, 2, device=planes.device)
        grid[..., 0] = cosine * x + (self.shift * right - sine * height / width * y)
        grid[..., 1] = sine * width / height * x + (self.shift * down + cosine * y)
        return functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Preset(JsonRecord):
    """A model and how it is trained.

    Attributes:
        name: how users call it.
        data: name of the data set.
        spec: the model.
        epochs: rounds, each ending in a checkpoint.
        clips_per_epoch: training clips drawn per epoch without replacement (all, if there are fewer).
        batch: clips per step of the optimiser.
        schedule: of the learning rate, one of `fdht.model.recipe.SCHEDULES`.
        learning_rate: the schedule's peak.
        weight_decay: of AdamW.
        rates: how learning rate and decay are shared out, one of `fdht.model.recipe.RATES`.
        recurrent_start: mean square of the entries of W_h at the start, times H.
        dropout: probability of zeroing an entry of the hidden state before the head.
        input_dropout, hidden_dropout: the same of x and of the h that goes back into the layer, with one mask for all
            steps of a clip.
        augmentation: changes of the training clips; None for none.
        patience: epochs without a better accuracy on the validation split after which training stops and the best
            epoch's weights are kept; None trains all epochs, on the validation split too.

    Raises:
        SpecError: a setting that cannot be trained with.
    """

    KIND: ClassVar[str] = "a preset"

    name: str
    data: Text
    spec: LSTMSpec
    epochs: int
    clips_per_epoch: int
    batch: int
    schedule: str = "one-cycle"
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    rates: str = ALIKE
    recurrent_start: float = 1.0
    dropout: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    augmentation: Augmentation | None = None
    patience: int | None = None

    def __post_init__(self):
        check_name("a preset", self.name)
        if self.schedule not in SCHEDULES:
            raise no_such("schedule", self.schedule, SCHEDULES)
        if self.rates not in RATES:
            raise no_such("way to share out rates", self.rates, RATES)
        for name in ("epochs", "clips_per_epoch", "batch", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpecError(f"{value} {_WORDS[name]}; training needs at least one")
            if value is not None and value > MOST:
                raise SpecError(f"{value} {_WORDS[name]}; at most {MOST:,} are counted")
        for name in ("dropout", "input_dropout", "hidden_dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise SpecError(f"{name} = {value} is no probability from 0 to below 1")
        if not 0 < self.recurrent_start <= LARGEST_CHANGE:
            raise SpecError(
                f"recurrent_start = {self.recurrent_start}; it is above 0 and at most {LARGEST_CHANGE}, usually "
                f"{RECURRENT_START:.3g}"
            )
        if not 0 < self.learning_rate <= LARGEST_RATE or not 0 <= self.weight_decay <= LARGEST_RATE:
            raise SpecError(
                f"a learning rate of {self.learning_rate} with a weight decay of {self.weight_decay}; the one must be "
                f"above 0, the other not below, and both at most {LARGEST_RATE:g}"
            )

    @property
    def recipe(self) -> dict:
        """How it is trained, for a checkpoint; without model, data and epochs, which that notes by itself."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "data", "spec", "epochs")}


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
    the block RAM of an iCE40 (see the table in docs/decisions/model.md).
    """
    ranks = {"1": 16, "2": 6, "3": 8, "4": 3, "12": 8, "34": 8}
    spec = fdht_lstm(57600, 256, classes, (61, 15, 8, 8), (1, 2, 16, 32), ranks)
    row_of_field, row_in_field, column_of_field, place_in_row = 2, 1, 3, 0
    order = (row_of_field, row_in_field, column_of_field, place_in_row)
    h = Region((60, 0, 5, 0), (1, 15, 3, 8), order, 256)
    return replace(spec, x=replace(spec.x, order=order), h=h)


_OF_PHOTOS = Augmentation(rotation=0.15, scale=0.1, shift=0.1, contrast=0.2, brightness=0.2, per="picture")
"""For clips of single photographs, which gain nothing from moving alike (measured, see docs/decisions/model.md)."""

_OF_FILMS = replace(_OF_PHOTOS, per="clip")

_OF_LAPSES = Augmentation(rotation=0.02, scale=0.03, shift=0.03, contrast=0.1, brightness=0.1)
"""What a time lapse shows at each moment must be known again: larger changes cost more than they bring."""


def _on_pictures(
    name: str, data: str, spec: LSTMSpec, augmentation: Augmentation, clips_per_epoch: int = 400
) -> Preset:
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
        augmentation=augmentation,
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
        _on_pictures("faces", "faces", _faces(), _OF_PHOTOS),
        replace(
            _on_pictures("faces-hard", "faces-hard", _faces(), _OF_PHOTOS, clips_per_epoch=160), learning_rate=0.003
        ),
        _on_pictures("faces-rgb", "faces-rgb", _video(40), _OF_PHOTOS),
        _on_pictures("clip-segments", "clip-segments", _video(16), _OF_FILMS),
        replace(
            _on_pictures("playing-direction", "playing-direction", _video(2), _OF_LAPSES),
            learning_rate=0.005,
            weight_decay=0.01,
            dropout=0.0,
        ),
        # These have the classes of the data sets they are named after, which lie in a folder of the user's. Without it
        # they are trained on the faces of 11 people, and of all 40, with 7 classes that never occur.
        _on_pictures("ucf11", "faces-rgb-11", _video(11), _OF_FILMS),
        _on_pictures("youtube-faces", "faces-rgb", _video(47), _OF_FILMS),
    )
}


def find_preset(name: str) -> Preset:
    """A preset by name, or one in a file: a project, as `fdht new` writes it, or JSON, as `fdht explore --take` does.

    Raises:
        SpecError: no such preset; names those there are.
        FileError: no such file, or neither in it.
    """
    if name.endswith(".toml"):
        from fdht.model.project import Project  # which is made of presets

        return Project.read(name).preset(Path(name).resolve().parent)
    if name.endswith(".json"):
        return Preset.read(name)
    if name not in PRESETS:
        raise no_such("preset", name, PRESETS, ", and a file NAME.toml or NAME.json with one")
    return PRESETS[name]


def fitted(preset: Preset, data: DataSet) -> Preset:
    """The preset for the task of a data set, with as many classes, or outputs, as that has. For real values it is
    without augmentation, which is of pictures.

    Raises:
        SpecError: its steps have another size than the preset's model takes.
    """
    if preset.spec.inputs != data.inputs:
        there = ", ".join(other.name for other in PRESETS.values() if other.spec.inputs == data.inputs)
        raise SpecError(
            f"a step of {data.name} has {data.inputs:,} values, the model of preset {preset.name} takes "
            f"{preset.spec.inputs:,}; presets of that size: {there or 'none'}"
        )
    augmentation = preset.augmentation if data.scaling is None else None
    spec = replace(preset.spec, classes=data.classes, task=data.task)
    return replace(preset, spec=spec, augmentation=augmentation)
