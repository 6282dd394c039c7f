"""`fdht compile`: a checkpoint to a bundle, and to an image of one target."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compiler.image import Image, compile_bundle
from compiler.planner import plan
from fdht.comparison import golden_classes
from fdht.console import Output, percent
from fdht.stages import stage_rows, stage_table
from model import data
from model.checkpoint import load_checkpoint
from model.quantise import SaturationReport, quantise
from model.train import predict
from spec.bundle import Bundle
from spec.target import Target

CALIBRATION_CLIPS = 40
"""Training clips that formats are chosen on, spread over the split."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """What compiling gives: the files, and what they hold."""

    bundle: Bundle
    bundle_path: Path
    image: Image
    image_path: Path
    saturation: SaturationReport


def paths(checkpoint: Path, target: Target, folder: Path | None) -> tuple[Path, Path]:
    """Where bundle and image of a checkpoint go: beside it, or into a folder."""
    folder = checkpoint.parent if folder is None else folder
    name = checkpoint.name.removesuffix(".checkpoint")
    return folder / f"{name}.bundle", folder / f"{name}.{target.name}.image"


def compile_checkpoint(
    checkpoint: Path,
    target: Target,
    *,
    folder: Path | None = None,
    factor_width: int | None = None,
    vectors: int | None = None,
) -> Compiled:
    """Plans, quantises, measures and compiles; writes bundle and image together or neither.

    Args:
        factor_width: bits of a factor; the target's when left out.
        vectors: how many of the test split's clips become golden vectors; all when left out.

    Raises:
        FileError: no readable checkpoint.
        CapacityError: the model does not fit the target.
    """
    trained = load_checkpoint(checkpoint)
    source = data.load(trained.data)
    chosen = np.linspace(0, len(source.final) - 1, CALIBRATION_CLIPS).astype(int)
    clips, labels = source.test.clips[:vectors], source.test.labels[:vectors]
    bundle, saturation = quantise(
        trained.model,
        plan(trained.spec, target),
        clips,
        labels,
        calibration=source.final.frames[source.final.order[chosen]],
        factor_width=target.factor_width if factor_width is None else factor_width,
        accumulator_width=target.accumulator_width,
        gate=target.gate_formats,
    )
    about = {"preset": trained.preset, "data": trained.data.name, "seed": trained.seed, "epochs": trained.epoch}
    about["clips"] = trained.epoch * min(trained.recipe["clips_per_epoch"], len(source.final))
    bundle = replace(bundle, about={**about, **measure(trained.model, bundle)})
    image = compile_bundle(bundle, target)
    bundle_path, image_path = paths(checkpoint, target, folder)
    image = replace(image, bundle_hash=bundle.save(bundle_path))
    image.save(image_path)
    return Compiled(bundle, bundle_path, image, image_path, saturation)


def measure(model, bundle: Bundle) -> dict:
    """What the bundle's clips show of the float model: its classes, and accuracies with and without h."""
    float_classes = predict(model, bundle.clips)
    without_h = predict(model, bundle.clips, zero_h=True)
    golden = golden_classes(bundle)
    return {
        "float_classes": float_classes.tolist(),
        "accuracy": {
            "float": float((float_classes == bundle.labels).mean()),
            "golden": float((golden == bundle.labels).mean()),
            "float_zero_h": float((without_h == bundle.labels).mean()),
        },
    }


def figures(compiled: Compiled) -> dict:
    """The figures of a compilation for `--json`."""
    bundle, image = compiled.bundle, compiled.image
    return {
        "bundle": str(compiled.bundle_path),
        "image": str(compiled.image_path),
        "target": image.target.name,
        "parameters": bundle.spec.parameters,
        "macs": bundle.macs,
        "multipliers": image.target.multipliers,
        "stages": stage_rows(bundle),
        "cycles": {"predicted": image.cycles(bundle.clips.shape[1])},
        "accuracy": bundle.about["accuracy"],
        "saturation": compiled.saturation.rates,
    }


def report(output: Output, compiled: Compiled) -> None:
    """The tables of a compilation."""
    bundle, image = compiled.bundle, compiled.image
    stage_table(output, bundle)
    accuracy, steps = bundle.about["accuracy"], bundle.clips.shape[1]
    clipped = {place: rate for place, rate in compiled.saturation.rates.items() if rate}
    output.facts(
        f"Compiled for {image.target.name}",
        {
            "bundle": compiled.bundle_path,
            "image": compiled.image_path,
            "clips in the bundle": len(bundle.clips),
            "accuracy, float": percent(accuracy["float"]),
            "accuracy, integers": percent(accuracy["golden"]),
            "accuracy, float with h = 0": percent(accuracy["float_zero_h"]),
            "clipped in calibration": ", ".join(f"{p} {percent(r)}" for p, r in clipped.items()) or "nothing",
            f"predicted cycles, {steps} steps": image.cycles(steps),
        },
    )
