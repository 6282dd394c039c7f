"""`fdht compress`: a trained torch.nn.LSTM becomes an FDHT-LSTM, at several ranks, with what each loses and regains.

A trained matrix seldom has a low rank: what truncation leaves is then no better than random factors. So the factors are
trained on what the dense model says, from the truncated ones where those are near, else from random ones.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fdht.console import Advance, Output, percent
from fdht.drawing import plain, write
from fdht.model.checkpoint import Checkpoint, digest, load_checkpoint, write_checkpoint
from fdht.model.data import DataSet, Source, load
from fdht.model.dense import DenseModel, read_dense
from fdht.model.layers import Classifier
from fdht.model.presets import PRESETS, Preset, find_preset
from fdht.model.train import TrainingOptions, predict, train
from fdht.spec.choose import chosen_lstm
from fdht.spec.clips import spread_over
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec, fdht_lstm
from fdht.spec.scaling import TAKEN
from fdht.spec.task import only_classes
from fdht.studies import accuracy
from fdht.studies.accuracy import Row, hits, sizes
from fdht.workflow import proposal, proposing, training

STUDY = "compression"
RECIPES = ("dense", "truncated", "fine-tuned", "distilled", "from scratch")
"""Recipes of rows of results: the model that was read, its decomposition, that after training on the labels or on what
the dense model says, and random factors trained on the labels.
"""

NEAR = 0.5
"""A truncation with a smaller relative error is what training starts from. From one that keeps less of the matrix it
ends lower than from random factors (docs/decisions/model.md).
"""

RATE = 0.003
"""Peak of the learning rate in fine-tuning, where nothing else is asked for."""

LOOKED_AT, FAR_BETTER = 200, 0.1
"""Training clips on which these are compared, and how much more must be right for it to be said."""

TRUNCATED, TUNED, SCRATCH, ERROR, DENSE = "#ee6677", "#4477aa", "#228833", "#ccbb44", "#999999"


def run(
    output: Output,
    path: Path,
    *,
    source: Source,
    preset: str | None,
    inputs: str | None,
    outputs: str | None,
    ranks: str,
    epochs: int | None,
    rate: float | None,
    seed: int,
    head: str | None,
    values: str | None,
    taken: str | None,
    labels: bool,
    scratch: bool,
    resume: bool,
    folder: Path,
    results: Path | None,
) -> dict:
    """Decomposes, measures, trains and measures again, rank by rank; returns the figures.

    The factors learn what the dense model says (see fdht.model.objective.distilled).
    Leaves a checkpoint per rank and a picture in the folder. A training that is done is not repeated with `resume`, and
    an interrupted one goes on.

    Args:
        path: the state dict, see `read_dense`.
        preset: whose modes, places and training are taken; the data set's, or one of the same size, when left out;
            else modes are chosen, and the training is what `fdht train --data` proposes.
        inputs, outputs: other modes, `61,10,4,8`.
        ranks: of all nodes of the tree, `4,8,12`; what the tensor has less of stays lower.
        epochs: of fine-tuning; a third of the preset's when left out, 0 for none.
        rate: peak of its learning rate.
        head: prefix of the head's parameters, where there are several matrices.
        values: what it takes for the smallest and the largest raw word, `0,1`.
        taken: what it takes otherwise, one of `TAKEN`: `values` when left out where the data are real values, else
            `words`.
        labels: fine-tune on the labels instead; always so where the model has no head.
        scratch: train random factors of each rank on the labels, too, for as many epochs, to compare with.
        results: a file to put rows into.

    Raises:
        SpecError, FileError: what cannot be read, or does not fit the data or the modes.
        TrainingInterrupted: Ctrl-C; what is done is kept.
    """
    wanted = _ranks(ranks)
    dense = read_dense(path, head)
    with output.progress(f"reading {source.name}"):
        data = load(source)
    _check_size(dense, data)
    given, (dense, said) = dense, _for_inputs(dense, data, values, taken)
    output.say(said)
    base = _base(preset, source, dense, data)
    epochs = max(1, base.epochs // 3) if epochs is None else epochs
    if epochs < 0:
        raise SpecError(f"{epochs} epochs of fine-tuning; there are 0 and more")
    if dense.head is None and epochs == 0:
        raise SpecError(f"{path} has no head, and without fine-tuning none is trained; add --epochs")
    spec = _spec(base, dense, data, inputs, outputs)
    origin = digest(dense.lstm, *([] if dense.head is None else [dense.head]))
    base = replace(base, spec=spec, learning_rate=RATE if rate is None else rate)
    figures = {"file": str(path), "data": data.name, "preset": base.name, "inputs": said, "epochs": epochs}
    figures["points"] = []
    rows = []
    teacher = None
    if dense.head is not None:
        model = dense.classifier(data.input_format)
        rows.append(_row(model, model.layers[0], data, source, "dense", seed))
        figures["accuracy"] = rows[0].accuracy
        if data.scaling is not None and (better := _better(given, dense, data)):
            output.say(better)
        teacher = None if labels else model
    figures["learnt"] = recipe = "fine-tuned" if teacher is None else "distilled"
    figures["parameters"] = 4 * spec.hidden * (spec.inputs + spec.hidden + 1) + spec.classes * (spec.hidden + 1)
    for rank in wanted:
        checkpoint = folder / f"{path.stem}-rank{rank}.checkpoint"
        with output.progress(f"rank {rank}: hierarchical SVD"):
            model, decomposition = dense.compressed(spec, data.input_format, rank)
        kept = model.layers[0]
        point = {"rank": rank, "error": decomposition.error, "ranks": kept.network.ranks, **sizes(kept)}
        before = _row(model, kept, data, source, "truncated", seed, error=decomposition.error)
        if dense.head is not None:
            rows.append(before)
            point["truncated"] = before.accuracy
        begun = resume and checkpoint.exists() and load_checkpoint(checkpoint).epoch > 0
        if not begun:
            _store(checkpoint, model, replace(base, spec=kept), source, data, seed, before.accuracy)
        if epochs:
            tuned = replace(base, spec=kept, epochs=epochs)
            clips = epochs * min(tuned.clips_per_epoch, len(data.final))
            near = decomposition.error < NEAR
            start = checkpoint if near and not begun else None
            options = TrainingOptions(source, seed, resume=begun, start=start, origin=origin, teacher=teacher)
            point["start"] = "truncated" if near else "random"
            trainings = [("tuned", recipe, checkpoint, options, decomposition.error if near else 0.0)]
            same = teacher is None and not near  # random factors that learn the labels are what it compares with
            if scratch and not same:
                other = checkpoint.with_suffix(f".scratch{checkpoint.suffix}")
                options = TrainingOptions(source, seed, resume=resume and other.exists())
                trainings.append(("scratch", "from scratch", other, options, 0.0))
            for name, what, place, options, error in trainings:
                with output.progress(f"rank {rank}: {what}", epochs) as advance:
                    train(tuned, place, options, progress=partial(_told, advance))
                trained = load_checkpoint(place)
                of = {"error": error, "clips": clips, "seconds": trained.seconds}
                rows.append(_row(trained.model, kept, data, source, what, seed, **of))
                point[name] = rows[-1].accuracy
            if scratch and same:
                rows.append(replace(rows[-1], recipe="from scratch"))
                point["scratch"] = rows[-1].accuracy
        figures["points"].append(point | {"checkpoint": str(checkpoint)})
    picture = folder / f"{path.stem}.compression.png"
    write(draw(figures), picture)
    output.drew(picture)
    if results is not None:
        accuracy.merge(rows, results)
    return figures | {"picture": str(picture)}


def _ranks(text: str) -> list[int]:
    ranks = training.whole_numbers(text, "ranks")
    if min(ranks) < 1:
        raise SpecError(f"rank {min(ranks)} is below 1")
    return list(ranks)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in text.split(","))
    except ValueError:
        raise SpecError(f"{text!r} is no range of two numbers with a comma between, like 0,1") from None
    return low, high


def _for_inputs(dense: DenseModel, data: DataSet, values: str | None, taken: str | None) -> tuple[DenseModel, str]:
    """The model for the numbers that fdht makes of raw words, and a sentence on what it is taken to take itself.

    Raises:
        SpecError: no such inputs, or none of data that are no real values; a range beside them.
    """
    if taken is not None and taken not in TAKEN:
        raise SpecError(f"there are no inputs {taken!r}; they are {', '.join(TAKEN)}")
    if values is not None and taken is not None:
        raise SpecError(f"--inputs {taken} and --input-range say the same in two ways; leave one out")
    raw, scaling = data.input_format.raw, data.scaling
    if values is not None:
        low, high = _range(values)
        said = f"inputs taken as {low:g} to {high:g} for words from {raw.min} to {raw.max}"
        return dense.rescaled(data.input_format, low, high), said
    if scaling is None and taken in ("values", "standardised"):
        raise SpecError(f"{data.name} has raw words and no real values; leave --inputs out, or pass --input-range")
    taken = taken or ("words" if scaling is None else "values")
    said = {
        "words": f"inputs taken as (word - {data.input_format.offset}) / {2**raw.frac}, as fdht trains",
        "values": "inputs taken as the values in the file, as they are",
        "standardised": "inputs taken as (value - mean) / deviation, of each value of a step over what trains",
    }
    if scaling is None or taken == "words":
        return dense, said[taken]
    if taken == "values":
        return dense.for_values(scaling), said[taken]
    return dense.for_standardised(scaling, data.final.frames[np.unique(data.final.order)]), said[taken]


def _better(given: DenseModel, dense: DenseModel, data: DataSet) -> str:
    """A sentence where the model is right far more often on clips that train, if its inputs are taken otherwise."""
    clips = spread_over(len(data.final), min(LOOKED_AT, len(data.final)))
    words, labels = data.final.spread(len(clips)), data.final.labels[clips]
    lengths = None if data.final.lengths is None else data.final.lengths[clips]

    def right(model: DenseModel) -> float:
        return float((predict(model.classifier(data.input_format), words, lengths=lengths) == labels).mean())

    here = right(dense)
    best, way = max((right(_for_inputs(given, data, None, way)[0]), way) for way in TAKEN)
    if best < here + FAR_BETTER:
        return ""
    return (
        f"of {len(clips)} training clips the model gets {percent(here)} right; with --inputs {way} it would be "
        f"{percent(best)}: that may be what it was trained on"
    )


def _check_size(dense: DenseModel, data: DataSet) -> None:
    """Whether a model is one for the data.

    Raises:
        SpecError: other inputs, other classes, or another task.
    """
    only_classes("fdht compress", data.name, data.task)
    size = dense.lstm.input_size, dense.lstm.hidden_size
    if data.inputs != size[0]:
        raise SpecError(
            f"a step of {data.name} has {data.inputs:,} values, the LSTM takes {size[0]:,}; pass its own data"
        )
    if dense.head is not None and dense.head.out_features != data.classes:
        raise SpecError(f"{data.name} has {data.classes} classes, the head has {dense.head.out_features} outputs")


def _base(name: str | None, source: Source, dense: DenseModel, data: DataSet) -> Preset:
    """The preset whose model and training are taken, or one that is made for the data."""
    size = dense.lstm.input_size, dense.lstm.hidden_size
    if name is not None:
        return find_preset(name)
    fitting = [each for each in PRESETS.values() if (each.spec.inputs, each.spec.hidden) == size]
    fitting.sort(key=lambda each: each.data != source.name)
    if fitting:
        return fitting[0]
    where = source.name if source.file is None else str(source.file)
    return proposal.trained(data, chosen_lstm(*size, data.classes, rank=1), proposing.named(source), where)


def _spec(base: Preset, dense: DenseModel, data: DataSet, inputs: str | None, outputs: str | None) -> LSTMSpec:
    """The model to make: modes and places of the preset, or others."""
    spec, size = base.spec, (dense.lstm.input_size, dense.lstm.hidden_size)
    if (spec.inputs, spec.hidden) == size:
        return training.reshaped(replace(spec, classes=data.classes), inputs, outputs, 1)
    if inputs is None and outputs is None:
        raise SpecError(
            f"preset {base.name} has {spec.inputs:,} inputs and {spec.hidden} hidden units, the LSTM {size[0]:,} "
            f"and {size[1]}; leave --preset out, or say modes with --input-modes and --output-modes"
        )
    n = spec.network.input_shape if inputs is None else training.whole_numbers(inputs)
    m = spec.network.output_shape if outputs is None else training.whole_numbers(outputs)
    return fdht_lstm(*size, data.classes, n, m, 1)


def _store(
    path: Path, model: Classifier, preset: Preset, source: Source, data: DataSet, seed: int, measured: float
) -> None:
    """The truncated model as a checkpoint of no epochs."""
    checkpoint = Checkpoint(
        preset=preset.name,
        data=source,
        fingerprint=data.fingerprint,
        scaling=data.scaling,
        spec=preset.spec,
        model=model,
        seed=seed,
        epoch=0,
        epochs=0,
        choose=False,
        recipe=preset.recipe,
        accuracy=measured,
    )
    write_checkpoint(path, checkpoint, {})


def _told(advance: Advance, epoch: int, epochs: int, records: list[dict]) -> None:
    advance(epoch, epochs, f"loss {records[-1]['loss']:.3f}")


def _row(
    model: Classifier,
    spec: LSTMSpec,
    data: DataSet,
    source: Source,
    recipe: str,
    seed: int,
    *,
    error: float = 0.0,
    clips: int = 0,
    seconds: float = 0.0,
) -> Row:
    """What a model does on the test clips."""
    return Row(
        study=STUDY,
        data=source.name,
        seed=seed,
        recipe=recipe,
        error=round(error, 6),
        clips=clips,
        seconds=seconds,
        **sizes(spec),
        **hits(predict(model, data.test.clips, lengths=data.test.lengths) == data.test.labels),
    )


def report(output: Output, figures: dict) -> None:
    """The table of ranks."""
    after = figures["learnt"]
    scratch = any("scratch" in point for point in figures["points"])
    whole = f", accuracy {percent(figures['accuracy'])}" if "accuracy" in figures else ""
    output.table(
        f"{figures['file']}: {figures['parameters']:,} parameters{whole} on the test clips of {figures['data']}; "
        f"training: {figures['epochs']} epochs",
        (
            *("rank", "factors", "smaller by", "error", "truncated", "start", after),
            *["from scratch"] * scratch,
            "checkpoint",
        ),
        [
            (
                point["rank"],
                point["factors"],
                f"{figures['parameters'] / point['parameters']:,.0f} times",
                f"{point['error']:.3f}",
                percent(point.get("truncated")),
                point.get("start"),
                percent(point.get("tuned")),
                *[percent(point.get("scratch"))] * scratch,
                point["checkpoint"],
            )
            for point in figures["points"]
        ],
    )
    output.say(f"drew {figures['picture']}")


def draw(figures: dict) -> Figure:
    """Accuracy before and after fine-tuning, and the error of the matrix, against the number of factors."""
    points = sorted(figures["points"], key=lambda point: point["factors"])
    factors = [point["factors"] for point in points]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, colour, label in (
        ("tuned", TUNED, figures["learnt"]),
        ("scratch", SCRATCH, "from scratch"),
        ("truncated", TRUNCATED, "truncated"),
    ):
        if all(name in point for point in points):
            axes.plot(factors, [100 * point[name] for point in points], marker="o", color=colour, label=label)
    if "accuracy" in figures:
        axes.axhline(
            100 * figures["accuracy"], color=DENSE, ls="--", label=f"dense, {figures['parameters']:,} parameters"
        )
    axes.plot(factors, [100 * point["error"] for point in points], marker="s", color=ERROR, ls=":", label="error of W")
    axes.set_xscale("log")
    axes.set_xticks(factors, [f"{n:,}" for n in factors])
    axes.minorticks_off()
    axes.set_ylim(-2, 102)
    axes.set_xlabel("factors")
    axes.set_ylabel("accuracy on the test clips, relative error (%)")
    plain(axes)
    axes.set_title(f"{Path(figures['file']).name} on {figures['data']}, rank by rank", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure
