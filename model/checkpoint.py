"""Checkpoints: a model in training or after it, in a file."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model.data import DataSet, Source
from model.layers import Classifier
from model.presets import Preset, find_preset
from model.qat import Network, Quantisation, QuantisedClassifier
from spec import container
from spec.errors import FileError, SpecError
from spec.fixed import Fixed
from spec.formats import InputFormat
from spec.lstm import LSTMSpec

_PLAIN = ("fingerprint", "seed", "epoch", "epochs", "choose", "recipe", "history", "best_epoch", "accuracy")
"""Attributes of a checkpoint that are written as they are."""


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
        choose: the accuracy is for choosing hyperparameters, see `train`.
        recipe: everything else that the training depends on: the preset's settings, and the arithmetic.
        history: one record per epoch, see `train`.
        best_epoch: the epoch `model` is of, None if there is no patience.
        accuracy: on the test split (validation if `choose`), None until the training is done.
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
            FileError: some came, went or changed sides.
        """
        if data.fingerprint != self.fingerprint:
            raise FileError(
                f"the clips of {self.data} are not those that {self.preset} was trained on (some came, went or were "
                "renamed, which lets others change sides, too); restore them or train anew"
            )

    @property
    def complete(self) -> bool:
        return self.accuracy is not None

    @property
    def seconds(self) -> float:
        """Of the training, all epochs together, to a tenth."""
        return round(sum(record["seconds"] for record in self.history), 1)


def digest(*modules: nn.Module) -> str:
    """The first 64 bits of a hash of the modules' parameters, in hexadecimal."""
    found = hashlib.sha256()
    for module in modules:
        for name, parameter in module.named_parameters():
            found.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


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
    arrays = {f"model.{name}": p.detach().cpu().numpy() for name, p in checkpoint.model.named_parameters()} | state
    description = {
        "preset": checkpoint.preset,
        "data": asdict(checkpoint.data),
        "spec": json.loads(checkpoint.spec.to_json()),
        "input_format": asdict(checkpoint.model.input_format),
        "quantisation": None if checkpoint.quantisation is None else checkpoint.quantisation.dump(),
        **{name: getattr(checkpoint, name) for name in _PLAIN},
    }
    container.write(path, "checkpoint", description, arrays)


def read_checkpoint(path: Path | str, preset: Preset | None = None) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    """Reads a checkpoint and all its arrays.

    Args:
        preset: the preset it must be of, with this very shape; any when left out.

    Raises:
        FileError: missing, damaged, inconsistent, or a checkpoint of another preset or model.
    """
    description, arrays, _ = container.read(path, "checkpoint")
    try:
        spec = LSTMSpec.from_json(json.dumps(description["spec"]))
        raw, quantisation = description["input_format"], description["quantisation"]
        model = Classifier(spec, InputFormat(Fixed(**raw["raw"]), raw["offset"]))
        model.load_state_dict(
            {name.removeprefix("model."): torch.tensor(a) for name, a in arrays.items() if name.startswith("model.")}
        )
        checkpoint = Checkpoint(
            data=Source(**description["data"]),
            spec=spec,
            model=model.eval(),
            preset=description["preset"],
            quantisation=None if quantisation is None else Quantisation.load(quantisation),
            **{name: description[name] for name in _PLAIN},
        )
    except (KeyError, TypeError, ValueError, RuntimeError, SpecError) as error:
        raise FileError(f"{path} is not a consistent checkpoint ({str(error).splitlines()[0]}); train anew") from None
    if preset is not None and checkpoint.preset != preset.name:
        raise FileError(
            f"{path} is a checkpoint of preset {checkpoint.preset}, not {preset.name}; pass one of the latter"
        )
    if preset is not None and spec != preset.spec:
        raise FileError(f"{path} holds a {preset.name} model of another shape than the preset's; train it anew")
    return checkpoint, arrays
