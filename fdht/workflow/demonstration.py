"""`fdht demo`: the whole chain on real data, from photographs to a comparison with the RTL."""

import time
from dataclasses import replace
from pathlib import Path

from fdht.compiler.planner import plan
from fdht.console import Output
from fdht.model.checkpoint import SUFFIX, load_checkpoint
from fdht.model.presets import Preset, find_preset
from fdht.model.train import TrainingOptions
from fdht.sim.build import find_simulator
from fdht.spec.errors import FileError
from fdht.spec.target import find_target
from fdht.spec.task import only_classes
from fdht.workflow import comparison, compilation, training
from fdht.workflow.explanation import stage_table
from fdht.workflow.golden_vectors import disagreements, spread

QUICK_EPOCHS, QUICK_CLIPS, QUICK_VECTORS = 2, 1, 40


def run(
    output: Output,
    *,
    preset: str,
    target: str,
    folder: Path,
    clips: int,
    seed: int,
    quick: bool,
    fresh: bool,
) -> dict:
    """Trains (unless that is done), compiles, simulates and compares; prints on the way and returns the figures."""
    chosen, engine = find_preset(preset), find_target(target)
    only_classes("fdht demo", chosen.name, chosen.spec.task)
    find_simulator("verilator")
    plan(chosen.spec, engine)  # what does not fit is refused before it is trained
    if quick:
        chosen, clips = replace(chosen, epochs=min(chosen.epochs, QUICK_EPOCHS)), min(clips, QUICK_CLIPS)
    started = time.monotonic()

    checkpoint = folder / f"{chosen.name}{SUFFIX}"
    trained_now = trained(output, chosen, checkpoint, seed, fresh)
    after_training = time.monotonic()

    with output.progress("planning, quantising, compiling"):
        compiled = compilation.compile_checkpoint(checkpoint, engine, vectors=QUICK_VECTORS if quick else None)
    stage_table(output, compiled.bundle)
    after_compiling = time.monotonic()

    numbers = spread(compiled.bundle, clips)
    runs = comparison.run_clips(output, compiled.bundle, compiled.image, numbers)
    finished = time.monotonic()

    figures = {
        "preset": preset,
        "quick": quick,
        "parameters": chosen.spec.parameters,
        **comparison.figures(compiled.bundle, compiled.image, runs),
        "accuracy": compiled.bundle.about["accuracy"],
        "clips_in_bundle": len(compiled.bundle.clips),
        "disagreements": disagreements(compiled.bundle),
        "saturation": compiled.saturation.rates,
        "trained_now": trained_now,
        "files": {
            "checkpoint": str(checkpoint),
            "bundle": str(compiled.bundle_path),
            "image": str(compiled.image_path),
        },
        "seconds": {
            "train": round(after_training - started, 1),
            "compile": round(after_compiling - after_training, 1),
            "simulate": round(finished - after_compiling, 1),
            "total": round(finished - started, 1),
        },
    }
    comparison.report(output, compiled.bundle, figures)
    comparison.report_accuracy(output, compiled.bundle, figures)
    seconds = figures["seconds"]
    output.facts(
        "In short",
        {
            "parameters": ", ".join(f"{name} {count:,}" for name, count in figures["parameters"].items()),
            "words compared, mismatches": f"{figures['words_compared']:,}, {figures['mismatches']:,}",
            "cycles predicted, simulated": f"{figures['cycles']['predicted']:,}, {figures['cycles']['simulated']:,}",
            "seconds": ", ".join(f"{name} {value}" for name, value in seconds.items()),
            "files": folder,
        },
    )
    return figures


def trained(output: Output, preset: Preset, checkpoint: Path, seed: int = 0, fresh: bool = False) -> bool:
    """Trains, goes on with an interrupted training, or finds it done; whether anything was trained."""
    resume = False
    if checkpoint.exists() and not fresh:
        try:
            found = load_checkpoint(checkpoint, preset.name)
        except FileError as error:
            raise FileError(f"{error}, or start over with --fresh") from None
        if (found.seed, found.epochs, found.choose) == (seed, preset.epochs, False):
            if found.complete:
                output.say(f"{checkpoint} is trained already (--fresh trains anew)")
                return False
            resume = True
    done = training.run(output, preset, checkpoint, TrainingOptions(seed=seed, resume=resume))
    training.report(output, done)
    return True
