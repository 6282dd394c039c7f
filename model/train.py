"""Training a preset, resuming a training, and evaluating what came out."""

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fdht.model import objective
from fdht.model.checkpoint import (
    LATEST,
    OPTIMISER,
    STATE,
    Checkpoint,
    classes_go_with,
    digest,
    load_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from fdht.model.data import DataSet, Source, Split, load
from fdht.model.layers import Classifier
from fdht.model.optimiser import parameter_groups, set_rate
from fdht.model.parallel import Processes, joined, one_thread
from fdht.model.presets import Preset, find_preset, fitted
from fdht.model.qat import Arithmetic, Network, Quantisation, QuantisedClassifier
from fdht.model.quantise import CALIBRATION_CLIPS
from fdht.model.recipe import SCHEDULES
from fdht.model.watch import shut, troubles
from fdht.spec.errors import FdhtError, FileError, SpecError, no_such
from fdht.spec.score import Score, score

EVALUATION_BATCH = 50

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What products are computed in; bfloat16 has float32's range, so that no loss need be scaled."""


FLOATING = 0.3
"""Part of the epochs in floating point before a training from random parameters is on integers: until the learning rate
of the one-cycle schedule has reached its peak.
"""

GO_ON = "; go on with --resume"


class TrainingInterrupted(FdhtError):
    """Ctrl-C during training; the message says what is left on disk."""


class TrainingDiverged(FdhtError):
    """A loss or a gradient that is no number; the message says where, and what is left on disk."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a preset is trained, where that is not the preset's to say.

    Attributes:
        source: the data set, instead of the preset's; the head gets as many outputs as that has classes.
        seed: of the initialisation and all random draws.
        epochs: instead of the preset's, for shorter runs; the schedule shrinks with it.
        resume: go on from the checkpoint that is there.
        choose: for choosing hyperparameters: train on the `train` split and report the accuracy on `validation`.
            Otherwise train on `final` (on `train` if the preset has a patience) and report the accuracy on `test`.
        precision: of products, one of `PRECISIONS`; parameters and sums over them stay float32.
        compiled: let torch.compile make kernels for this model, which takes a minute or more.
        arithmetic: train on an engine's integers (see fdht.model.qat). Their formats are chosen once, at first with
            `start` and otherwise after a part `FLOATING` of the epochs in floating point, and then held.
        start: a checkpoint of the same model and the same data whose parameters are the first ones, instead of random
            ones. One that has seen the validation split cannot be, where that is to be measured on.
        origin: what `start` was made from, for the checkpoint, which is resumed with the same only; a hash of its
            parameters when left out.
        teacher: a model of the same inputs, outputs and task: what its head says is learnt, instead of the labels (see
            fdht.model.objective.distilled).
    """

    source: Source | None = None
    seed: int = 0
    epochs: int | None = None
    resume: bool = False
    choose: bool = False
    precision: str = "float32"
    compiled: bool = False
    arithmetic: Arithmetic | None = None
    start: Path | str | None = None
    origin: str | None = None
    teacher: Classifier | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training.

    Attributes:
        history: a record per epoch: `loss`, `accuracy` in training (None of a regression), `validation` accuracy (of a
            regression r2) or None if there is no patience, `learning_rate`, `shut` (see fdht.model.watch.shut),
            `seconds`.
        accuracy, rmse, r2: of the weights that were kept, on the split `split`; see fdht.spec.score.Score.
        split: `test`, or `validation` if hyperparameters are chosen.
        parameters: how many there are, by part of the model.
        seed, epochs: what was trained with.
        best_epoch: whose weights were kept, None if there is no patience.
        path: the checkpoint.
        data: the data set's name.
        skipped: clips that could not be used, with the reasons.
        troubles: what went wrong, in words (see fdht.model.watch); usually nothing.
    """

    history: list[dict]
    accuracy: float | None
    rmse: float | None
    r2: float | None
    split: str
    parameters: dict[str, int]
    seed: int
    epochs: int
    best_epoch: int | None
    path: Path
    data: str
    skipped: tuple[str, ...]
    troubles: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long all epochs took together, those before an interruption included."""
        return sum(record["seconds"] for record in self.history)


def train(
    preset: Preset | str,
    path: Path | str,
    options: TrainingOptions = TrainingOptions(),
    *,
    progress: Callable[[int, int, list[dict]], None] | None = None,
    reading: Callable[[int, int], None] | None = None,
) -> TrainingResult:
    """Trains a preset and leaves a checkpoint after every epoch; on a GPU when there is one, else on one CPU thread.

    All random draws follow from (seed, epoch), so a resumed training ends in the same numbers as an unbroken one, on a
    GPU but for rounding. In processes that torchrun has started, each takes its share of every batch; the first one
    writes the checkpoint.

    Args:
        preset: one, or the name of one.
        path: the checkpoint; overwritten unless `options.resume`.
        progress: called after each epoch with (epochs done, epochs, records of all epochs so far).
        reading: called with (clips read, clips there are) while a folder of clips is read.

    Raises:
        SpecError: unknown preset or data set, data of another size than the model's, fewer than 1 epoch, or a precision
            that is unknown or that the machine lacks; `compiled` where nothing can be compiled, or with integers.
        FileError: nothing to resume at `path`, or something else; data missing, or not as they were; a `start` that
            has seen clips that are to be measured on; no permission to write, no room.
        TrainingInterrupted: Ctrl-C; the checkpoint of the last whole epoch stays.
        TrainingDiverged: a loss or gradient that is no number; the checkpoint of the last whole epoch stays.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    preset = preset if options.epochs is None else replace(preset, epochs=options.epochs)
    source = Source(preset.data) if options.source is None else options.source
    with one_thread():
        data = load(source, progress=reading)
        if options.source is not None:
            preset = fitted(preset, data)
        _check_data(preset, source, data)
        with joined() as processes:
            run = _begun(preset, path, replace(options, source=source), data, processes)
            _finish(run, path, options.compiled, progress)
    assert run.score is not None
    return TrainingResult(
        history=run.history,
        **asdict(run.score),
        split="validation" if options.choose else "test",
        parameters=preset.spec.parameters,
        seed=options.seed,
        epochs=preset.epochs,
        best_epoch=run.best_epoch,
        path=Path(path),
        data=data.name,
        skipped=tuple(data.skipped),
        troubles=tuple(seen(run.history, preset)),
    )


def _check_data(preset: Preset, source: Source, data: DataSet) -> None:
    """Refuses data of another kind than the model: a project may have been edited, or its data."""
    spec = preset.spec
    of_model, of_data = (spec.task, spec.inputs, spec.classes), (data.task, data.inputs, data.classes)
    if of_model[:2] != of_data[:2] or not classes_go_with(source, spec.classes, data.classes):
        task, inputs, outputs = of_data
        raise SpecError(
            f"{preset.name} is a model for {spec.task.value} with {spec.inputs:,} inputs and {spec.classes:,} outputs; "
            f"{data.name} is for {task.value} with {inputs:,} and {outputs:,}: set task, inputs and outputs to these"
        )
    if preset.augmentation is not None and len(data.image_shape) not in (2, 3):
        raise SpecError(
            f"{preset.name} changes its training clips as pictures, height x width (x channels), and those of "
            f"{data.name} are {data.image_shape}; give their image_shape, or a preset without augmentation"
        )


def seen(history: list[dict], preset: Preset) -> list[str]:
    """What goes wrong in a training of a preset, from the records of its epochs."""
    losses = [record["loss"] for record in history]
    guessing = 1.0 if preset.spec.task.real else None  # the mean of what was scaled to a variance of 1
    closed = history[-1]["shut"] if history else 0.0
    return troubles(losses, preset.epochs, preset.spec.classes, preset.learning_rate, guessing, closed)


def ensure_trained(
    preset: Preset,
    path: Path,
    options: TrainingOptions = TrainingOptions(),
    *,
    progress: Callable[[int, int, list[dict]], None] | None = None,
) -> Checkpoint:
    """The checkpoint of a finished training at `path`: found there, or made now, begun or gone on with.

    A training that ends here leaves its checkpoint without the optimiser's state, which is two thirds of it.

    Args:
        options: as for `train`, which says what is raised, too; whether to resume is found here.
    """
    begun = path.exists()
    if begun and (found := load_checkpoint(path)).complete:
        return found
    train(preset, path, replace(options, resume=begun), progress=progress)
    done = load_checkpoint(path)
    write_checkpoint(path, done, {})
    return done


def evaluate(
    model: Network, clips: np.ndarray, labels: np.ndarray, zero_h: bool = False, lengths: np.ndarray | None = None
) -> float:
    """Fraction of raw clips (B × T × N), or of their steps, whose largest logit is that of their label; of a regression
    r2.

    Args:
        labels: what is true of them, see fdht.spec.task.Truth.
        zero_h: put 0 in place of the previous hidden state in every step.
        lengths: steps of each clip that are its own, B; all when left out.
    """
    return measure(model, clips, labels, zero_h, lengths).figure


def measure(
    model: Network, clips: np.ndarray, labels: np.ndarray, zero_h: bool = False, lengths: np.ndarray | None = None
) -> Score:
    """How good a model is on raw clips; arguments as for `evaluate`."""
    return score(model.task, outputs_of(model, clips, zero_h, lengths), labels, model.outputs)


def predict(model: Network, clips: np.ndarray, zero_h: bool = False, lengths: np.ndarray | None = None) -> np.ndarray:
    """The classes (B, or B × T of a task after every step) that a model, in floating point or on integers, gives raw
    clips (B × T × N); see `evaluate`.
    """
    return model.task.classes_of(outputs_of(model, clips, zero_h, lengths))


def outputs_of(
    model: Network, clips: np.ndarray, zero_h: bool = False, lengths: np.ndarray | None = None
) -> np.ndarray:
    """What the head of a model, in floating point or on integers, makes of raw clips, as real numbers: B × classes, or
    B × T × classes of a task after every step; see `evaluate`.
    """
    device, training = model.head.weight.device, model.training
    model.eval()
    own = torch.full((len(clips),), clips.shape[1]) if lengths is None else torch.from_numpy(lengths)
    with torch.no_grad():
        batches = zip(torch.from_numpy(clips).split(EVALUATION_BATCH), own.split(EVALUATION_BATCH), strict=True)
        outputs = [model(model.widen(batch.to(device)), zero_h=zero_h, lengths=steps).cpu() for batch, steps in batches]
    model.train(training)
    return torch.cat(outputs).numpy()


def _begin(path: Path | str, preset: Preset, source: Source, data: DataSet, choose: bool) -> Checkpoint:
    """A checkpoint to start from, which has not seen what is to be measured on."""
    begin = read_checkpoint(path, preset)[0]
    if begin.data != source:
        raise FileError(
            f"{path} was trained on {begin.data}, not {source}, and may have seen clips of the test; start from one of "
            "the same data"
        )
    begin.check(data)
    if (choose or preset.patience is not None) and begin.saw_validation:
        raise FileError(
            f"{path} was trained on the validation split, too, so that says nothing here; start from one that was "
            "trained with --choose"
        )
    return begin


def _begun(preset: Preset, path: Path | str, options: TrainingOptions, data: DataSet, processes: Processes) -> "_Run":
    """A training before its next epoch: from random parameters, from those of `start`, or resumed."""
    assert options.source is not None
    _check_precision(options.precision, processes.device)
    if options.teacher is not None:
        _check_teacher(options.teacher, preset)
    if options.compiled and options.arithmetic is not None:
        raise SpecError("training on integers cannot be compiled; leave out --compile")
    begin = None if options.start is None else _begin(options.start, preset, options.source, data, options.choose)
    if begin is not None and options.origin is None:
        options = replace(options, origin=digest(begin.model))
    run = _Run(preset, options, data, processes, begin)
    if options.resume:
        run.restore(path)
    return run


def _check_teacher(teacher: Classifier, preset: Preset) -> None:
    """Refuses a teacher of another size or task."""
    other, spec = (
        (layers[0].inputs, layers[-1].classes, layers[-1].task.value) for layers in (teacher.layers, (preset.spec,))
    )
    if other != spec:
        raise SpecError(f"a teacher of {other} inputs, outputs and task for a model of {spec}")


def _finish(
    run: "_Run", path: Path | str, compiled: bool, progress: Callable[[int, int, list[dict]], None] | None
) -> None:
    """Trains what epochs are left; errors say what lies on disk."""
    try:
        while not run.done:
            run.one_epoch()
            run.save(path)
            if progress is not None:
                progress(run.epoch, run.preset.epochs, run.history)
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"training was interrupted; {run.left(path)}") from None
    except FileError as error:
        raise FileError(f"{error}; {run.left(path)}") from None
    except RuntimeError as error:
        if not compiled or run.epoch > 0:
            raise
        why = str(error).strip().splitlines()[0]
        raise SpecError(f"the model cannot be compiled on this machine ({why}); leave out --compile") from None
    except TrainingDiverged as error:  # going on would only repeat it
        raise TrainingDiverged(f"{error}; {run.left(path).removesuffix(GO_ON)}") from None


def _check_precision(precision: str, device: torch.device) -> None:
    if precision not in PRECISIONS:
        raise no_such("precision", precision, PRECISIONS)
    if (
        precision == "bfloat16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise SpecError(f"{torch.cuda.get_device_name(device)} has no bfloat16; leave out --precision")


class _Run:
    """A training in progress: model, optimiser, history."""

    def __init__(
        self,
        preset: Preset,
        options: TrainingOptions,
        data: DataSet,
        processes: Processes,
        begin: Checkpoint | None = None,
    ):
        """`options` name the data set and, if there is a checkpoint to begin with, what that was made from."""
        assert options.source is not None
        seed, choose, arithmetic, origin = options.seed, options.choose, options.arithmetic, options.origin
        self.preset, self.source, self.data, self.processes = preset, options.source, data, processes
        self.device, self.seed, self.choose, self.precision = processes.device, seed, choose, options.precision
        self.recipe = preset.recipe | {
            "precision": options.precision,
            "compiled": options.compiled,
            "start": origin,
            "integers": None if arithmetic is None else str(arithmetic),
        }
        self.teacher = options.teacher
        if self.teacher is not None:
            self.recipe["teacher"] = digest(self.teacher)
            self.teacher.to(self.device).eval()
        self.floating = 0 if origin is not None else int(FLOATING * preset.epochs)
        self.epoch = self.saved_epoch = 0
        self.history: list[dict] = []
        self.best_epoch: int | None = None
        self.score: Score | None = None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = self._new_model()
        if begin is not None:  # before the optimiser asks for the factors' sizes
            self.model.load_state_dict(begin.model.state_dict())
        self.best = self.model if preset.patience is None else copy.deepcopy(self.model)
        quantisation = None if arithmetic is None else Quantisation(arithmetic)
        self.quantised = None if quantisation is None else QuantisedClassifier(self.model, quantisation)
        self.logits = processes.wrapped(self.model if self.quantised is None else self.quantised)
        if options.compiled:
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # only of shapes
            self.logits = torch.compile(self.logits)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, preset.learning_rate, preset.weight_decay, preset.rates)
        )
        split = data.final if preset.patience is None and not choose else data.train
        self.calibration = split.spread(CALIBRATION_CLIPS)
        self.frames = torch.from_numpy(split.frames).to(self.device)
        self.order = torch.from_numpy(split.order)
        self.labels = objective.learnt(preset.spec.task, split.labels, self.model.outputs)
        self.lengths = None if split.lengths is None else torch.from_numpy(split.lengths)

    def _new_model(self) -> Classifier:
        preset = self.preset
        dropouts = preset.dropout, preset.input_dropout, preset.hidden_dropout
        outputs = objective.scaling_of(preset.spec.task, self.data.train.labels)
        start = preset.recurrent_start
        model = Classifier(preset.spec, self.data.input_format, *dropouts, outputs=outputs, recurrent_start=start)
        return model.to(self.device)

    @property
    def done(self) -> bool:
        return self.score is not None

    def one_epoch(self) -> None:
        """Trains one epoch, adds its record to the history and, after the last, measures the accuracy."""
        start = time.monotonic()
        # Draws are made for whole batches, so that they are the same for any number of processes.
        generator, of_dropout = (torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch) for _ in range(2))
        chosen = torch.randperm(len(self.order), generator=generator)[: self.preset.clips_per_epoch]
        batches = chosen.split(self.preset.batch)
        loss_sum = correct = rate = 0.0
        if self.quantised is not None and self.quantised.formats is None and self.epoch >= self.floating:
            self.quantised.calibrate(self.calibration)
        self.model.train()
        for k, batch in enumerate(batches):
            done = (self.epoch + k / len(batches)) / self.preset.epochs
            rate = self.preset.learning_rate * SCHEDULES[self.preset.schedule](done)
            set_rate(self.optimiser.param_groups, rate)
            share, counts = self.processes.share(len(batch))
            labels = self.labels[batch[share]].to(self.device)
            clips = self._clips(batch, share, generator)
            masks = self.model.masks(len(batch), of_dropout).of(share, self.device)
            lengths = None if self.lengths is None else self.lengths[batch[share]]
            with torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "float32"):
                logits = self.logits(clips, masks=masks, lengths=lengths).float()
            if self.teacher is None:
                loss = counts * objective.loss(self.model.task, logits, labels)
            else:
                with torch.no_grad():
                    taught = self.teacher(clips, lengths=lengths)
                loss = counts * objective.distilled(self.model.task, logits, taught, lengths)
            self.optimiser.zero_grad()
            # The processes' gradients are averaged, so each is of the mean loss of the batch, times the processes.
            (loss / (len(batch) / self.processes.count)).backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if not torch.isfinite(norm):  # the same in all processes, and never stepped into the weights
                raise TrainingDiverged(
                    f"loss {loss.item() / len(batch):.4g} with a gradient of {norm.item():.4g} in epoch "
                    f"{self.epoch + 1}, step {k + 1} of {len(batches)}, at a learning rate of {rate:.3g}; "
                    "train anew with a lower learning rate, or look for values in the data that are no numbers"
                )
            self.optimiser.step()
            loss_sum += loss.item()
            correct += counts * objective.right(self.model.task, logits, labels)
        loss_sum, correct = self.processes.total(loss_sum, correct)
        self.epoch += 1
        if self.quantised is not None and self.quantised.formats is not None:
            self.quantised.fit_accumulators()
        record = {
            "loss": loss_sum / len(chosen),
            "accuracy": None if self.model.task.real else correct / len(chosen),
            "validation": self._validate(),
            "learning_rate": rate,
            "shut": shut(self.model, torch.from_numpy(self.calibration).to(self.device)),
            "seconds": time.monotonic() - start,
        }
        self.history.append(record)
        waited = 0 if self.best_epoch is None else self.epoch - self.best_epoch
        if self.epoch == self.preset.epochs or (self.preset.patience is not None and waited >= self.preset.patience):
            self.score = self._measured(self.best, self.data.validation if self.choose else self.data.test)

    def _clips(self, batch: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
        """Some clips of a batch as real numbers, changed by what is drawn for the whole batch."""
        clips = self.model.widen(self.frames[self.order[batch[share]].to(self.device)])
        if self.preset.augmentation is None:
            return clips
        shape = self.data.image_shape
        height, width, channels = shape if len(shape) == 3 else (*shape, 1)
        pictures = clips.view(len(share), -1, height, width, channels)
        drawn = self.preset.augmentation.draw(len(batch), pictures.shape[1], generator)
        return self.preset.augmentation(pictures, drawn[share]).reshape(clips.shape)

    def _validate(self) -> float | None:
        """The accuracy, or r2, on the validation split, if there is a patience; keeps the weights if it is the best so
        far.
        """
        if self.preset.patience is None:
            return None
        accuracy = self._measured(self.model, self.data.validation).figure
        if self.epoch <= self.floating and self.quantised is not None:  # not what is trained yet
            return accuracy
        if self.best_epoch is None or accuracy > self.history[self.best_epoch - 1]["validation"]:
            self.best_epoch = self.epoch
            self.best.load_state_dict(self.model.state_dict())
        return accuracy

    def _measured(self, model: Classifier, split: Split) -> Score:
        """How good a model is on a split, as the first process finds it."""
        network = model if self.quantised is None else QuantisedClassifier(model, self.quantised.quantisation)
        found = Score()
        if self.processes.rank == 0:
            found = measure(network, split.clips, split.labels, lengths=split.lengths)
        accuracy, rmse, r2 = (self.processes.agreed(figure or 0.0) for figure in (found.accuracy, found.rmse, found.r2))
        return Score(rmse=rmse, r2=r2) if self.model.task.real else Score(accuracy)

    def left(self, path: Path | str) -> str:
        """What is on disk when training ends early."""
        if self.saved_epoch == 0 or not Path(path).exists():
            return "no epoch was finished and nothing was saved"
        return f"{path} holds epoch {self.saved_epoch} of {self.preset.epochs}{GO_ON}"

    def save(self, path: Path | str) -> None:
        """Leaves a checkpoint; of several processes, the first one's."""
        state = {
            f"{OPTIMISER}{key}.{name}": value.detach().cpu().numpy()
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
        }
        if self.best is not self.model:
            state |= {f"{LATEST}{name}": p.detach().cpu().numpy() for name, p in self.model.named_parameters()}
        checkpoint = Checkpoint(
            preset=self.preset.name,
            data=self.source,
            fingerprint=self.data.fingerprint,
            scaling=self.data.scaling,
            spec=self.preset.spec,
            model=self.best,
            seed=self.seed,
            epoch=self.epoch,
            epochs=self.preset.epochs,
            choose=self.choose,
            recipe=self.recipe,
            history=self.history,
            best_epoch=self.best_epoch,
            **({} if self.score is None else asdict(self.score)),
            quantisation=None if self.quantised is None else self.quantised.quantisation,
        )
        if self.processes.rank == 0:
            write_checkpoint(path, checkpoint, state)
        self.saved_epoch = self.epoch

    def restore(self, path: Path | str) -> None:
        checkpoint, arrays = read_checkpoint(path, self.preset)
        if checkpoint.data != self.source:
            raise FileError(
                f"{path} was trained on {checkpoint.data}, not {self.source}; resume with the same data or train anew"
            )
        checkpoint.check(self.data)
        here = {"seed": self.seed, "epochs": self.preset.epochs, "choose": self.choose} | self.recipe
        there = {name: getattr(checkpoint, name) for name in ("seed", "epochs", "choose")} | checkpoint.recipe
        for name in here | there:
            if here.get(name) != there.get(name):
                raise FileError(
                    f"{path} was trained with {name} = {there.get(name)}, not {here.get(name)}; "
                    "resume with the same settings or train anew"
                )
        self.best.load_state_dict(checkpoint.model.state_dict())
        if self.quantised is not None and checkpoint.quantisation is not None:
            if checkpoint.quantisation.arithmetic != self.quantised.arithmetic:
                raise FileError(f"{path} was trained on other stages or formats; train anew")
            self.quantised.formats = checkpoint.quantisation.formats
        for name, parameter in self.model.named_parameters():
            keys = [f"{OPTIMISER}{key}.{name}" for key in STATE]
            keys += [f"{LATEST}{name}"] if self.best is not self.model else []
            if any(key not in arrays for key in keys):
                raise FileError(f"{path} lacks the optimiser's state of {name}; train anew")
            if self.best is not self.model:
                with torch.no_grad():
                    parameter.copy_(torch.tensor(arrays[keys.pop()]))
            # AdamW keeps its step counter on the CPU.
            self.optimiser.state[parameter] = {
                key.split(".")[1]: torch.tensor(arrays[key]).to("cpu" if ".step." in key else self.device)
                for key in keys
            }
        self.epoch = self.saved_epoch = checkpoint.epoch
        self.history, self.score = list(checkpoint.history), checkpoint.score
        self.best_epoch = checkpoint.best_epoch
