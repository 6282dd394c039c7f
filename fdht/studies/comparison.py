"""`fdht simulate` and `fdht compare`: clips through the RTL, word by word against the golden model."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fdht.compiler.image import Image, compile_bundle
from fdht.console import Output, percent
from fdht.sim.build import build
from fdht.sim.simulate import Job, Simulation, simulate_jobs
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FdhtError, SpecError
from fdht.spec.target import Target, find_target
from fdht.studies.accuracy import Row, hits, sizes

SHOWN_MISMATCHES = 10
PAUSES_SEED = 1

STUDY = "presets"
"""Of rows of results."""


class Disagreement(FdhtError):
    """The RTL and its prediction differ."""


@dataclass(frozen=True, eq=False)
class ClipRun:
    """One clip of the bundle, simulated.

    Attributes:
        clip: its number in the bundle.
        label, golden: its true class, and that of the golden model.
        result: what the RTL did, compared with the execution of the program.
        mismatches: one sentence per difference: those of `result`, then those to the golden model's vectors.
    """

    clip: int
    label: int
    golden: int
    result: Simulation
    mismatches: list[str]

    @property
    def rtl(self) -> int:
        return int(self.result.classes[0])


def load(path: Path, target_name: str) -> tuple[Bundle, Image]:
    """A bundle and its image for a target.

    Raises:
        SpecError, FileError, CapacityError: unknown target, no readable bundle, or one that does not fit.
    """
    target, bundle = find_target(target_name), Bundle.load(path)
    return bundle, compile_bundle(bundle, target, container.hash_of(path))


CLIPS = 3
"""How many clips are looked at, where nobody says and there are as many."""


def spread(bundle: Bundle, count: int | None) -> list[int]:
    """Numbers of `count` clips of the bundle, spread over all of them; of `CLIPS` or all there are when left out.

    Raises:
        SpecError: fewer than one, or more than there are.
    """
    if not len(bundle.clips):
        raise SpecError("the bundle holds no clips; compile the checkpoint anew")
    count = min(CLIPS, len(bundle.clips)) if count is None else count
    if not 1 <= count <= len(bundle.clips):
        raise SpecError(f"{count} clips asked for, the bundle holds {len(bundle.clips)}; choose 1..{len(bundle.clips)}")
    return spread_over(len(bundle.clips), count).tolist()


def spread_over(there: int, count: int) -> np.ndarray:
    """Numbers of `count` clips of those there are, from the first to the last."""
    return np.linspace(0, there - 1, count).astype(int)


def run_clips(
    output: Output,
    bundle: Bundle,
    image: Image,
    clips: list[int],
    *,
    simulator: str = "verilator",
    pauses: bool = False,
    waves: Path | None = None,
) -> list[ClipRun]:
    """Simulates clips, each from a reset, so that each has figures of its own."""
    golden = golden_classes(bundle)
    with output.progress(f"building the simulator of {image.target.name} (kept for the next time)"):
        built = build(image.target, simulator, waves=waves is not None)
    jobs = [Job(image, bundle.clips[clip : clip + 1], pauses=PAUSES_SEED if pauses else None) for clip in clips]
    with output.progress("simulating clips", len(clips)) as advance:
        results = simulate_jobs(jobs, built=built, waves=waves, progress=advance)
    return [
        ClipRun(
            clip,
            int(bundle.labels[clip]),
            int(golden[clip]),
            result,
            [*result.mismatches, *against_vectors(bundle, clip, result.logits[0], result.hidden[0])],
        )
        for clip, result in zip(clips, results, strict=True)
    ]


def golden_classes(bundle: Bundle) -> np.ndarray:
    """The golden model's class of each clip of the bundle: the first of the largest logits, -1 without a head."""
    return bundle.logits.argmax(1) if bundle.spec.classes else np.full(len(bundle.clips), -1)


def against_vectors(bundle: Bundle, clip: int, logits: np.ndarray, hidden: np.ndarray) -> list[str]:
    """What was computed against the golden model's vectors in the bundle, one sentence per differing word."""
    hidden = hidden[-bundle.spec.hidden :]  # of the last layer
    pairs = {"logit": (logits, bundle.logits[clip]), "h of unit": (hidden, bundle.hidden[clip])}
    return [
        f"clip {clip}: {name} {k} is {seen[k]}, {expected[k]} in the golden model"
        for name, (seen, expected) in pairs.items()
        for k in np.flatnonzero(seen != expected)
    ]


def figures(bundle: Bundle, image: Image, runs: list[ClipRun]) -> dict:
    """The figures of simulated clips for `--json`.

    Utilisation is useful MACs ÷ (multipliers × cycles), over whole clips: first step, last step and head included.
    """
    steps = bundle.clips.shape[1]
    cycles = sum(sum(run.result.cycles_simulated) for run in runs)
    return {
        "target": image.target.name,
        "steps": steps,
        "words_compared": sum(run.result.words_compared for run in runs),
        "words_expected": sum(run.result.words_expected for run in runs),
        "mismatches": sum(len(run.mismatches) for run in runs),
        "first_mismatches": [text for run in runs for text in run.mismatches][:SHOWN_MISMATCHES],
        "cycles": {
            "predicted": sum(sum(run.result.cycles_predicted) for run in runs),
            "simulated": cycles,
            "stalls": sum(sum(run.result.stalls) for run in runs),
        },
        "macs": image.macs,
        "multipliers": image.target.multipliers,
        "utilisation": image.macs * steps * len(runs) / (image.target.multipliers * cycles),
        "agreement": sum(run.rtl == run.golden for run in runs) / len(runs),
        "clips": [clip_figures(bundle, image, run) for run in runs],
    }


def clip_figures(bundle: Bundle, image: Image, run: ClipRun) -> dict:
    """The figures of one clip."""
    steps, result = bundle.clips.shape[1], run.result
    (predicted,), (simulated,), (stalls,) = result.cycles_predicted, result.cycles_simulated, result.stalls
    return {
        "clip": run.clip,
        "label": run.label,
        "float": float_class(bundle, run.clip),
        "golden": run.golden,
        "rtl": run.rtl,
        "words_compared": result.words_compared,
        "mismatches": len(run.mismatches),
        "cycles": {"predicted": predicted, "simulated": simulated, "stalls": stalls},
        "utilisation": image.macs * steps / (image.target.multipliers * simulated),
    }


def float_class(bundle: Bundle, clip: int) -> int | None:
    """The float model's class of a clip, as noted when the bundle was made."""
    classes = bundle.about.get("float_classes")
    return None if classes is None else classes[clip]


def disagreements(bundle: Bundle) -> list[dict]:
    """Clips of the bundle to which integers and float model give different classes."""
    classes, golden = bundle.about.get("float_classes", []), golden_classes(bundle).tolist()
    return [
        {"clip": clip, "label": int(bundle.labels[clip]), "float": of_float, "golden": golden[clip]}
        for clip, of_float in enumerate(classes)
        if of_float != golden[clip]
    ]


def accuracy_figures(output: Output, bundle: Bundle) -> dict:
    """Runs the golden model on every clip of the bundle again; float figures are those noted in it.

    Raises:
        Disagreement: it no longer gives the vectors of the bundle.
    """
    from fdht.studies.golden_run import run  # torch takes seconds to load, and simulations do without

    with output.progress(f"golden model on {len(bundle.clips)} clips", len(bundle.clips)) as advance:
        golden = run(bundle, partial(advance, total=len(bundle.clips)))
    if not (np.array_equal(golden.logits, bundle.logits) and np.array_equal(golden.hidden, bundle.hidden)):
        raise Disagreement("the golden model no longer gives the vectors of this bundle; compile the checkpoint anew")
    noted = bundle.about.get("accuracy", {})
    return {
        "accuracy": {
            "float": noted.get("float"),
            "golden": float((golden_classes(bundle) == bundle.labels).mean()),
            "float_zero_h": noted.get("float_zero_h"),
        },
        "clips_in_bundle": len(bundle.clips),
        "disagreements": disagreements(bundle),
        "saturation": golden.saturation,
    }


def rows(bundle: Bundle, target: Target, runs: list[ClipRun]) -> list[Row]:
    """What float model, golden model and RTL make of the bundle's clips, for the file of results.

    Raises:
        SpecError: a bundle that does not note what it was trained on.
    """
    about, classes = bundle.about, np.array(bundle.about.get("float_classes", []))
    if len(classes) != len(bundle.clips) or not {"data", "clips", "seed", "preset"} <= about.keys():
        raise SpecError(
            "the bundle does not note its training and the float model's classes; compile the checkpoint anew"
        )
    floating = Row(
        study=STUDY,
        data=about["data"],
        clips=about["clips"],
        seed=about["seed"],
        qat="trained_on" in about,
        recipe=about["preset"],
        **sizes(*bundle.layers),
        **hits(classes == bundle.labels),
    )
    integers = replace(floating, bits=bits(bundle), target=target.name)
    golden, simulated = golden_classes(bundle) == bundle.labels, np.array([run.rtl == run.label for run in runs])
    return [
        floating,
        replace(integers, model="golden", **hits(golden)),
        replace(integers, model="rtl", **hits(simulated)),
    ]


def bits(bundle: Bundle) -> str:
    """Widths of factors and activations, as rows of results have them."""
    return f"{max(stage.weight.width for stage in bundle.formats.stages)}/{bundle.formats.gate.hidden.width}"


def report(output: Output, figures: dict) -> None:
    """The table of simulated clips."""
    columns = ("clip", "true", "float", "golden", "RTL", "words", "mismatches", "predicted", "simulated", "utilisation")
    rows = [
        (
            *(clip[name] for name in ("clip", "label", "float", "golden", "rtl", "words_compared", "mismatches")),
            clip["cycles"]["predicted"],
            clip["cycles"]["simulated"],
            percent(clip["utilisation"]),
        )
        for clip in figures["clips"]
    ]
    output.table(f"Simulated on {figures['target']}: classes, words compared, cycles", columns, rows)
    for text in figures["first_mismatches"]:
        output.text(f"  {text}")


def report_accuracy(output: Output, figures: dict) -> None:
    """Accuracies, and each clip whose class changed with the numbers."""
    accuracy = figures["accuracy"]
    output.facts(
        f"Accuracy on {figures['clips_in_bundle']} clips",
        {
            "float": percent(accuracy["float"]),
            "integers (golden = RTL)": percent(accuracy["golden"]),
            "float with h forced to zero": percent(accuracy["float_zero_h"]),
            "clips classified differently by float and integers": len(figures["disagreements"]),
        },
    )
    if figures["disagreements"]:
        rows = [list(row.values()) for row in figures["disagreements"]]
        output.table("Float and integers disagree", ("clip", "true", "float", "golden"), rows)


def check(figures: dict, cycles: bool = True) -> None:
    """Raises unless RTL and prediction agree: every word, every class, every cycle.

    With `--pauses` cycles are not held against the prediction, which knows nothing of the pauses.

    Raises:
        Disagreement: they do not.
    """
    if figures["mismatches"]:
        raise Disagreement(
            f"{figures['mismatches']} of {figures['words_compared']} words differ between RTL and golden model; "
            f"the first: {figures['first_mismatches'][0]}"
        )
    if figures["words_compared"] != figures["words_expected"]:
        raise Disagreement(
            f"the RTL wrote {figures['words_compared']} words, the program says {figures['words_expected']}; "
            "look for the first instruction that stops early"
        )
    if figures["agreement"] < 1:
        raise Disagreement("RTL and golden model give different classes although all words agree; look at the output")
    counted = figures["cycles"]
    if cycles and counted["simulated"] != counted["predicted"] + counted["stalls"]:
        raise Disagreement(
            f"{counted['simulated']} cycles simulated, {counted['stalls']} of them input stalls, but "
            f"{counted['predicted']} predicted; look for the instruction whose latency fdht.spec.timing has wrong"
        )
