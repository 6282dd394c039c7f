"""`fdht precision`: accuracy against the widths of factors and data words, rounded after training and trained on them.

A preset is trained in floating point. From there it goes on for a quarter of the epochs, at three tenths of the
learning rate: once in floating point, and what comes out is rounded to every pair of widths; and once more for every
pair, on its integers. So both have seen the same number of clips. Accuracies of integers are the golden model's.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdht.console import Output, percent, told
from fdht.drawing import plain, write
from fdht.model.checkpoint import Checkpoint
from fdht.model.data import DataSet
from fdht.model.presets import Preset
from fdht.model.qat import Arithmetic, QuantisedClassifier
from fdht.model.quantise import CALIBRATION_CLIPS, quantise
from fdht.model.train import TrainingInterrupted, TrainingOptions, ensure_trained, outputs_of, predict
from fdht.spec.clips import classes_of
from fdht.spec.container import write_whole
from fdht.spec.errors import FdhtError, SpecError
from fdht.spec.record import read_kept
from fdht.spec.target import Target
from fdht.spec.task import only_classes
from fdht.studies import accuracy
from fdht.studies.accuracy import FLOAT, RESULTS, Row
from fdht.workflow.compilation import arithmetic
from fdht.workflow.datasets import content_of, packaged

STUDY = "precision"

CACHE = Path("build/precision")
"""Where trainings and what was measured are kept, below the current directory, named by all that they depend on but the
code: whoever changes how models are trained removes them.
"""

WIDTHS = (4, 6, 8, 10, 12, 16)
"""Bits of factors, and of data words, that are measured where nothing else is asked for."""

SEEDS = (0, 1, 2)
"""Seeds of the trainings on pairs of `REPEATED` widths; other pairs have the first seed alone."""

REPEATED = (4, 8, 16)

LONGER, SLOWER = 0.25, 0.3
"""Epochs and peak learning rate of what follows the training in floating point, as parts of the preset's."""

FLOATING, ROUNDED, TRAINED = "#999999", "#ee6677", "#4477aa"


class Mismatch(FdhtError):
    """A model trained on integers and the golden model give different numbers."""


def _key(of: object, preset: Preset) -> str:
    """By what a file is named."""
    return hashlib.sha256("".join((repr(of), *content_of(preset.data))).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Training:
    """One training, from random parameters or from another's; in floating point, or on integers.

    Attributes:
        on: the integers; None for floating point.
        start: whose parameters are the first.
    """

    preset: Preset
    seed: int
    on: Arithmetic | None = None
    start: "Training | None" = None

    @property
    def name(self) -> str:
        """For people, and the beginning of the file's."""
        kind = "float" if self.on is None else f"{self.on.factor_width}-{self.on.data_width}"
        return f"{self.preset.name}-seed{self.seed}-{kind}{'-longer' if self.start else ''}"

    @property
    def path(self) -> Path:
        return CACHE / f"{self.name}-{_key(self, self.preset)}.checkpoint"

    @property
    def clips(self) -> int:
        """How many clips it has trained on, those of the training it starts from included."""
        each = min(self.preset.clips_per_epoch, len(packaged(self.preset.data).final))
        return self.preset.epochs * each + (self.start.clips if self.start else 0)

    def run(self, progress: Callable[[int, int, list[dict]], None]) -> Checkpoint:
        """Trains, or goes on where it was, or finds it done."""
        start = None if self.start is None else self.start.path
        options = TrainingOptions(seed=self.seed, arithmetic=self.on, start=start)
        return ensure_trained(self.preset, self.path, options, progress=progress)


@dataclass(frozen=True)
class Point:
    """What becomes a row: a training, and the integers its model is evaluated on; None for floating point."""

    training: Training
    on: Arithmetic | None

    @property
    def path(self) -> Path:
        """What was measured."""
        key = _key(self, self.training.preset)
        return CACHE / f"{self.training.name}-on-{self.bits.replace('/', '-')}-{key}.json"

    @property
    def bits(self) -> str:
        return FLOAT if self.on is None else self.on.bits

    def measured(self, checkpoint: Callable[[], Checkpoint]) -> dict:
        """`correct`, `total` and `hits` on the test split, `seconds` of the training; of a model that was trained on
        integers also how many `logits` were compared with the golden model's, and its `mismatches`.
        """
        if (known := read_kept(self.path, accuracy.Measured)) is not None:
            return dict(known)
        trained = checkpoint()
        data, compared = packaged(self.training.preset.data), {}
        trained.check(data)
        if self.on is None:
            classes = predict(trained.model, data.test.clips, lengths=data.test.lengths)
        else:
            logits = golden_logits(trained, self.on, data)
            classes = classes_of(logits)
            compared = compare(trained, logits, data) if trained.quantisation is not None else {}
        result = accuracy.hits(classes == data.test.labels) | compared | {"seconds": trained.seconds}
        write_whole(self.path, json.dumps(result).encode())
        return result

    def row(self, measured: dict) -> Row:
        preset, qat = self.training.preset, self.training.on is not None
        return Row(
            study=STUDY,
            data=preset.data,
            clips=self.training.clips,
            seed=self.training.seed,
            bits=self.bits,
            qat=qat,
            model="float" if self.on is None else "golden",
            target="" if self.on is None else self.on.target,
            settings=f"the last {preset.epochs} epochs at a learning rate of {preset.learning_rate:g}",
            **accuracy.sizes(preset.spec),
            **{name: measured[name] for name in ("correct", "total", "hits", "seconds")},
        )


def golden_logits(trained: Checkpoint, on: Arithmetic, data: DataSet) -> np.ndarray:
    """What the golden model makes of the test split (clips × classes), in formats of training or chosen after it."""
    bundle, _ = quantise(
        trained.model,
        on.stage_lists,
        data.test.clips,
        data.test.labels,
        calibration=data.final.spread(CALIBRATION_CLIPS),
        factor_width=on.factor_width,
        accumulator_width=on.accumulator_width,
        gate=on.gate,
        formats=None if trained.quantisation is None else trained.quantisation.formats,
        lengths=data.test.lengths,
    )
    return bundle.logits


def compare(trained: Checkpoint, golden: np.ndarray, data: DataSet) -> dict:
    """The logits of the test split of a model as it was trained on integers, held against the golden model's."""
    network = trained.network
    assert isinstance(network, QuantisedClassifier) and network.formats is not None and network.formats.head is not None
    found = outputs_of(network, data.test.clips, lengths=data.test.lengths).astype(float)
    differ = found != network.formats.head.result.dequantise(golden)
    return {"logits": found.size, "mismatches": int(differ.sum())}


def run(
    output: Output,
    preset: Preset,
    target: Target,
    *,
    seeds: Sequence[int] = SEEDS,
    factor_widths: Sequence[int] = WIDTHS,
    data_widths: Sequence[int] = WIDTHS,
    results: Path = RESULTS,
) -> tuple[list[Row], Counter[str]]:
    """Measures what is not measured yet, puts the rows into the file of results one by one, and returns them all.

    Args:
        target: whose stage list the integers have.
        seeds: of pairs of `REPEATED` widths; other pairs have the first alone.

    Returns:
        The rows, and how many `logits` of models trained on integers were held against the golden model's, with how
        many `mismatches`.

    Raises:
        SpecError: another task than classes of clips, no seed, no width, or one that nothing can be trained on.
        KeyboardInterrupt: Ctrl-C; what was measured so far is found again.
    """
    only_classes("fdht precision", preset.name, preset.spec.task)
    if not seeds or not factor_widths or not data_widths:
        raise SpecError("a precision sweep needs a seed and a width of each kind at least")
    every = list(points(preset, target, seeds, factor_widths, data_widths))
    rows, compared = list[Row](), Counter[str]()
    with output.progress(f"{preset.name}: widths of factors and data words", len(every)) as advance:
        for done, point in enumerate(every):
            try:
                measured = point.measured(partial(trained, point.training, partial(told, advance, done)))
            except (KeyboardInterrupt, TrainingInterrupted):
                output.say(f"{done} of {len(every)} points are measured and kept; the same command goes on from there")
                raise KeyboardInterrupt from None
            compared.update({name: measured.get(name, 0) for name in ("logits", "mismatches")})
            rows.append(point.row(measured))
            accuracy.merge(rows[-1:], results)
            advance(done + 1, note=f"{rows[-1].bits}, seed {rows[-1].seed}")
    return rows, compared


def points(
    preset: Preset, target: Target, seeds: Sequence[int], factor_widths: Sequence[int], data_widths: Sequence[int]
) -> Iterator[Point]:
    """What is measured, seed by seed: in floating point, then per pair rounded after training and trained on."""
    further = replace(preset, epochs=max(1, round(LONGER * preset.epochs)), learning_rate=SLOWER * preset.learning_rate)
    widths = [(factor, data) for factor in factor_widths for data in data_widths]
    integers = {pair: arithmetic(preset.spec, target, *pair) for pair in widths}
    for seed in seeds:
        start = Training(preset, seed)
        floating = Training(further, seed, start=start)
        yield Point(floating, None)
        for pair, on in integers.items():
            if seed == seeds[0] or set(pair) <= set(REPEATED):
                yield Point(floating, on)
                yield Point(Training(further, seed, on, start), on)


def trained(training: Training, progress: Callable[[str, int, int, list[dict]], None]) -> Checkpoint:
    """The checkpoint of a training, and before it that of its start.

    Args:
        progress: as for `train`, after the name of the training.
    """
    if training.start is not None:
        trained(training.start, progress)
    return training.run(partial(progress, training.name))


def sweeps(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Rows by data, target and training clips, those in floating point with each target."""
    found = sorted({(row.data, row.target, row.clips) for row in rows if row.target})
    return {
        (data, target, clips): [r for r in rows if (r.data, r.clips) == (data, clips) and r.target in ("", target)]
        for data, target, clips in found
    }


@dataclass(frozen=True)
class Cell:
    """A pair of widths, or floating point: accuracies of all seeds, rounded after training and trained on."""

    rounded: tuple[float, ...]
    trained: tuple[float, ...]


def cells(rows: Sequence[Row]) -> dict[str, Cell]:
    """The cells of a sweep, by bits as rows have them (`8/16`, `float`)."""
    return {
        bits: Cell(*(tuple(r.accuracy for r in rows if r.bits == bits and r.qat == qat) for qat in (False, True)))
        for bits in dict.fromkeys(row.bits for row in rows)
    }


def widths_of(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """The widths of factors and of data words that were measured."""
    pairs = [tuple(map(int, row.bits.split("/"))) for row in rows if row.bits != FLOAT]
    return sorted({factor for factor, _ in pairs}), sorted({data for _, data in pairs})


def figures(rows: Sequence[Row], compared: Mapping[str, int]) -> dict:
    """The figures of a sweep for `--json`."""
    return {
        "data": rows[0].data,
        "total": rows[0].total,
        "logits_compared": compared["logits"],
        "mismatches": compared["mismatches"],
        "accuracy": {
            bits: {"rounded": _figures(cell.rounded), **({"trained": _figures(cell.trained)} if cell.trained else {})}
            for bits, cell in cells(rows).items()
        },
    }


def _figures(accuracies: Sequence[float]) -> dict:
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return {"mean": float(np.mean(accuracies)), "spread": spread, "seeds": len(accuracies)}


def check(figures: dict) -> None:
    """Raises if training and the golden model disagree.

    Raises:
        Mismatch: they do.
    """
    if figures["mismatches"]:
        raise Mismatch(
            f"{figures['mismatches']} of {figures['logits_compared']} logits of models trained on integers are not the "
            "golden model's; look for what fdht.model.qat computes in another way"
        )


def report(output: Output, rows: Sequence[Row], compared: Mapping[str, int]) -> None:
    """A table of the means: factors down, data words across; in each cell rounded after training → trained on."""
    by_bits, (down, across), first = cells(rows), widths_of(rows), rows[0]
    output.table(
        f"{first.data}: accuracy on {first.total} test clips, rounded after training → trained on; "
        f"floating point {percent(float(np.mean(by_bits[FLOAT].rounded)))}",
        ("bits of a factor", *(f"data words of {data}" for data in across)),
        [(factor, *(_cell(by_bits[f"{factor}/{data}"]) for data in across)) for factor in down],
    )
    output.text(
        f"Trained on integers: {compared['logits']:,} logits held against the golden model's, "
        f"{compared['mismatches']:,} mismatches."
    )


def _cell(cell: Cell) -> str:
    seeds = f" ({len(cell.trained)} seeds)" if len(cell.trained) > 1 else ""
    return " → ".join(percent(float(np.mean(each))) for each in (cell.rounded, cell.trained)) + seeds


def picture_of(data: str, target: str) -> str:
    """What the picture of a sweep is called."""
    return f"precision-{Path(data).stem}-{Path(target).stem}.png"


def draw(rows: Sequence[Row], target: str, folder: Path) -> Path:
    """Draws the rows of a sweep into a folder; returns the file."""
    picture = folder / picture_of(rows[0].data, target)
    write(sweep(rows), picture)
    return picture


def sweep(rows: Sequence[Row]) -> Figure:
    """Accuracy against the width of factors, of data words, and of both; bars from the worst seed to the best."""
    by_bits = cells(rows)
    pairs = {tuple(map(int, bits.split("/"))): cell for bits, cell in by_bits.items() if bits != FLOAT}
    widest = max(factor for factor, _ in pairs), max(data for _, data in pairs)
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, title, along in zip(
        panels,
        (
            f"factors; data words of {widest[1]} bits",
            f"data words; factors of {widest[0]} bits",
            "factors and data words",
        ),
        (
            {factor: cell for (factor, data), cell in pairs.items() if data == widest[1]},
            {data: cell for (factor, data), cell in pairs.items() if factor == widest[0]},
            {factor: cell for (factor, data), cell in pairs.items() if factor == data},
        ),
        strict=True,
    ):
        _panel(axes, title, along, by_bits[FLOAT].rounded)
    panels[0].set_ylabel("accuracy, %")
    panels[0].legend(loc="lower right", frameon=False)
    figure.suptitle(f"{rows[0].data}: accuracy on {rows[0].total} test clips against bits")
    return figure


def _panel(axes: Axes, title: str, along: dict[int, Cell], floating: Sequence[float]) -> None:
    axes.axhline(100 * float(np.mean(floating)), color=FLOATING, ls="--", label="floating point")
    widths = sorted(along)
    for colour, label, shift, by_width in (
        (ROUNDED, "rounded after training", -0.1, {width: along[width].rounded for width in widths}),
        (TRAINED, "trained on integers", 0.1, {width: along[width].trained for width in widths}),
    ):
        measured = {width: each for width, each in by_width.items() if each}
        at, mean = np.array(list(measured)) + shift, np.array([np.mean(each) for each in measured.values()])
        reach = np.array([[m - min(each), max(each) - m] for m, each in zip(mean, measured.values(), strict=True)]).T
        axes.errorbar(at, 100 * mean, 100 * reach, color=colour, marker="o", ms=4, capsize=2, label=label)
    axes.set(title=title, xlabel="bits", ylim=(0, 102))
    axes.set_xticks(widths)
    plain(axes)
