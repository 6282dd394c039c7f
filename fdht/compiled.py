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

from fdht.compiler.clipping import with_clipping
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.model.converted import converted
from fdht.model.data.arrays import as_array, class_numbers
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

Values = np.ndarray | Tensor | Sequence
"""What a module is called with: samples × what it takes."""

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
    """

    bundle: Bundle
    image: Image
    placed: Placed
    saturation: SaturationReport
    agreement: dict[str, float]
    given: int
    class_names: tuple[str, ...] = ()
    name: str = field(default="model")

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

    def words(self, x: Values) -> np.ndarray:
        """The engine's raw words (B × T × N) for what the module is called with. Parts on the host are run here."""
        values = _values(self.placed, _tensor(x, self.placed.module))
        return self.scaling.to_words(values)

    def predict(self, x: Values) -> np.ndarray:
        """What the engine's integers give, as the real numbers that they stand for: the outputs of the head, B × K, or
        B × T × K of a head after every step, before a softmax. The golden model computes them, which the gateware
        equals in every bit.

        Args:
            x: what the module is called with, any number of samples.
        """
        return _real(self.bundle, self._integers(self.words(x)))

    def classify(self, x: Values) -> np.ndarray:
        """The class of each sample, or of each step of each; the first of equal ones.

        Raises:
            SpecError: the model is a regression.
        """
        if self.bundle.spec.task.real:
            raise SpecError("the model's outputs are real numbers; call predict")
        return self.bundle.spec.task.classes_of(self._integers(self.words(x)))

    def simulate(self, x: Values, *, simulator: str = "verilator", waves: Path | str | None = None) -> "Simulation":
        """Runs samples on the gateware in simulation, and compares every word and every cycle with the prediction.

        Args:
            x: what the module is called with; a few samples, as each takes seconds.
            simulator: `verilator` or `icarus`. waves: where to leave a VCD trace.

        Raises:
            MismatchError: a word or a cycle differs.
            ToolError: the simulator is missing.
        """
        from fdht.sim.simulate import simulate

        words = self.words(x)
        result = simulate(self.image, words, simulator=simulator, waves=None if waves is None else Path(waves))
        differing = list(result.mismatches)
        if not np.array_equal(result.logits, self._integers(words)):
            differing.append("the outputs are not the golden model's")
        if differing:
            raise MismatchError(f"{len(differing)} differences between gateware and prediction; first: {differing[0]}")
        return result

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

    def _integers(self, words: np.ndarray) -> np.ndarray:
        golden = GoldenLSTM(self.bundle)
        parts = [golden.run(words[at : at + AT_ONCE]).logits.numpy() for at in range(0, len(words), AT_ONCE)]
        return np.concatenate(parts)


def compile(
    model: nn.Module,
    calibration: Values,
    target: Target | str = "icebreaker",
    *,
    vectors: Values | None = None,
    labels: Values | None = None,
    lengths: Values | None = None,
    class_names: Sequence[str] = (),
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
        lengths: steps of each of these that are its own, where x is padded behind them.
        class_names: of the classes, in their order; the labels themselves, if they are words, when left out.
        regression: the outputs are real numbers, not logits.
        host: names of submodules in front of the first LSTM that stay on the host, or the name of one.
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
    x, class_names = _tensor(calibration, model), tuple(map(str, class_names))
    placed = _placed(model, x, host)
    _check_outputs(placed, regression)
    values = _values(placed, x)
    scaling = Scaling.fit(values.reshape(-1, values.shape[-1]), bits, alike=True)
    network = converted(placed, scaling, regression, ranks)
    words = scaling.to_words(values)
    samples = x if vectors is None else _tensor(vectors, model)
    tested = words if vectors is None else scaling.to_words(_values(placed, samples))
    kept = spread_over(len(tested), min(VECTORS, len(tested)))
    task, outputs = network.task, network.layers[-1].classes
    if class_names and len(class_names) != outputs:
        raise SpecError(f"{len(class_names)} names for {outputs} classes; give one each")
    own = None if lengths is None else _lengths(lengths, tested)
    truth, class_names = _truth(labels, len(tested), task, outputs, tested.shape[1], class_names)
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
        about={"model": name or type(model).__name__, "classes": list(class_names)}
        | ({"host": list(placed.host)} if placed.host else {}),
        lengths=None if own is None else own[kept],
    )
    floats = _floats(placed, samples[torch.from_numpy(kept)], task, bundle.lengths)
    bundle = replace(bundle, about={**bundle.about, **_judged(bundle, floats)})
    image = with_clipping(compile_bundle(bundle, target), bundle)
    if saturation.trouble:
        warnings.warn(saturation.trouble, ClippingWarning, stacklevel=2)
    agreement, name = _agreement(bundle, floats), bundle.about["model"]
    return Accelerator(bundle, image, placed, saturation, agreement, len(tested), class_names, name)


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


def _lengths(lengths: Values, words: np.ndarray) -> np.ndarray:
    own = as_array(lengths)
    if own.shape != (len(words),) or own.dtype.kind not in "iu" or own.min() < 1 or own.max() > words.shape[1]:
        raise SpecError(
            f"lengths are {own.dtype} {own.shape}; there are {len(words)} samples, of 1 to {words.shape[1]} steps each"
        )
    return own.astype(np.int64)


def _truth(
    labels: Values | None, count: int, task: Task, outputs: int, steps: int, names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    shape = (count, *task.truth_shape(steps, outputs))
    if labels is None:
        return np.full(shape, np.nan if task.real else -1), names
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
    return found, names


def _tensor(x: Values, model: nn.Module) -> Tensor:
    """What a module is called with, checked; real numbers in the precision of its parameters, and whole ones too,
    unless it has an embedding for them.
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
    bad = ~torch.isfinite(tensor).flatten(1).all(1)
    if bad.any():
        raise SpecError(
            f"sample {int(bad.nonzero()[0])} holds infinities or NaN; leave such samples out or fill them in"
        )
    return tensor


def _values(placed: Placed, x: Tensor) -> np.ndarray:
    """What the first layer is given, B × T × N."""
    return torch.cat([placed.inputs(part) for part in x.split(AT_ONCE)]).float().cpu().numpy()


def _parameters(bundle: Bundle) -> dict[str, int]:
    total: dict[str, int] = {}
    for layer in bundle.layers:
        for name, count in layer.parameters.items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if count}


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
