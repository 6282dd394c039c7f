"""`fdht simulate` and `fdht compare`: clips through the RTL, word by word against the golden model."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from fdht.compiler.image import Image, compile_bundle
from fdht.console import Output, percent
from fdht.sim.build import build
from fdht.sim.simulate import Job, Simulation, simulate_jobs
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.target import find_target
from fdht.workflow import traces
from fdht.workflow.golden_vectors import (
    SHOWN_MISMATCHES,
    Disagreement,
    Said,
    against_vectors,
    disagreements,
    float_class,
    golden_score,
    noted,
    own,
    run_again,
    said,
    score_facts,
    shown,
    true_class,
    truth,
    what,
    with_name,
)

MODELS = {
    "float": "float",
    "golden": "integers (golden = RTL)",
    "float_zero_h": "float with h forced to zero",
}
"""What the models of a comparison are called."""

PAUSES_SEED = 1
"""Seed of the random gaps in the input: two runs have the same gaps."""


@dataclass(frozen=True, eq=False)
class ClipRun:
    """One clip of the bundle, simulated.

    Attributes:
        clip: its number in the bundle.
        label, golden, rtl: what is true of it, what the golden model says and what the RTL does, see
            fdht.workflow.golden_vectors.Said.
        result: what the RTL did, compared with the execution of the program.
        mismatches: one sentence per difference: those of `result`, then those to the golden model's vectors.
    """

    clip: int
    label: Said
    golden: Said
    rtl: Said
    result: Simulation
    mismatches: list[str]


def load(path: Path, target_name: str, streams: int = 0) -> tuple[Bundle, Image]:
    """A bundle and its image for a target.

    Args:
        streams: that the image serves, see `compile_bundle`.

    Raises:
        SpecError, FileError, CapacityError: unknown target, no readable bundle, or one that does not fit.
    """
    target, bundle = find_target(target_name), Bundle.load(path)
    return bundle, compile_bundle(bundle, target, container.hash_of(path), streams=streams)


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
    compiling = output.building(image.target.name)
    built = build(image.target, simulator, waves=waves is not None, compiling=compiling)
    jobs = [Job(image, bundle.clip(clip)[None], pauses=PAUSES_SEED if pauses else None) for clip in clips]
    with output.progress("simulating clips", len(clips)) as advance:
        results = simulate_jobs(jobs, built=built, waves=waves, progress=advance)
    return [
        ClipRun(
            clip,
            truth(bundle, clip),
            said(bundle, own(bundle, clip, bundle.logits)),
            said(bundle, result.logits[0]),
            result,
            [*result.mismatches, *against_vectors(bundle, clip, result.logits[0], result.hidden[0])],
        )
        for clip, result in zip(clips, results, strict=True)
    ]


def write_trace(path: Path, bundle: Bundle, image: Image, runs: list[ClipRun]) -> None:
    """Leaves what every unit of the RTL did in each clip as trace events.

    Raises:
        Disagreement: an instruction is missing, or one too many. FileError: the file cannot be written.
    """
    traced = [
        traces.simulated(image, f"clip {run.clip}", run.result.executed[0], len(bundle.clip(run.clip))) for run in runs
    ]
    traces.write(path, image, traced, "RTL, simulated")


def figures(bundle: Bundle, image: Image, runs: list[ClipRun]) -> dict:
    """The figures of simulated clips for `--json`; `rtl_equals_golden` is the share of clips of which both say so.

    Utilisation is useful MACs ÷ (multipliers × cycles), over whole clips: first step, last step and head included.
    """
    cycles = sum(sum(run.result.cycles_simulated) for run in runs)
    steps = sum(len(bundle.clip(run.clip)) for run in runs)
    return {
        "target": image.target.name,
        "steps": bundle.clips.shape[1],
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
        "utilisation": image.macs * steps / (image.target.multipliers * cycles),
        "rtl_equals_golden": sum(run.rtl == run.golden for run in runs) / len(runs),
        "clips": [clip_figures(bundle, image, run) for run in runs],
    }


def clip_figures(bundle: Bundle, image: Image, run: ClipRun) -> dict:
    """The figures of one clip."""
    steps, result = len(bundle.clip(run.clip)), run.result
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


def accuracy_figures(output: Output, bundle: Bundle) -> dict:
    """Runs the golden model on every clip of the bundle again; float figures are those noted in it.

    Raises:
        Disagreement: it no longer gives the vectors of the bundle.
    """
    with output.progress(f"golden model on {len(bundle.clips)} clips", len(bundle.clips)) as advance:
        saturation = run_again(bundle, partial(advance, total=len(bundle.clips)))
    golden = asdict(golden_score(bundle))
    kinds = ("accuracy", "rmse", "r2") if bundle.spec.task.real else ("accuracy",)
    noted = {kind: bundle.about.get(kind, {}) for kind in kinds}
    return {
        **{
            kind: {"float": of.get("float"), "golden": golden[kind], "float_zero_h": of.get("float_zero_h")}
            for kind, of in noted.items()
        },
        "clips_in_bundle": len(bundle.clips),
        "disagreements": disagreements(bundle),
        "saturation": saturation,
    }


def report(output: Output, bundle: Bundle, figures: dict) -> None:
    """The table of simulated clips."""
    said_by = [name for name in ("float", "golden", "rtl") if name != "float" or noted(figures)]
    columns = ["clip", "true", *("RTL" if name == "rtl" else name for name in said_by)]
    columns += ["words", "mismatches", "predicted", "simulated", "utilisation"]
    rows = [
        (
            clip["clip"],
            true_class(bundle, clip["label"]),
            *(shown(bundle, clip["clip"], clip[name]) for name in said_by),
            *(clip[name] for name in ("words_compared", "mismatches")),
            clip["cycles"]["predicted"],
            clip["cycles"]["simulated"],
            percent(clip["utilisation"]),
        )
        for clip in figures["clips"]
    ]
    output.table(f"Simulated on {figures['target']}: {what(bundle)}, words compared, cycles", columns, rows)
    for text in figures["first_mismatches"]:
        output.text(f"  {text}")


def report_accuracy(output: Output, bundle: Bundle, figures: dict) -> None:
    """Accuracies, and each clip whose class changed with the numbers."""
    title, clips = "Accuracy", figures["clips_in_bundle"]
    if "rmse" in figures:
        title = "Errors"
        facts: dict[str, object] = {**score_facts({kind: figures[kind] for kind in ("rmse", "r2")}, MODELS)}
    else:
        facts = {name: percent(figures["accuracy"][model]) for model, name in MODELS.items()}
        differ = figures["disagreements"]
        facts["clips classified differently by float and integers"] = "-" if differ is None else len(differ)
    output.facts(f"{title} on {clips} clips", facts)
    if figures["disagreements"]:
        classes = ("label", "float", "golden")
        rows = [[row["clip"], *(with_name(bundle, row[name]) for name in classes)] for row in figures["disagreements"]]
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
    if figures["rtl_equals_golden"] < 1:
        raise Disagreement("RTL and golden model give different classes although all words agree; look at the output")
    counted = figures["cycles"]
    if cycles and counted["simulated"] != counted["predicted"] + counted["stalls"]:
        raise Disagreement(
            f"{counted['simulated']} cycles simulated, {counted['stalls']} of them input stalls, but "
            f"{counted['predicted']} predicted; look for the instruction whose latency fdht.spec.timing has wrong"
        )
