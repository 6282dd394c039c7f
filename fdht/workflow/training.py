"""`fdht train`: a preset, with other settings, modes or ranks if wanted, to a checkpoint, its log and its curves."""

import csv
import io
from dataclasses import asdict, replace
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fdht.console import Output, percent
from fdht.drawing import write
from fdht.model.checkpoint import stem
from fdht.model.parallel import leads
from fdht.model.presets import PRESETS, Preset
from fdht.model.qat import Arithmetic
from fdht.model.train import TrainingOptions, TrainingResult, seen, train
from fdht.spec.container import write_whole
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec, lstm_on
from fdht.spec.network import balanced_tree, ht_network, ht_tree, tree_from
from fdht.spec.target import Target
from fdht.spec.task import Task
from fdht.workflow import datasets
from fdht.workflow.compilation import arithmetic
from fdht.workflow.golden_vectors import figure_of

TRAINING, VALIDATION, RATE = "#4477aa", "#ee6677", "#999999"


def reshaped(spec: LSTMSpec, inputs: str | None, outputs: str | None, rank: int | None) -> LSTMSpec:
    """The FDHT-LSTM with other input modes, output modes (`"61,10,4,8"`) or rank.

    Its tree is kept if it has as many modes, the places of x and h if the input modes stay; otherwise the tree is
    balanced, and x fills the new modes in C order.

    Raises:
        SpecError: modes that are no numbers, do not hold the model, or a rank below 1.
    """
    if inputs is None and outputs is None and rank is None:
        return spec
    network = spec.network
    n = network.input_shape if inputs is None else whole_numbers(inputs)
    m = network.output_shape if outputs is None else whole_numbers(outputs)
    if len(n) == len(network.inputs):
        own = ht_tree(network)
        tree = own if rank is None else tree_from(own.split, rank)
    elif rank is None:
        raise SpecError(f"{len(n)} modes instead of {len(network.inputs)} need a rank; add --rank")
    else:
        tree = balanced_tree(len(n), rank)
    changed = lstm_on(ht_network(n, m, tree), spec.inputs, spec.hidden, spec.classes)
    changed = replace(changed, task=spec.task)
    return changed if n != network.input_shape else replace(changed, x=spec.x, h=spec.h)


def whole_numbers(text: str, what: str = "modes") -> tuple[int, ...]:
    """Numbers as options give them, `61,10,4,8`; `what` is their name in errors.

    Raises:
        SpecError: something else.
    """
    try:
        return tuple(int(mode) for mode in text.split(","))
    except ValueError:
        raise SpecError(f"{what} {text!r} are not whole numbers with commas between, like 61,10,4,8") from None


def changed(preset: Preset, augment: bool, settings: dict[str, object]) -> Preset:
    """The preset with other settings, those that are not None, and without augmentation if that is not wanted.

    Raises:
        SpecError: a setting that cannot be trained with.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    return replace(preset, augmentation=preset.augmentation if augment else None, **given)


def described(preset: Preset) -> str:
    """The size of a model, in a line."""
    spec = preset.spec
    shapes = [" × ".join(map(str, shape)) for shape in (spec.network.input_shape, spec.network.output_shape)]
    return (
        f"{preset.name}: {spec.inputs:,} values a step, {spec.hidden} hidden units, modes {shapes[0]} and {shapes[1]}, "
        f"{spec.parameters['factors']:,} factors; {preset.epochs} epochs of {preset.batch} clips per optimiser step"
    )


def catalogue(output: Output) -> list[dict]:
    """Lists all presets; returns name, data, sizes and training clips of each."""
    rows = [
        {
            "name": preset.name,
            "data": preset.data,
            "inputs": preset.spec.inputs,
            "hidden": preset.spec.hidden,
            "classes": preset.spec.classes,
            "factors": preset.spec.parameters["factors"],
            "epochs": preset.epochs,
            "clips": preset.epochs * preset.clips_per_epoch,
        }
        for preset in PRESETS.values()
    ]
    columns = ("preset", "data", "inputs", "hidden units", "classes", "factors", "epochs", "training clips")
    output.table("Presets", columns, [tuple(row.values()) for row in rows])
    return rows


def integers(
    output: Output, preset: Preset, target: Target, factor_width: int | None, data_width: int | None
) -> Arithmetic:
    """What a preset is trained on for a target; says so if no engine of the target computes it."""
    chosen = arithmetic(preset.spec, target, factor_width, data_width)
    if chosen.factor_width > target.factor_width or chosen.data_width != target.data_width:
        output.say(
            f"{target.name} has factors of up to {target.factor_width} bits and data words of {target.data_width}: a "
            f"model of {chosen.bits} bits can be evaluated, but not compiled for it"
        )
    return chosen


def run(output: Output, preset: Preset, path: Path, options: TrainingOptions) -> dict:
    """Trains with a progress bar and returns the figures for `--json`; leaves the log and the curves beside `path`.

    Of the processes that torchrun has started, all train and the first one shows and writes.

    Raises:
        SpecError: a path that is a folder.
    """
    if path.is_dir():
        raise SpecError(f"{path} is a folder; name the file for the checkpoint: {path / preset.name}.checkpoint")
    log, drawn = path.with_name(f"{stem(path)}.csv"), path.with_name(f"{stem(path)}.curves.png")
    preset = preset if options.epochs is None else replace(preset, epochs=options.epochs)
    said = set[str]()
    with output.progress(f"training {preset.name}", preset.epochs) as advance:

        def progress(done: int, total: int, history: list[dict]) -> None:
            if not leads():
                return
            record = history[-1]
            write_whole(log, table(history).encode())
            trained = "" if record["accuracy"] is None else f", accuracy {percent(record['accuracy'])}"
            validation = "" if record["validation"] is None else f", validation {percent(record['validation'])}"
            advance(done, total, f"loss {record['loss']:.3f}{trained}{validation}")
            for trouble in seen(history, preset):
                if (kind := trouble.partition(":")[0]) not in said and done < total:
                    said.add(kind)
                    output.say(f"epoch {done}: {trouble}")

        def reading(done: int, total: int) -> None:
            advance(note=f"reading clips, {done:,} of {total:,}")

        result = train(preset, path, options, progress=progress, reading=reading)
    if leads():
        write_whole(log, table(result.history).encode())
        write(curves(preset.name, result), drawn)
        output.drew(drawn)
    return {
        "preset": preset.name,
        **asdict(result),
        "path": str(result.path),
        "seconds": result.seconds,
        "trained_on": None if options.arithmetic is None else str(options.arithmetic),
        "log": str(log),
        "curves": str(drawn),
    }


def table(history: list[dict]) -> str:
    """The records of all epochs as CSV, one line each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *history[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"epoch": number, **record} for number, record in enumerate(history, 1))
    return text.getvalue()


def curves(name: str, result: TrainingResult) -> Figure:
    """Loss and accuracies (of a regression r2) over the epochs, and the learning rate behind the loss."""
    history, real = result.history, result.r2 is not None
    figure_of_kept = result.r2 if real else result.accuracy
    assert figure_of_kept is not None
    epochs = range(1, 1 + len(history))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    rates = losses.twinx()
    rates.plot(epochs, [record["learning_rate"] for record in history], color=RATE, linestyle=":")
    rates.set_ylabel("learning rate (dotted)")
    losses.plot(epochs, [record["loss"] for record in history], color=TRAINING)
    losses.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    if not real:
        accuracies.plot(epochs, [100 * record["accuracy"] for record in history], color=TRAINING, label="training")
    if result.best_epoch is not None:
        validation = [100 * record["validation"] for record in history]
        accuracies.plot(epochs, validation, color=VALIDATION, label="validation")
        accuracies.axvline(result.best_epoch, color=RATE, linestyle=":", label="kept")
    measured = 100 * figure_of_kept
    accuracies.plot(len(history), measured, "k.", label=f"{result.split}: {measured:.1f} %")
    accuracies.set(xlabel="epoch", ylabel="R², %" if real else "accuracy, %", ylim=(None if real else 0, 102))
    accuracies.legend(loc="lower right")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{name} on {result.data}, seed {result.seed}")
    return figure


def report(output: Output, figures: dict) -> None:
    """The table of a finished training."""
    output.facts(
        f"{figures['preset']}: trained",
        {
            "checkpoint": figures["path"],
            "log, curves": f"{figures['log']}, {figures['curves']}",
            "data": figures["data"],
            **({"clips skipped": datasets.skipped(figures["skipped"])} if figures["skipped"] else {}),
            **({"trained on": figures["trained_on"]} if figures["trained_on"] else {}),
            "epochs": len(figures["history"]),
            **({"epoch kept": figures["best_epoch"]} if figures["best_epoch"] else {}),
            "seconds": round(figures["seconds"], 1),
            "parameters": ", ".join(f"{name} {count:,}" for name, count in figures["parameters"].items()),
            **figure_of(Task.CLASSIFY if figures["r2"] is None else Task.REGRESS, figures["split"], figures),
            **({"take care": "; ".join(figures["troubles"])} if figures["troubles"] else {}),
        },
    )
