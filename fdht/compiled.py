"""From a PyTorch module to an accelerator: `fdht.compile`."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from fdht.compiler.clipping import with_clipping
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.model.affine import folded
from fdht.model.converted import converted
from fdht.model.data.arrays import as_array, class_numbers, is_ragged, padded
from fdht.model.golden import GoldenLSTM
from fdht.model.placed import Placed, place_module
from fdht.model.quantise import CALIBRATION_CLIPS, SaturationReport, quantise
from fdht.spec.bundle import Bundle
from fdht.spec.cards import card, fill_bars
from fdht.spec.clips import classes_of, spread_over
from fdht.spec.container import write_whole
from fdht.spec.errors import CapacityError, FdhtError, Resource, SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.scaling import Scaling
from fdht.spec.score import known, score
from fdht.spec.stages import StageLists
from fdht.spec.target import Target, find_target
from fdht.spec.task import Task

if TYPE_CHECKING:
    from fdht.boards.board import Board
    from fdht.sim.simulate import Simulation

Values = np.ndarray | Tensor | Sequence | PackedSequence
"""What a module is called with: samples × what it takes; or, of sequences that differ in length, a list of them, or as
`torch.nn.utils.rnn` packs them.
"""

Lengths = np.ndarray | Tensor | Sequence[int] | None
"""Steps of each sample that are its own, where they are padded behind these, with whatever; None: all of them, or as
long as the items of a list are.
"""

AT_ONCE = 64
"""Samples that are run together."""

TRACED = 4
"""Samples that a module is looked at with."""

VECTORS = 100
"""Samples that are kept in a bundle with their results, for whoever checks an engine against them."""

KINDS = ("accuracy", "rmse", "r2")
"""How good outputs are, see fdht.spec.score.Score."""


class ClippingWarning(UserWarning):
    """The formats clip so much that it costs accuracy."""


class MismatchError(FdhtError):
    """The gateware computed something else than was predicted."""


@dataclass(frozen=True)
class Report:
    """What an accelerator is and takes.

    Attributes:
        figures: by name, as `--json` would have them.
        fill: words used and available of each memory.
    """

    figures: dict[str, Any]
    fill: dict[str, tuple[int, int]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return card("Report", {name: _shown(value) for name, value in self.figures.items()}, fill_bars(self.fill))

    def __str__(self) -> str:
        width = max(map(len, self.figures))
        return "\n".join(f"{name:{width}}  {_shown(value)}" for name, value in self.figures.items())


@dataclass(frozen=True, eq=False)
class Accelerator:
    """A module compiled for an engine: its integers, and the program that runs them.

    `fdht.compile` makes one. A board runs it so: `device.load(accelerator.image)`, `device.run(accelerator.words(x))`
    (see fdht.Device).

    Attributes:
        bundle: the integers, and what the golden model makes of some samples. image: the program for one engine.
        placed: the module's parts.
        saturation: what the formats clip, on the calibration samples.
        agreement: what the user's module and the integers have in common on the samples in the bundle, see `report`.
        given: how many samples there were, of which the bundle has `VECTORS` or all.
        folded: whether `scaling` does what the parts on the host do, see fdht.model.affine: then board, C and web page
            take the module's own values.
    """

    bundle: Bundle
    image: Image
    placed: Placed
    saturation: SaturationReport
    agreement: dict[str, float]
    given: int
    class_names: tuple[str, ...] = ()
    name: str = field(default="model")
    folded: bool = False

    @property
    def target(self) -> Target:
        return self.image.target

    @property
    def scaling(self) -> Scaling:
        """How the values of a step become the engine's raw words; bundle, image and driver have it too."""
        assert self.bundle.scaling is not None
        return self.bundle.scaling

    def _repr_html_(self) -> str:
        return self.report()._repr_html_() + self.bundle._repr_html_()

    def words(self, x: Values, lengths: Lengths = None) -> Any:
        """The engine's raw words (B × T × N) for what the module is called with. Parts on the host are run here. Of
        sequences that differ in length a list, T × N each, as `Device.run` takes it.
        """
        words, own = self._words(x, lengths)
        return words if own is None else [one[:steps] for one, steps in zip(words, own.tolist(), strict=True)]

    def predict(self, x: Values, lengths: Lengths = None) -> np.ndarray:
        """What the engine's integers give, as the real numbers that they stand for: the outputs of the head, B × K, or
        B × T × K of a head after every step, before a softmax. The golden model computes them, which the gateware
        equals in every bit.

        Args:
            x: what the module is called with, any number of samples.
            lengths: steps of each that are its own: the head looks after the last of these; of a head after every step
                0 lies behind them.
        """
        words, own = self._words(x, lengths)
        return self._blank(_real(self.bundle, self._integers(words, own)), own, 0)

    def classify(self, x: Values, lengths: Lengths = None) -> np.ndarray:
        """The class of each sample, or of each step of each; the first of equal ones.

        Args:
            x, lengths: as for `predict`; -1 lies behind a sample's own steps.

        Raises:
            SpecError: the model is a regression.
        """
        if self.bundle.spec.task.real:
            raise SpecError("the model's outputs are real numbers; call predict")
        words, own = self._words(x, lengths)
        return self._blank(self.bundle.spec.task.classes_of(self._integers(words, own)), own, -1)

    def simulate(
        self, x: Values, lengths: Lengths = None, *, simulator: str = "verilator", waves: Path | str | None = None
    ) -> "Simulation":
        """Runs samples on the gateware in simulation, and compares every word and every cycle with the prediction.

        Args:
            x: what the module is called with; a few samples, as each takes seconds.
            lengths: steps of each that are its own; no others are run, and outputs behind them are as in `predict`.
            simulator: `verilator` or `icarus`. waves: where to leave a VCD trace.

        Raises:
            MismatchError: a word or a cycle differs.
            ToolError: the simulator is missing.
        """
        from fdht.sim.simulate import Job, simulate_jobs

        words, own = self._words(x, lengths)
        clips = [words] if own is None else [words[k : k + 1, :steps] for k, steps in enumerate(own.tolist())]
        results = simulate_jobs(
            [Job(self.image, clip) for clip in clips],
            simulator=simulator,
            waves=None if waves is None else Path(waves),
        )
        differing = [each for result in results for each in result.mismatches]
        golden = [self._integers(clip) for clip in clips]
        if any(not np.array_equal(result.logits, wanted) for result, wanted in zip(results, golden, strict=True)):
            differing.append("the outputs are not the golden model's")
        if differing:
            raise MismatchError(f"{len(differing)} differences between gateware and prediction; first: {differing[0]}")
        return _together(results, words.shape[1] if self.bundle.spec.task.every_step else None)

    def report(self, rate: float | None = None, page: Path | str | None = None) -> Report:
        """Sizes, cycles, how full the memories are, and what the integers cost.

        Args:
            rate: steps per second that are wanted: what they ask of the clock is then said, too.
            page: where to leave all that is known as one HTML file, as `fdht report` does.

        Raises:
            SpecError: a rate that is not above 0. FileError: the page cannot be written.
        """
        from fdht.boards.catalogue import boards_with
        from fdht.compiler.effort import effort
        from fdht.compiler.explain import fill

        steps = self.bundle.clips.shape[1]
        cycles, after = self.image.cycles(steps), self.image.cycles(steps + 1)
        filled = fill(self.image.machine.programs, self.target)
        figures: dict[str, Any] = {
            "model": self.name,
            "target": self.target.name,
            "layers": len(self.bundle.layers),
            "inputs, hidden, outputs": f"{self.image.inputs}, {self.image.hidden}, {self.image.classes}",
            "task": self.bundle.spec.task.value,
            **{f"parameters, {name}": count for name, count in _parameters(self.bundle).items()},
            "multiplications per step": self.image.macs,
            "cycles per step": after - cycles,
            f"cycles, {steps} steps": cycles,
            **{name.replace("_", " "): f"{used:,} of {there:,}" for name, (used, there) in filled.items()},
            **self._checked(),
            "clipped in calibration": self.saturation.summary,
        }
        for board in boards_with(self.target):
            figures[f"steps/s on {board.name} at {board.clock_mhz:g} MHz"] = round(board.clock_hz / (after - cycles))
        if rate is not None:
            found = effort(self.image)
            figures |= {
                "multiplications of the array per step": found.step.performed,
                "memory accesses per step": found.step.accesses,
                f"clock for {rate:g} steps/s": f"{found.clock_mhz(rate):.4g} MHz",
            }
            for board in boards_with(self.target):
                duty = found.duty(rate, board.clock_mhz)
                figures[f"duty on {board.name} at {board.clock_mhz:g} MHz"] = f"{duty:.1%}"
        if page is not None:
            from fdht.report import report_page

            write_whole(page, report_page.page(self.bundle, self.image, self.name)[1].encode())
        return Report(figures, filled)

    def save(self, path: Path | str) -> Path:
        """Writes the bundle, and the image for the target beside it (`mine.bundle`, `mine.icebreaker.image`).

        `fdht simulate`, `compare`, `run` and `export` take them.
        """
        path = Path(path)
        image = replace(self.image, bundle_hash=self.bundle.save(path))
        image.save(self.image_path(path))
        return path

    def image_path(self, path: Path) -> Path:
        """Where `save` puts the image of a bundle at `path`."""
        return path.with_name(f"{path.stem}.{self.target.name or 'engine'}.image")

    def build(self, board: "Board | str", folder: Path | str | None = None, *, seeds: Sequence[int] = ()) -> dict:
        """Makes the board's bitstream with open tools; minutes, or seconds where an equal one was made before.

        Args:
            board: one of `fdht synth --list`, or a board of your own. It gets this accelerator's target.
            folder: where bitstream and report go; build/BOARD when left out, or build/BOARD-TARGET where the board
                comes with another engine.
            seeds: of place and route; the fastest of the board's baseline when left out, 1 for an engine without one.

        Returns:
            The figures of the report (see boards/README.md).

        Raises:
            CapacityError: the board's part does not hold the engine. SpecError: an engine that cannot be made of the
                part's primitives. SynthesisError: too slow. ToolError: a tool is missing.
        """
        from fdht.boards import find_board
        from fdht.boards.baseline import usual_seeds
        from fdht.boards.fitting import engine_on
        from fdht.boards.synthesis import synthesise

        found = engine_on(find_board(board) if isinstance(board, str) else board, self.target)
        out = Path("build") / found.design if folder is None else Path(folder)
        return synthesise(found, out, seeds or usual_seeds(found))

    def _checked(self) -> dict[str, Any]:
        """What is known of the samples in the bundle: how many, how good float and integers are, how alike."""
        bundle, models = self.bundle, {"float": "float", "golden": "integers"}
        labels = bundle.labels.reshape(len(bundle.labels), -1)
        told = known(bundle.spec.task, labels).any(1).sum()
        scores = {
            f"{kind}, {model}": round(bundle.about[kind][name], 6)
            for kind in KINDS
            for name, model in models.items()
            if kind in bundle.about
        }
        return {
            "samples in the bundle": f"{len(labels)} of {self.given:,}" + (f", {told} with a label" if told else ""),
            **scores,
            **{name: round(value, 6) for name, value in self.agreement.items()},
        }

    def _words(self, x: Values, lengths: Lengths) -> tuple[np.ndarray, np.ndarray | None]:
        """Raw words (B × T × N), and the steps of each sample that are its own, if not all are."""
        samples, own = _samples(x, self.placed.module, lengths)
        return self.scaling.to_words(_scaled(samples, _values(self.placed, samples, own), self.folded)), own

    def _integers(self, words: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        golden, parts = GoldenLSTM(self.bundle), []
        for at in range(0, len(words), AT_ONCE):
            own = None if lengths is None else lengths[at : at + AT_ONCE]
            parts.append(golden.run(words[at : at + AT_ONCE], lengths=own).logits.numpy())
        return np.concatenate(parts)

    def _blank(self, outputs: np.ndarray, lengths: np.ndarray | None, nothing: int) -> np.ndarray:
        """Outputs after every step, with something that means nothing behind a sample's own steps."""
        if lengths is not None and self.bundle.spec.task.every_step:
            outputs[np.arange(outputs.shape[1]) >= lengths[:, None]] = nothing
        return outputs


def _together(results: "Sequence[Simulation]", steps: int | None) -> "Simulation":
    """Simulations of a clip each as one; with `steps`, what came after every step is filled up to so many."""
    found: dict[str, Any] = {}
    for name in vars(results[0]):
        parts = [getattr(result, name) for result in results]
        if isinstance(parts[0], np.ndarray):
            if steps is not None and name in ("logits", "classes"):
                nothing = 0 if name == "logits" else -1
                parts = [_filled(part, steps, nothing) for part in parts]
            found[name] = np.concatenate(parts)
        else:  # counts, or lists of what is there per clip
            found[name] = sum(parts, type(parts[0])())
    return type(results[0])(**found)


def _filled(outputs: np.ndarray, steps: int, nothing: int) -> np.ndarray:
    behind = np.full((len(outputs), steps - outputs.shape[1], *outputs.shape[2:]), nothing, outputs.dtype)
    return np.concatenate([outputs, behind], 1)


def compile(
    model: nn.Module,
    calibration: Values,
    target: Target | str = "icebreaker",
    *,
    vectors: Values | None = None,
    labels: Values | None = None,
    lengths: Lengths = None,
    calibration_lengths: Lengths = None,
    class_names: Sequence[str] = (),
    value_names: Sequence[str] = (),
    regression: bool = False,
    host: Sequence[str] | str = (),
    ranks: int | None = None,
    bits: int = 8,
    name: str = "",
) -> Accelerator:
    """Compiles a trained module for an engine: number formats, program, and a check of the integers.

    Args:
        model: inputs → LSTM layers (`FDHTLSTM`, `nn.LSTM`, on top of each other) → the last step or every step → a
            linear layer, however its `forward` is written. Dropout, reshapes and a softmax at the end may be there.
        calibration: what the model is called with, samples × ...: some tens of the training's samples. Formats are
            chosen on them.
        target: an engine, or its name: `icebreaker`, `ulx3s-85f` and others (`fdht synth --list`).
        vectors: samples that go into the bundle with their results, for checks and figures: 100 of them, spread over
            all, where there are more (`report` says how many); those of the calibration when left out.
        labels: what is true of these, if the bundle is to say: numbers of classes from 0, or -1 for what is not known;
            words or other numbers, in the order of `class_names` or their own; or real numbers of a regression.
        lengths: steps of each of these (of the calibration, when `vectors` is left out) that are its own, where x is
            padded behind them.
        calibration_lengths: the same of the calibration's samples, beside `vectors`.
        class_names: of the classes, in their order; the labels themselves, if they are words, when left out.
        value_names: of the values of a step, for pages and reports.
        regression: the outputs are real numbers, not logits.
        host: names of submodules in front of the first LSTM that stay on the host, or the name of one. Those that only
            scale and shift each value (a mean and a deviation, a BatchNorm1d) go into the inputs' scaling, and nobody
            needs them beside it.
        ranks: that each nn.LSTM is brought to, by hierarchical SVD; left out, it stays dense, and 32 units are already
            more than the iCEBreaker holds. What a rank costs, some epochs of an `FDHTLSTM` from `lstm_from_dense` mend.
        bits: of a raw input word, 8 or 16; boards' engines take 8.
        name: of the model, for reports.

    Raises:
        SpecError: a part that the engine cannot run, by its name in the module, with what to do; samples that are no
            numbers. CapacityError: the model does not fit the engine; says what lacks.

    Warns:
        ClippingWarning: more than 1 % of the values are clipped on the calibration samples.

    Example:
        accelerator = fdht.compile(model, calibration=x[:100], target="icebreaker")
        accelerator.predict(x)
    """
    target = find_target(target) if isinstance(target, str) else target
    if vectors is None and calibration_lengths is not None and lengths is not None:
        raise SpecError("lengths and calibration_lengths of the same samples; without vectors pass lengths alone")
    own = lengths if vectors is None and calibration_lengths is None else calibration_lengths
    (x, own), class_names = _samples(calibration, model, own), tuple(map(str, class_names))
    if value_names and len(value_names) != x.shape[-1]:
        raise SpecError(f"{len(value_names)} names for {x.shape[-1]} values of a step; give one each")
    placed = _placed(model, x, host)
    _check_outputs(placed, regression)
    values = _values(placed, x, own)
    rows = values if own is None else values[np.arange(values.shape[1]) < own[:, None]]
    standing = Scaling.fit(rows.reshape(-1, values.shape[-1]), bits, alike=True)
    network = converted(placed, standing, regression, ranks)
    scaling = folded(placed, x, values, standing) if placed.host else None
    in_scaling, scaling = scaling is not None, scaling or standing
    samples, of_samples = (x, own) if vectors is None else _samples(vectors, model, lengths)
    words = tested = scaling.to_words(_scaled(x, values, in_scaling))
    if vectors is not None:
        tested = scaling.to_words(_scaled(samples, _values(placed, samples, of_samples), in_scaling))
    kept = spread_over(len(tested), min(VECTORS, len(tested)))
    task, outputs = network.task, network.layers[-1].classes
    if class_names and len(class_names) != outputs:
        raise SpecError(f"{len(class_names)} names for {outputs} classes; give one each")
    truth, class_names = _truth(labels, len(tested), task, outputs, tested.shape[1], class_names, of_samples)
    bundle, saturation = quantise(
        network,
        _planned(network.layers, target, placed, ranks),
        tested[kept],
        truth[kept],
        calibration=words[spread_over(len(words), min(CALIBRATION_CLIPS, len(words)))],
        factor_width=target.factor_width,
        accumulator_width=target.accumulator_width,
        gate=target.gate_formats,
        scaling=scaling,
        about={"model": name or type(model).__name__, "classes": list(class_names), "values": [*map(str, value_names)]}
        | ({"folded" if in_scaling else "host": list(placed.host)} if placed.host else {}),
        lengths=None if of_samples is None else of_samples[kept],
    )
    floats = _floats(placed, samples[torch.from_numpy(kept)], task, bundle.lengths)
    bundle = replace(bundle, about={**bundle.about, **_judged(bundle, floats)})
    image = with_clipping(compile_bundle(bundle, target), bundle)
    if saturation.trouble:
        of = "lengths" if vectors is None else "calibration_lengths"
        hint = "" if own is not None else f"; if x is padded, pass {of}"
        warnings.warn(saturation.trouble + hint, ClippingWarning, stacklevel=2)
    agreement, name = _agreement(bundle, floats), bundle.about["model"]
    return Accelerator(bundle, image, placed, saturation, agreement, len(tested), class_names, name, in_scaling)


def _placed(model: nn.Module, x: Tensor, host: Sequence[str] | str) -> Placed:
    """The parts of a module, traced with a few samples. Of one step, the last is each: then two steps are tried first,
    so that a head after every step is told from one after the last.
    """
    some = x[:TRACED] if len(x) > 1 else torch.cat([x, x])
    if some.dim() > 2 and some.shape[1] == 1:
        with suppress(SpecError):
            return place_module(model, torch.cat([some, some], 1), host)
    return place_module(model, some, host)


def _planned(layers: Sequence[LSTMSpec], target: Target, placed: Placed, ranks: int | None) -> StageLists:
    """The stage lists; where the weight of an nn.LSTM is what does not fit, the refusal says how it gets smaller."""
    try:
        return plan(layers, target)
    except CapacityError as error:
        dense = [name for name, part in placed.layers if isinstance(part, nn.LSTM)]
        if not dense or error.resource not in (Resource.FACTOR_WORDS, Resource.SCRATCHPAD_WORDS):
            raise
        smaller = f"pass ranks below {ranks}"
        if ranks is None:
            smaller = (
                f"{dense[0]} is an nn.LSTM, which stays a dense matrix: pass ranks=8 (--ranks 8) to split it, and "
                "train the split some epochs (fdht.lstm_from_dense)"
            )
        raise error.advising(f"{smaller}; or choose a larger target") from None


def _check_outputs(placed: Placed, regression: bool) -> None:
    """Refuses outputs that mean nothing on the engine."""
    name, head = placed.head
    if head.out_features == 1 and not regression:
        raise SpecError(
            f"{name} has one output, of which the largest is always the same; for a number pass regression=True (its "
            "sign then tells two classes apart), or train two outputs"
        )
    if placed.softmax and regression:
        raise SpecError(
            f"the module ends in a softmax, and the engine gives what {name} gives; leave out regression or the softmax"
        )


def _real(bundle: Bundle, integers: np.ndarray) -> np.ndarray:
    """What integers of the head stand for."""
    head = bundle.formats.head
    assert head is not None
    return head.result.dequantise(integers)


def _floats(placed: Placed, samples: Tensor, task: Task, lengths: np.ndarray | None) -> np.ndarray:
    """What the user's own module gives, in the shape of the bundle's logits."""
    if lengths is None or task.every_step:
        found = [placed.outputs(part) for part in samples.split(AT_ONCE)]
    else:  # the module looks at the last step that it is given
        found = [placed.outputs(one[None, :own]) for one, own in zip(samples, lengths.tolist(), strict=True)]
    return torch.cat(found).float().cpu().numpy()


def _judged(bundle: Bundle, floats: np.ndarray) -> dict[str, Any]:
    """What a bundle says of the user's module and of the integers: classes of the one, how good both are."""
    task, labels = bundle.spec.task, bundle.labels
    if bundle.lengths is not None and task.every_step:
        inside = np.arange(bundle.clips.shape[1]) < bundle.lengths[:, None]
        floats, labels, integers = floats[inside], labels[inside], bundle.logits[inside]
    else:
        integers = bundle.logits
    classes = {"float_classes": classes_of(floats).tolist()} if task is Task.CLASSIFY else {}
    if not known(task, labels).any():
        return classes
    scores = {
        "float": score(task, floats, labels, None),
        "golden": score(task, _real(bundle, integers), labels, None),
    }
    kinds = KINDS[1:] if task.real else KINDS[:1]
    return classes | {kind: {name: getattr(each, kind) for name, each in scores.items()} for kind in kinds}


def _agreement(bundle: Bundle, floats: np.ndarray) -> dict[str, float]:
    """How far the integers lie from the user's own module: ranks, the inputs' words and all formats together."""
    task, integers, lengths = bundle.spec.task, bundle.logits, bundle.lengths
    real = _real(bundle, integers)
    if lengths is not None and task.every_step:
        inside = np.arange(integers.shape[1]) < lengths[:, None]
        floats, real, integers = floats[inside], real[inside], integers[inside]
    found = {"largest difference to the float model": float(np.abs(real - floats).max())}
    if not task.real:
        found["same class as the float model"] = float(np.mean(classes_of(integers) == classes_of(floats)))
    return found


def _lengths(lengths: Any, x: Tensor) -> np.ndarray:
    own = as_array(lengths)
    steps = x.shape[1]
    if own.shape != (len(x),) or own.dtype.kind not in "iu" or own.min() < 1 or own.max() > steps:
        raise SpecError(f"lengths are {own.dtype} {own.shape}; there are {len(x)} samples, of 1 to {steps} steps each")
    return own.astype(np.int64)


def _truth(
    labels: Values | None,
    count: int,
    task: Task,
    outputs: int,
    steps: int,
    names: tuple[str, ...],
    own: np.ndarray | None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What is true of samples of some steps, `own` of which are theirs where they differ, and the names of the classes;
    of what stands behind nothing is known.
    """
    unknown, shape = np.nan if task.real else -1, (count, *task.truth_shape(steps, outputs))
    if labels is None:
        return np.full(shape, unknown), names
    if is_ragged(labels):
        labels, of_labels = padded(list(labels), "labels")
        own = of_labels if own is None else own
    behind = None
    if own is not None and task.every_step and np.shape(labels)[:2] == (len(own), steps):
        labels, at = as_array(labels), np.arange(steps)
        behind = at >= own[:, None]  # whatever stands there, as if it were the last label
        labels = labels[np.arange(len(own))[:, None], np.minimum(at, own[:, None] - 1)]
    if task.real:
        found = as_array(labels)
    else:
        found, names = class_numbers(labels, outputs, names, task.every_step)
    if task.real and found.dtype.kind not in "biuf":
        raise SpecError(f"labels hold {found.dtype}; those of a regression are real numbers")
    if task.real and found.ndim + 1 == len(shape) and outputs == 1:
        found = found[..., None]
    if found.shape != shape:
        of = "numbers of a regression" if task.real else "classes (for real numbers pass regression=True)"
        raise SpecError(f"labels of shape {found.shape}; for {count} samples they are {of}, {shape}")
    if behind is not None:
        found = np.where(behind.reshape(behind.shape + (1,) * (found.ndim - 2)), unknown, found)
    return found, names


def _samples(x: Values, model: nn.Module, lengths: Lengths = None) -> tuple[Tensor, np.ndarray | None]:
    """What a module is called with, checked, and the steps of each sample that are its own, if not all are. What lies
    behind these repeats the last of them.
    """
    own: Any = lengths
    if isinstance(x, PackedSequence) or is_ragged(x):
        if lengths is not None:
            raise SpecError("samples that have lengths of their own; leave out lengths")
        x, own = pad_packed_sequence(x, batch_first=True) if isinstance(x, PackedSequence) else padded(list(x), "x")
    tensor = _tensor(x, model)
    if own is not None:
        own = _lengths(own, tensor)
        last = np.minimum(np.arange(tensor.shape[1]), own[:, None] - 1)
        tensor = tensor[torch.arange(len(tensor))[:, None], torch.from_numpy(last)]
    _check_finite(tensor)
    return tensor, own


def _tensor(x: Any, model: nn.Module) -> Tensor:
    """Samples as a module takes them; real numbers in the precision of its parameters, and whole ones too, unless it
    has an embedding for them.
    """
    try:
        if isinstance(x, Tensor) and x.layout is not torch.strided:
            raise SpecError(f"samples in the layout {x.layout}; pass them dense: x.to_dense()")
        if np.ma.is_masked(x):
            raise SpecError("samples with masked values; fill them in (x.filled(0)) or leave such samples out")
        found = x if isinstance(x, Tensor) else as_array(x)
        if isinstance(found, np.ndarray):
            wide = found.dtype.kind == "f" and found.dtype.itemsize > 8
            found = torch.from_numpy(np.array(found, np.float64 if wide else None))  # writable, its values in one piece
        tensor = found.detach()
    except (TypeError, ValueError) as error:
        raise SpecError(f"samples that are no array ({error}); pass one of samples × steps × values") from None
    if tensor.dim() < 2 or tensor.dtype.is_complex:
        raise SpecError(
            f"samples of shape {tuple(tensor.shape)} and {tensor.dtype}; pass an array of real numbers, samples first"
        )
    if len(tensor) < 1:
        raise SpecError("there are no samples; pass one at least, and some tens to calibrate on")
    if isinstance(model, nn.Module):
        embeds = any(isinstance(part, nn.Embedding | nn.EmbeddingBag) for part in model.modules())
        if tensor.is_floating_point() or not embeds:
            tensor = tensor.to(next((p.dtype for p in model.parameters() if p.is_floating_point()), tensor.dtype))
    return tensor


def _check_finite(tensor: Tensor) -> None:
    bad = ~torch.isfinite(tensor).flatten(1).all(1)
    if bad.any():
        raise SpecError(
            f"sample {int(bad.nonzero()[0])} holds infinities or NaN; leave such samples out or fill them in"
        )


def _values(placed: Placed, x: Tensor, lengths: np.ndarray | None = None) -> np.ndarray:
    """What the first layer is given, B × T × N."""
    given = torch.cat([placed.inputs(part) for part in x.split(AT_ONCE)]).float().cpu().numpy()
    if lengths is not None and given.shape[1] != x.shape[1]:
        raise SpecError(
            f"lengths are of the {x.shape[1]} steps of samples of {tuple(x.shape)}, and {placed.layers[0][0]} is given "
            f"{given.shape[1]}; pass samples × steps × values, or leave out lengths"
        )
    return given


def _scaled(x: Tensor, values: np.ndarray, folded: bool) -> np.ndarray:
    """What a scaling takes: the values that the first layer is given, or, if it does what is in front, the module's."""
    return x.double().cpu().numpy().reshape(values.shape) if folded else values


def _parameters(bundle: Bundle) -> dict[str, int]:
    total: dict[str, int] = {}
    for layer in bundle.layers:
        for name, count in layer.parameters.items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if count}


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
