"""Training a preset, resuming, evaluation."""

import time
from collections.abc import Callable
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from model.data import DataSet, Source, load
from model.layers import Classifier
from model.presets import Preset, find_preset, fitted
from spec.errors import FdhtError, FileError, SpecError

EVALUATION_BATCH = 50


class TrainingInterrupted(FdhtError):
    """Ctrl-C during training; the message says what is left on disk."""


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
        optimiser = {
            f"{key}.{name}": value.detach().cpu().numpy()
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
        }
        checkpoint = Checkpoint(
            self.preset.name,
            self.source,
            self.preset.spec,
            self.model,
            self.seed,
            self.epoch,
            self.epochs,
            self.choose,
            self.history,
            self.accuracy,
        )
        write_checkpoint(path, checkpoint, optimiser)
        self.saved_epoch = self.epoch

    def restore(self, path: Path | str) -> None:
        checkpoint, arrays = read_checkpoint(path, self.preset)
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
