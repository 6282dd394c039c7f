"""Training: presets, checkpoints, resuming, evaluation."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.data import DataSet, Source, load
from model.layers import Classifier
from spec import container
from spec.errors import FdhtError, FileError, SpecError
from spec.fixed import Fixed
from spec.formats import InputFormat
from spec.lstm import LSTMSpec, Region, fdht_lstm

EVALUATION_BATCH = 50


class TrainingInterrupted(FdhtError):
    """Ctrl-C during training; the message says what is left on disk."""


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


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in training or after it.

    Attributes:
        preset: name of the preset.
        data: the data set it is trained on.
        spec: the model's shape.
        model: the model, on the CPU, in evaluation mode.
        seed: of the initialisation and all random draws.
        epoch, epochs: rounds done, and rounds the schedule was made for.
        choose: trained on the `train` split alone, to choose hyperparameters, instead of `final`.
        history: one record per epoch: loss, training accuracy, last learning rate, seconds.
        accuracy: on the test split (validation if `choose`), None until the last epoch is done.
    """

    preset: str
    data: Source
    spec: LSTMSpec
    model: Classifier
    seed: int
    epoch: int
    epochs: int
    choose: bool
    history: list[dict] = field(default_factory=list)
    accuracy: float | None = None

    @property
    def complete(self) -> bool:
        return self.epoch == self.epochs


def train(
    preset: Preset | str,
    out_path: Path | str,
    *,
    source: Source | None = None,
    seed: int = 0,
    epochs: int | None = None,
    resume: bool = False,
    choose: bool = False,
    progress: Callable[[int, int, dict], None] | None = None,
    reading: Callable[[int, int], None] | None = None,
) -> dict:
    """Trains a preset and leaves a checkpoint after every epoch; on a GPU when there is one.

    All random draws follow from (seed, epoch), so a resumed training ends in the same numbers as an unbroken one.

    Args:
        preset: one, or the name of one.
        out_path: the checkpoint; overwritten unless `resume`.
        source: the data set, instead of the preset's; the head gets as many outputs as that has classes.
        seed: of the initialisation and all random draws.
        epochs: instead of the preset's, for shorter runs; the schedule shrinks with it.
        resume: go on from the checkpoint at `out_path`.
        choose: train on the `train` split and report the accuracy on `validation`; otherwise train on `final` and
            report the accuracy on `test`.
        progress: called after each epoch with (epochs done, epochs, record of the epoch).
        reading: called with (clips read, clips there are) while a folder of clips is read.

    Returns:
        `history` (a record per epoch: `loss`, `accuracy` in training, `learning_rate`, `seconds`), `accuracy` (test or
        validation), `split` (which of them), `seconds` (sum over the epochs), `parameters`, `seed`, `epochs`, `path`,
        `data` (the data set's name), `skipped` (clips that could not be used, with the reasons).

    Raises:
        SpecError: unknown preset or data set, data of another size than the model's, or fewer than 1 epoch.
        FileError: nothing to resume at `out_path`, or something else; data missing; no permission to write.
        TrainingInterrupted: Ctrl-C; the checkpoint of the last whole epoch stays.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    # The steps are too small to share: a second thread mostly waits, and on a busy machine trebles the time. One
    # thread also makes the sums, and so the weights, the same on every number of cores.
    torch.set_num_threads(1)
    epochs = preset.epochs if epochs is None else epochs
    if epochs < 1:
        raise SpecError(f"{epochs} epochs; training needs at least one")
    chosen = Source(preset.data) if source is None else source
    data = load(chosen, progress=reading)
    if source is not None:
        preset = fitted(preset, data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = _Run(preset, chosen, data, device, seed, epochs, choose)
    if resume:
        run.restore(out_path)
    try:
        while run.epoch < epochs:
            record = run.one_epoch()
            run.save(out_path)
            if progress is not None:
                progress(run.epoch, epochs, record)
    except KeyboardInterrupt:
        saved = Path(out_path).exists() and run.saved_epoch > 0
        left = (
            f"{out_path} holds epoch {run.saved_epoch} of {epochs}; go on with --resume"
            if saved
            else "no epoch was finished and nothing was saved"
        )
        raise TrainingInterrupted(f"training was interrupted; {left}") from None
    return {
        "history": run.history,
        "accuracy": run.accuracy,
        "split": "validation" if choose else "test",
        "seconds": sum(record["seconds"] for record in run.history),
        "parameters": preset.spec.parameters,
        "seed": seed,
        "epochs": epochs,
        "path": str(out_path),
        "data": data.name,
        "skipped": list(data.skipped),
    }


def evaluate(model: Classifier, clips: np.ndarray, labels: np.ndarray, zero_h: bool = False) -> float:
    """Fraction of raw clips (B × T × N) whose largest logit is that of their label (B).

    Args:
        zero_h: put 0 in place of the previous hidden state in every step.
    """
    return float((predict(model, clips, zero_h) == labels).mean())


def predict(model: Classifier, clips: np.ndarray, zero_h: bool = False) -> np.ndarray:
    """The classes (B) that a float model gives raw clips (B × T × N)."""
    device, training = model.head.weight.device, model.training
    model.eval()
    with torch.no_grad():
        batches = torch.from_numpy(clips).split(EVALUATION_BATCH)
        classes = [model(model.widen(batch.to(device)), zero_h=zero_h).argmax(1).cpu() for batch in batches]
    model.train(training)
    return torch.cat(classes).numpy()


def load_checkpoint(path: Path | str, preset: str | None = None) -> Checkpoint:
    """Reads a checkpoint.

    Args:
        preset: the preset it must be of; any when left out.

    Raises:
        SpecError: `preset` is unknown.
        FileError: missing, damaged, inconsistent, or a checkpoint of another preset or model.
    """
    return _read(path, None if preset is None else find_preset(preset))[0]


def one_cycle(done: float) -> float:
    """Learning rate, relative to its peak, after a fraction of the training (Smith & Topin 2018, cosine form).

    Rises from 1/25 to 1 in the first 30 %, then falls to almost nothing.
    """
    if done < 0.3:
        return 1 / 25 + (1 - 1 / 25) * (1 - cos(pi * done / 0.3)) / 2
    return (1 + cos(pi * (done - 0.3) / 0.7)) / 2


class _Run:
    """A training in progress: model, optimiser, history."""

    def __init__(
        self,
        preset: Preset,
        source: Source,
        data: DataSet,
        device: torch.device,
        seed: int,
        epochs: int,
        choose: bool,
    ):
        self.preset, self.source, self.data, self.device = preset, source, data, device
        self.seed, self.epochs, self.choose = seed, epochs, choose
        self.epoch = self.saved_epoch = 0
        self.history: list[dict] = []
        self.accuracy: float | None = None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = Classifier(preset.spec, data.input_format, preset.dropout).to(device)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay
        )
        split = data.train if choose else data.final
        self.frames = torch.from_numpy(split.frames).to(device)
        self.order, self.labels = torch.from_numpy(split.order), torch.from_numpy(split.labels)

    def one_epoch(self) -> dict:
        """Trains one epoch and, after the last, measures the accuracy; returns the epoch's record."""
        start = time.monotonic()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        chosen = torch.randperm(len(self.order), generator=generator)[: self.preset.clips_per_epoch]
        batches = chosen.split(self.preset.batch)
        loss_sum = correct = 0.0
        self.model.train()
        with torch.random.fork_rng():  # dropout draws from the global generators
            torch.manual_seed(self.seed * 1_000_003 + self.epoch)
            for k, batch in enumerate(batches):
                rate = one_cycle((self.epoch + k / len(batches)) / self.epochs)
                self.optimiser.param_groups[0]["lr"] = self.preset.learning_rate * rate
                labels = self.labels[batch].to(self.device)
                logits = self.model(self._clips(batch, generator))
                loss = functional.cross_entropy(logits, labels)
                self.optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimiser.step()
                loss_sum += loss.item() * len(batch)
                correct += (logits.argmax(1) == labels).sum().item()
        self.epoch += 1
        record = {
            "loss": loss_sum / len(chosen),
            "accuracy": correct / len(chosen),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": time.monotonic() - start,
        }
        self.history.append(record)
        if self.epoch == self.epochs:
            split = self.data.validation if self.choose else self.data.test
            self.accuracy = evaluate(self.model, split.clips, split.labels)
        return record

    def _clips(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        clips = self.model.widen(self.frames[self.order[batch].to(self.device)])
        if self.preset.augmentation is None:
            return clips
        pictures = clips.reshape(-1, *self.data.image_shape)
        return self.preset.augmentation(pictures, generator).reshape(clips.shape)

    def save(self, path: Path | str) -> None:
        arrays = {f"model.{name}": p.detach().cpu().numpy() for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                arrays[f"optimiser.{key}.{name}"] = value.detach().cpu().numpy()
        description = {
            "preset": self.preset.name,
            "data": asdict(self.source),
            "spec": json.loads(self.preset.spec.to_json()),
            "input_format": asdict(self.model.input_format),
            "seed": self.seed,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "choose": self.choose,
            "history": self.history,
            "accuracy": self.accuracy,
        }
        container.write(path, "checkpoint", description, arrays)
        self.saved_epoch = self.epoch

    def restore(self, path: Path | str) -> None:
        checkpoint, arrays = _read(path, self.preset)
        if checkpoint.data != self.source:
            raise FileError(
                f"{path} was trained on {checkpoint.data}, not {self.source}; resume with the same data or train anew"
            )
        for name in ("seed", "epochs", "choose"):
            if getattr(checkpoint, name) != getattr(self, name):
                raise FileError(
                    f"{path} was trained with {name} = {getattr(checkpoint, name)}, not {getattr(self, name)}; "
                    "resume with the same settings or train anew"
                )
        self.model.load_state_dict(checkpoint.model.state_dict())
        for name, parameter in self.model.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq")
            if any(f"optimiser.{key}.{name}" not in arrays for key in keys):
                raise FileError(f"{path} lacks the optimiser's state of {name}; train anew")
            # AdamW keeps its step counter on the CPU.
            self.optimiser.state[parameter] = {
                key: torch.tensor(arrays[f"optimiser.{key}.{name}"]).to("cpu" if key == "step" else self.device)
                for key in keys
            }
        self.epoch = self.saved_epoch = checkpoint.epoch
        self.history, self.accuracy = list(checkpoint.history), checkpoint.accuracy


def _read(path: Path | str, preset: Preset | None) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    description, arrays, _ = container.read(path, "checkpoint")
    try:
        spec = LSTMSpec.from_json(json.dumps(description["spec"]))
        raw = description["input_format"]
        model = Classifier(spec, InputFormat(Fixed(**raw["raw"]), raw["offset"]))
        model.load_state_dict(
            {name.removeprefix("model."): torch.tensor(a) for name, a in arrays.items() if name.startswith("model.")}
        )
        checkpoint = Checkpoint(
            data=Source(**description["data"]),
            spec=spec,
            model=model.eval(),
            **{
                name: description[name]
                for name in ("preset", "seed", "epoch", "epochs", "choose", "history", "accuracy")
            },
        )
    except (KeyError, TypeError, RuntimeError, SpecError) as error:
        raise FileError(f"{path} is not a consistent checkpoint ({str(error).splitlines()[0]}); train anew") from None
    if preset is not None and checkpoint.preset != preset.name:
        raise FileError(
            f"{path} is a checkpoint of preset {checkpoint.preset}, not {preset.name}; pass one of the latter"
        )
    if preset is not None and spec != preset.spec:
        raise FileError(f"{path} holds a {preset.name} model of another shape than the preset's; train it anew")
    return checkpoint, arrays
