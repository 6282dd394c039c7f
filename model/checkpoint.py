"""Checkpoints: a model in training or after it, in a file."""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
import torch
from pydantic import AfterValidator, Field, StringConstraints
from torch import nn
from typing_extensions import TypedDict

from fdht.model.data import DataSet, Source
from fdht.model.layers import Classifier
from fdht.model.presets import LARGEST_CHANGE, LARGEST_RATE, MOST, Augmentation, Preset, find_preset
from fdht.model.qat import Network, Quantisation, QuantisedClassifier
from fdht.spec import container
from fdht.spec.container import Tensors, expect, expect_only
from fdht.spec.errors import FileError, SpecError
from fdht.spec.formats import InputFormat
from fdht.spec.lstm import LSTMSpec, chains
from fdht.spec.record import Checked, Hex, Seed, Share, Text, check_name, dump, parse
from fdht.spec.scaling import Scaling
from fdht.spec.score import R2, RMSE, Score
from fdht.spec.stages import check_sizes, stages_of
from fdht.spec.task import OutputScaling, check_outputs

SUFFIX = ".checkpoint"
"""The end of the names that fdht gives to checkpoints."""


def stem(path: Path) -> str:
    """The name of a checkpoint's file without `SUFFIX`; bundle, image, log and curves are named after it."""
    return path.name.removesuffix(SUFFIX)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in training or after it.

    Attributes:
        preset: name of the preset.
        data: the data set it is trained on.
        fingerprint: of that data set, see `DataSet`.
        spec: the model's shape.
        model: the model, of the best epoch so far if there is a patience, else of the last; as read, on the CPU and in
            evaluation mode.
        seed: of the initialisation and all random draws.
        epoch, epochs: rounds done, and rounds the schedule was made for.
        choose: the accuracy is for choosing hyperparameters, see fdht.model.train.TrainingOptions.
        recipe: everything else that the training depends on: the preset's settings, and the arithmetic.
        history: one record per epoch, see fdht.model.train.TrainingResult.
        best_epoch: the epoch `model` is of, None if there is no patience.
        accuracy, rmse, r2: on the test split (validation if `choose`), see fdht.spec.score.Score; all None until the
            training is done.
        scaling: how the data's real values became raw words; None where raw words came.
        quantisation: the integers that the model is trained on, and its accuracy measured with; None for a float model.
    """

    preset: str
    data: Source
    fingerprint: str
    spec: LSTMSpec
    model: Classifier
    seed: int
    epoch: int
    epochs: int
    choose: bool
    recipe: dict
    history: list[dict] = field(default_factory=list)
    best_epoch: int | None = None
    accuracy: float | None = None
    quantisation: Quantisation | None = None
    scaling: Scaling | None = None
    rmse: float | None = None
    r2: float | None = None

    @property
    def network(self) -> Network:
        """The model as it was trained: in floating point, or on integers."""
        return self.model if self.quantisation is None else QuantisedClassifier(self.model, self.quantisation).eval()

    @property
    def saw_validation(self) -> bool:
        """Whether it has been trained on the validation split."""
        return self.epoch > 0 and not self.choose and self.recipe["patience"] is None

    def check(self, data: DataSet) -> None:
        """Whether a data set has the clips it was trained on, on the sides they were on.

        Raises:
            FileError: some came, went or changed sides, or have other sizes.
        """
        spec = self.spec
        sizes = (data.inputs, data.input_format) == (spec.inputs, self.model.input_format)
        if not sizes or not classes_go_with(self.data, spec.classes, data.classes):
            raise FileError(
                f"a step of {data.name} has {data.inputs:,} values and {data.classes} classes, the model takes "
                f"{spec.inputs:,} and has {spec.classes} (or their number formats differ); pass what it was trained on"
            )
        if data.task != spec.task:
            raise FileError(
                f"{data.name} is for the task {data.task}, the model for {spec.task}; pass what it was trained on"
            )
        if (data.fingerprint, data.scaling) != (self.fingerprint, self.scaling):
            raise FileError(
                f"the clips of {data.name} are not those that {self.preset} was trained on (some came, went or were "
                "renamed, which lets others change sides, too, or have other values); restore them or train anew"
            )

    @property
    def score(self) -> Score | None:
        """Accuracy, or rmse and r2, together; None until the training is done."""
        return Score(self.accuracy, self.rmse, self.r2) if self.complete else None

    @property
    def complete(self) -> bool:
        return self.accuracy is not None or self.r2 is not None

    @property
    def seconds(self) -> float:
        """How long the training took, all epochs together, rounded to a tenth of a second."""
        return round(sum(record["seconds"] for record in self.history), 1)


def digest(*modules: nn.Module) -> str:
    """The first 64 bits of a hash of the modules' parameters, in hexadecimal."""
    found = hashlib.sha256()
    for module in modules:
        for name, parameter in module.named_parameters():
            found.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def classes_go_with(source: Source, of_model: int, of_data: int) -> bool:
    """Whether a model of so many classes takes data of so many: of fdht's own sets some may never be met."""
    return of_model == of_data or (source.file is None and of_data < of_model)


def load_checkpoint(path: Path | str, preset: str | None = None) -> Checkpoint:
    """Reads a checkpoint.

    Args:
        preset: the preset it must be of; any when left out.

    Raises:
        SpecError: `preset` is unknown.
        FileError: missing, damaged, inconsistent, or a checkpoint of another preset or model.
    """
    return read_checkpoint(path, None if preset is None else find_preset(preset))[0]


def write_checkpoint(path: Path | str, checkpoint: Checkpoint, state: dict[str, np.ndarray]) -> None:
    """Writes a checkpoint in one step: whoever reads `path` finds the old one or the whole new one.

    Args:
        state: what else the training needs to go on, by name.

    Raises:
        FileError: no permission, no room.
    """
    arrays = {f"{MODEL}{name}": p.detach().cpu().numpy() for name, p in checkpoint.model.named_parameters()} | state
    model = checkpoint.model
    there = {"input_format": model.input_format, "outputs": model.outputs, "beside": _beside(path, checkpoint.data)}
    plain = {name: getattr(checkpoint, name) for name in _Description.__dataclass_fields__ if name not in there}
    description = dump(_Description(**there, **plain))
    container.write(path, "checkpoint", description, arrays)


def read_checkpoint(path: Path | str, preset: Preset | None = None) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    """Reads a checkpoint and all its arrays.

    Nothing in it is imported or run: data of somebody's own are a name in it, and no more.

    Args:
        preset: the preset it must be of, with this very shape; any when left out.

    Raises:
        FileError: missing, damaged, inconsistent, or a checkpoint of another preset or model.
    """
    description, arrays = container.read(path, "checkpoint", _Description, _check_tensors)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise container.inconsistent(path, "checkpoint", SpecError(f"{name} holds what is no finite number"))
        if ".exp_avg_sq." in name and array.min(initial=0) < 0:
            raise container.inconsistent(path, "checkpoint", SpecError(f"{name} holds negative squares"))
    model = Classifier(description.spec, description.input_format, outputs=description.outputs)
    model.load_state_dict(
        {name.removeprefix(MODEL): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(MODEL)}
    )
    of_model = ("input_format", "outputs", "beside")
    plain = {name: value for name, value in vars(description).items() if name not in of_model}
    plain["data"] = _found(path, description.data, description.beside)
    checkpoint = Checkpoint(model=model.eval(), **plain)
    if preset is not None and checkpoint.preset != preset.name:
        raise FileError(
            f"{path} is a checkpoint of preset {checkpoint.preset}, not {preset.name}; pass one of the latter"
        )
    if preset is not None and checkpoint.spec != preset.spec:
        raise FileError(f"{path} holds a {preset.name} model of another shape than the preset's; train it anew")
    return checkpoint, arrays


def _beside(path: Path | str, source: Source) -> str | None:
    """Where a data file lies, seen from a checkpoint; None if it is none, or there is no way from here to there."""
    if source.file is None:
        return None
    try:
        return Path(os.path.relpath(source.file.absolute().parent, Path(path).absolute().parent)).as_posix()
    except ValueError:  # another drive
        return None


def _found(path: Path | str, source: Source, beside: str | None) -> Source:
    """The data a checkpoint names, with a file that is no longer where it was looked for beside the checkpoint."""
    if source.file is None or beside is None or source.file.is_file():
        return source
    folder = (Path(path).absolute().parent / beside).resolve()
    return replace(source, folder=str(folder)) if (folder / source.name).is_file() else source


MODEL, LATEST, OPTIMISER = "model.", "latest.", "optimiser."
"""What the names of a checkpoint's tensors begin with: parameters, those of the last epoch where `model` has the best
one's, and the optimiser's state."""

STATE = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter: a single number, and two tensors of the parameter's shape."""


class EpochRecord(TypedDict):
    """What is known of an epoch: see fdht.model.train.TrainingResult."""

    __pydantic_config__ = Checked.__pydantic_config__  # type: ignore[misc]

    loss: Annotated[float, Field(ge=0)]
    accuracy: Share | None
    validation: R2 | None
    learning_rate: Annotated[float, Field(ge=0)]
    shut: Share
    seconds: Annotated[float, Field(ge=0)]


def _augmentation(value: dict | None) -> dict | None:
    if value is not None:
        parse(Augmentation, json.dumps(value))
    return value


class Recipe(TypedDict):
    """What a training depends on beside data, model and epochs: `Preset.recipe`, and what `train` adds."""

    __pydantic_config__ = Checked.__pydantic_config__  # type: ignore[misc]

    clips_per_epoch: Annotated[int, Field(ge=1, le=MOST)]
    batch: Annotated[int, Field(ge=1, le=MOST)]
    schedule: Text
    learning_rate: Annotated[float, Field(gt=0, le=LARGEST_RATE)]
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST_RATE)]
    rates: Text
    recurrent_start: Annotated[float, Field(gt=0, le=LARGEST_CHANGE)]
    dropout: Share
    input_dropout: Share
    hidden_dropout: Share
    augmentation: Annotated[dict | None, AfterValidator(_augmentation)]
    patience: Annotated[int, Field(ge=1, le=MOST)] | None
    precision: NotRequired[Text]
    compiled: NotRequired[bool]
    start: NotRequired[Hex | None]
    integers: NotRequired[Text | None]
    teacher: NotRequired[Hex]


@dataclass(frozen=True)
class _Description(Checked):
    """What a checkpoint's file says in JSON."""

    preset: Text
    data: Source
    spec: LSTMSpec
    input_format: InputFormat
    quantisation: Quantisation | None
    fingerprint: Hex
    seed: Seed
    epoch: Annotated[int, Field(ge=0, le=MOST)]
    epochs: Annotated[int, Field(ge=0, le=MOST)]
    choose: bool
    recipe: Recipe
    history: list[EpochRecord]
    best_epoch: Annotated[int, Field(ge=1)] | None
    accuracy: Share | None
    rmse: RMSE | None
    r2: R2 | None
    outputs: OutputScaling | None
    scaling: Scaling | None
    beside: Annotated[str, StringConstraints(max_length=4096)] | None

    def __post_init__(self):
        check_name("a checkpoint's preset", self.preset)
        if self.epoch > self.epochs or len(self.history) != self.epoch or (self.best_epoch or 0) > self.epoch:
            raise SpecError(
                f"epoch {self.epoch} of {self.epochs} with {len(self.history)} records and the best of epoch "
                f"{self.best_epoch}"
            )
        if self.spec.classes < 1:
            raise SpecError("a model without a class, which a classifier has")
        check_outputs(self.outputs, self.spec.task, self.spec.classes)
        figures = (self.accuracy,) if self.spec.task.real else (self.rmse, self.r2)
        if any(figure is not None for figure in figures) or (self.rmse is None) != (self.r2 is None):
            raise SpecError(f"figures of another task than {self.spec.task}")
        if self.scaling is not None:
            self.scaling.check(self.spec.inputs, self.input_format)
        if self.quantisation is None:
            return
        arithmetic, formats = self.quantisation.arithmetic, self.quantisation.formats
        every = chains((self.spec,))
        stages = stages_of(every, arithmetic.stage_lists)
        for chain, resolved in zip(every, stages, strict=True):
            check_sizes(chain.network, resolved)
        if formats is not None and [len(c) for c in formats.chains] != [len(c) for c in stages]:
            raise SpecError(f"formats for other stages than {arithmetic.stage_lists}")
        if formats is not None and (formats.gate != arithmetic.gate or formats.head is None):
            raise SpecError("formats of another arithmetic, or none of the head")


def _check_tensors(description: _Description, tensors: Tensors) -> None:
    with torch.device("meta"):  # shapes alone
        parameters = dict(Classifier(description.spec, description.input_format).named_parameters())
    wanted: dict[str, tuple[int, ...]] = {}
    for name, parameter in parameters.items():
        shape = tuple(parameter.shape)
        wanted[f"{MODEL}{name}"] = shape
        if any(found.startswith(LATEST) for found in tensors):
            wanted[f"{LATEST}{name}"] = shape
        if any(found.startswith(OPTIMISER) for found in tensors):
            wanted |= {f"{OPTIMISER}{part}.{name}": (1,) if part == "step" else shape for part in STATE}
    for name, shape in wanted.items():
        expect(tensors, name, "f", shape)
    expect_only(tensors, set(wanted))
