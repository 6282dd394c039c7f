"""`fdht compile`: a checkpoint to a bundle, and to an image of one target."""

import glob
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fdht.compiler.clipping import with_clipping
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.console import Output, percent
from fdht.model import data
from fdht.model.checkpoint import load_checkpoint, stem
from fdht.model.layers import Classifier
from fdht.model.qat import Arithmetic, Quantisation
from fdht.model.quantise import CALIBRATION_CLIPS, SaturationReport, quantise
from fdht.model.train import outputs_of
from fdht.spec.bundle import Bundle
from fdht.spec.container import LARGEST
from fdht.spec.errors import FdhtError, FileError, SpecError, escaped
from fdht.spec.formats import Formats, GateFormats
from fdht.spec.lstm import LSTMSpec
from fdht.spec.record import LONGEST_TEXT
from fdht.spec.score import known, score
from fdht.spec.stages import StageLists
from fdht.spec.target import Target
from fdht.spec.task import Task
from fdht.workflow import datasets
from fdht.workflow.explanation import stage_rows, stage_table
from fdht.workflow.golden_vectors import golden_score, score_facts

SATURATED = "input values of validation saturated"
"""What a table calls the share of real values that their scaling saturates."""

WIDTHS = (4, 18)
"""Fewest and most bits of a factor or a data word that a model can be trained on."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """What compiling gives: the files, and what they hold.

    Attributes:
        orphans: images beside the bundle that were made from another one, whose place it has taken.
    """

    bundle: Bundle
    bundle_path: Path
    image: Image
    image_path: Path
    saturation: SaturationReport
    orphans: tuple[Path, ...] = ()


def paths(checkpoint: Path, target: Target, folder: Path | None) -> tuple[Path, Path]:
    """Where bundle and image of a checkpoint go: beside it, into a folder, or the bundle to `NAME.bundle` and the image
    beside that.
    """
    folder = checkpoint.parent if folder is None else folder
    folder, name = place_of(folder, stem(checkpoint))
    return folder / f"{name}.bundle", folder / f"{name}.{target.name}.image"


def place_of(out: Path, name: str) -> tuple[Path, str]:
    """Folder and name of a bundle, of what a user has given for it: a folder, or the file's own name, `NAME.bundle`.

    Raises:
        SpecError: the name of another file of fdht's.
    """
    if out.is_dir() or out.suffix not in {f".{kind}" for kind in LARGEST}:
        return out, name
    if out.suffix != ".bundle":
        raise SpecError(f"{out} is no place for a bundle; name a folder, or the file: {out.with_suffix('.bundle')}")
    return out.parent, out.stem


def arithmetic(
    layers: LSTMSpec, target: Target, factor_width: int | None = None, data_width: int | None = None
) -> Arithmetic:
    """What a model is trained on for a target: its stage list, its widths unless others are given, its gate formats.

    Raises:
        SpecError: a width outside `WIDTHS`.
        CapacityError: no stage list fits the target.
    """
    factor_width = target.factor_width if factor_width is None else factor_width
    data_width = target.data_width if data_width is None else data_width
    for name, width in (("factor", factor_width), ("data", data_width)):
        if not WIDTHS[0] <= width <= WIDTHS[1]:
            raise SpecError(f"a {name} width of {width} is outside {WIDTHS[0]}..{WIDTHS[1]} bits")
    gate = GateFormats.of_width(data_width)
    return Arithmetic(target.name, plan(layers, target), factor_width, target.accumulator_width, gate)


def compile_checkpoint(
    checkpoint: Path,
    target: Target,
    *,
    folder: Path | None = None,
    factor_width: int | None = None,
    vectors: int | None = None,
    clips: Mapping[str, str] | None = None,
    streams: int = 0,
) -> Compiled:
    """Plans, quantises, measures and compiles, and then writes bundle and image.

    Args:
        factor_width: bits of a factor; the target's when left out, or those the model was trained on. Such a model
            keeps its stage list and its formats.
        vectors: how many of the test split's clips become golden vectors; all when left out.
        streams: sequences that the image serves at the same time; 0 for one alone.
        clips: where they are now, as fields of `Source`, in place of what the checkpoint says.

    Raises:
        FileError: no readable checkpoint, one of a training on integers that has not come to them, or clips that came,
            went or changed sides since.
        SpecError: data of one's own that the user has not named, see `fdht.model.data.own`; another factor width than
            the model was trained on, or formats that the target does not have.
        CapacityError: the model does not fit the target.
    """
    trained = load_checkpoint(checkpoint)
    source = data.load(replace(trained.data, **(clips or {})))
    trained.check(source)
    test = source.test
    tested, labels = test.clips[:vectors], test.labels[:vectors]
    lengths = None if test.lengths is None else test.lengths[:vectors]
    stage_lists, formats = _trained_on(checkpoint, trained.quantisation, factor_width)
    bundle, saturation = quantise(
        trained.model,
        plan(trained.spec, target) if stage_lists is None else stage_lists,
        tested,
        labels,
        calibration=source.final.spread(CALIBRATION_CLIPS),
        factor_width=target.factor_width if factor_width is None else factor_width,
        accumulator_width=target.accumulator_width,
        gate=target.gate_formats,
        formats=formats,
        lengths=lengths,
        scaling=source.scaling,
    )
    about = {
        "preset": trained.preset,
        "data": Path(trained.data.name).name,
        "seed": trained.seed,
        "epochs": trained.epoch,
    }
    learnt = source.final if trained.saw_validation else source.train
    about["clips"] = trained.epoch * min(trained.recipe["clips_per_epoch"], len(learnt))
    about |= {
        "splits": {name: len(getattr(source, name)) for name in datasets.PARTS},
        "recipe": trained.recipe,
        "picture": list(source.image_shape),
        "classes": [escaped(name)[:LONGEST_TEXT] for name in source.class_names],
        "values": [escaped(name)[:LONGEST_TEXT] for name in source.value_names],
    }
    if source.saturated is not None:
        about["saturated"] = source.saturated
    if trained.quantisation is not None:
        about["trained_on"] = str(trained.quantisation.arithmetic)
    bundle = replace(bundle, about={**about, **measure(trained.model, tested, bundle)})
    image = with_clipping(compile_bundle(bundle, target, streams=streams), bundle)
    bundle_path, image_path = paths(checkpoint, target, folder)
    image = replace(image, bundle_hash=bundle.save(bundle_path))
    image.save(image_path)
    return Compiled(bundle, bundle_path, image, image_path, saturation, _orphans(bundle_path, image.bundle_hash))


def _orphans(bundle: Path, of: str) -> tuple[Path, ...]:
    """Images that lie beside a bundle under its name and were made from another one."""
    found = list[Path]()
    for path in sorted(bundle.parent.glob(f"{glob.escape(bundle.stem)}.*.image")):
        with suppress(FdhtError):  # one that cannot be read is nobody's
            if Image.load(path).bundle_hash != of:
                found.append(path)
    return tuple(found)


def _trained_on(
    checkpoint: Path, quantisation: Quantisation | None, factor_width: int | None
) -> tuple[StageLists | None, Formats | None]:
    """Stage lists and formats that a checkpoint brings, if it was trained on integers."""
    if quantisation is None:
        return None, None
    if quantisation.formats is None:
        raise FileError(
            f"{checkpoint} has no formats yet: its training is still in floating point; go on with --resume"
        )
    trained = quantisation.arithmetic.factor_width
    if factor_width not in (None, trained):
        raise SpecError(
            f"{checkpoint} was trained on factors of {trained} bits, which it keeps; leave out the width of "
            f"{factor_width}, or train a model for that"
        )
    return quantisation.arithmetic.stage_lists, quantisation.formats


def measure(model: Classifier, clips: np.ndarray, bundle: Bundle) -> dict:
    """What raw clips show of the float model: its classes, and accuracies (or rmse and r2) with and without h."""
    task, outputs = model.task, outputs_of(model, clips, lengths=bundle.lengths)
    without_h = outputs_of(model, clips, zero_h=True, lengths=bundle.lengths)
    scores = {
        "float": score(task, outputs, bundle.labels, model.outputs),
        "golden": golden_score(bundle),
        "float_zero_h": score(task, without_h, bundle.labels, model.outputs),
    }
    kinds = ("rmse", "r2") if task.real else ("accuracy",)
    of = {name: each for name, each in scores.items() if known(task, bundle.labels).any()}
    found: dict = {kind: {name: getattr(each, kind) for name, each in of.items()} for kind in kinds}
    return found | ({"float_classes": task.classes_of(outputs).tolist()} if task is Task.CLASSIFY else {})


def figures(compiled: Compiled) -> dict:
    """The figures of a compilation for `--json`."""
    bundle, image = compiled.bundle, compiled.image
    return {
        "bundle": str(compiled.bundle_path),
        "image": str(compiled.image_path),
        "target": image.target.name,
        "parameters": bundle.spec.parameters,
        "macs": image.macs,
        "multipliers": image.target.multipliers,
        "stages": stage_rows(bundle),
        "cycles": {"predicted": image.cycles(bundle.clips.shape[1])},
        "streams": image.streams,
        **{kind: bundle.about[kind] for kind in ("accuracy", "rmse", "r2") if kind in bundle.about},
        "saturation": compiled.saturation.rates,
        "saturated": bundle.about.get("saturated"),
    }


def report(output: Output, compiled: Compiled) -> None:
    """The tables of a compilation."""
    bundle, image = compiled.bundle, compiled.image
    stage_table(output, bundle)
    steps = bundle.clips.shape[1]
    of_streams = f" of {image.streams} streams" if image.streams else ""
    output.facts(
        f"Compiled for {image.target.name}",
        {
            "bundle": compiled.bundle_path,
            "image": compiled.image_path,
            "clips in the bundle": len(bundle.clips),
            **({} if "saturated" not in bundle.about else {SATURATED: percent(bundle.about["saturated"])}),
            **score_facts(bundle.about, {"golden": "integers", "float_zero_h": "float with h = 0"}),
            "clipped in calibration": compiled.saturation.summary,
            f"predicted cycles, {steps} steps{of_streams}": image.cycles(steps),
        },
    )
    if compiled.orphans:
        output.say(
            f"{compiled.bundle_path} is written anew for {image.target.name} and differs from the one that "
            f"{', '.join(path.name for path in compiled.orphans)} was made of; compile for that target anew, or keep "
            "one of them apart with --out"
        )
    if compiled.saturation.trouble:
        output.say(compiled.saturation.trouble)
