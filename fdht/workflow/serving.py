"""Clips of a bundle side by side on the streams of an engine: in simulation, or on a device."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fdht.compiler.clipping import with_clipping
from fdht.compiler.image import Image, compile_bundle
from fdht.console import Output, percent
from fdht.host.arrivals import side_by_side
from fdht.sim.build import build
from fdht.sim.simulate import Job, Simulation, simulate_jobs
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.protocol import Status
from fdht.spec.rounds import Frame, rounds
from fdht.workflow import traces
from fdht.workflow.comparison import PAUSES_SEED
from fdht.workflow.golden_vectors import (
    SHOWN_MISMATCHES,
    logits_against_vectors,
    own,
    said,
    shown,
    spread,
    true_class,
    truth,
    what,
)
from fdht.workflow.running import Place, opened, target_of


@dataclass(frozen=True, eq=False)
class Served:
    """What became of clips.

    Attributes:
        clips: their numbers in the bundle. logits: of each.
        steps: of all together.
    """

    clips: list[int]
    logits: list[np.ndarray]
    steps: int


@dataclass(frozen=True, eq=False)
class ServedByDevice(Served):
    """What a device made of clips.

    Attributes:
        loaded: whether the image had to be loaded.
        seconds: from the first frame to the last result; None of a simulation, whose time is not a board's.
        status: of the device at the end.
    """

    loaded: bool
    seconds: float | None
    status: Status


@dataclass(frozen=True, eq=False)
class ServedByRTL(Served):
    """What the RTL made of clips, and how it compares with the execution of the program; `frames` are whose steps came
    in which order.
    """

    simulation: Simulation
    frames: list[Frame]


def check_clips(bundle: Bundle) -> None:
    """Refuses a bundle whose clips say nothing of what streams send.

    Raises:
        SpecError: it has no head.
    """
    if not bundle.spec.classes:
        raise SpecError(
            "a model without a head sends no logits, which clips of streams are compared by; give it a head"
        )


def simulate(
    output: Output,
    bundle: Bundle,
    image: Image,
    clips: Sequence[int],
    *,
    simulator: str = "verilator",
    pauses: bool = False,
    waves: Path | None = None,
) -> ServedByRTL:
    """Simulates clips side by side in one run of the engine."""
    check_clips(bundle)
    compiling = output.building(image.target.name)
    built = build(image.target, simulator, waves=waves is not None, compiling=compiling)
    arrivals = list(side_by_side([bundle.clip(clip) for clip in clips], image.streams))
    x = np.stack([arrival.x for _, arrival in arrivals])[None]
    frames = [[arrival.frame for _, arrival in arrivals]]
    job = Job(image, x, frames=frames, pauses=PAUSES_SEED if pauses else None)
    with output.progress("simulating clips side by side"):
        (result,) = simulate_jobs([job], built=built, waves=waves)
    each = image.task.every_step
    answered = [number for number, arrival in arrivals if each or arrival.ends]
    logits: list[list[np.ndarray]] = [[] for _ in clips]
    for number, row in zip(answered, result.logits, strict=True):
        logits[number].append(row)
    found = [np.array(rows) if each else rows[0] for rows in logits]
    return ServedByRTL(list(clips), found, len(arrivals), result, frames[0])


def write_trace(path: Path, image: Image, served: ServedByRTL) -> None:
    """Leaves what every unit of the RTL did as trace events.

    Raises:
        Disagreement: an instruction is missing, or one too many. FileError: the file cannot be written.
    """
    taken = rounds(image.known(served.frames), image.target.streams)
    name = f"{len(served.clips)} clips on {image.streams} streams"
    run = traces.simulated(image, name, served.simulation.executed[0], len(taken), taken)
    traces.write(path, image, [run], "RTL, simulated")


def run(output: Output, path: Path, place: Place, count: int | None, streams: int) -> tuple[Bundle, ServedByDevice]:
    """Runs clips of a bundle, spread over all it has, side by side on a device.

    Raises:
        SpecError, FileError, CapacityError: no readable bundle, or one that does not fit the board.
        ToolError, DeviceError: see `fdht.workflow.running.opened`.
    """
    bundle = Bundle.load(path)
    check_clips(bundle)
    clips = spread(bundle, count)
    with opened(output, place) as device:
        image = with_clipping(
            compile_bundle(bundle, target_of(device, place), container.hash_of(path), streams=streams), bundle
        )
        with output.progress("loading the image") as advance:
            loaded = device.load(image, lambda done, total: advance(done, total))
        found, begin = dict[int, np.ndarray](), time.monotonic()
        with output.progress("running clips", len(clips)) as advance:
            for number, outputs in device.run_streams([bundle.clip(clip) for clip in clips]):
                found[number] = outputs.logits
                advance(len(found))
        seconds, status = time.monotonic() - begin, device.status()
    steps = sum(len(bundle.clip(clip)) for clip in clips)
    logits = [found[number] for number in range(len(clips))]
    return bundle, ServedByDevice(clips, logits, steps, loaded, None if place.port is None else seconds, status)


def _of_clips(bundle: Bundle, served: Served) -> tuple[list[str], list[dict]]:
    """Sentences on what differs from the golden model's vectors, and the figures of each clip."""
    texts, rows = list[str](), list[dict]()
    for clip, logits in zip(served.clips, served.logits, strict=True):
        texts += logits_against_vectors(bundle, clip, logits)
        golden, made = (said(bundle, each) for each in (own(bundle, clip, bundle.logits), logits))
        rows.append({"clip": clip, "label": truth(bundle, clip), "golden": golden, "streams": made})
    return texts, rows


def simulated_figures(bundle: Bundle, image: Image, served: ServedByRTL) -> dict:
    """The figures for `--json`; `cycles_per_step` is the cycles of the run ÷ the steps of all streams."""
    result = served.simulation
    texts, rows = _of_clips(bundle, served)
    mismatches = [*result.mismatches, *texts]
    (predicted,), (simulated,), (stalls,) = result.cycles_predicted, result.cycles_simulated, result.stalls
    return {
        "target": image.target.name,
        "streams": image.streams,
        "steps": served.steps,
        "words_compared": result.words_compared,
        "words_expected": result.words_expected,
        "mismatches": len(mismatches),
        "first_mismatches": mismatches[:SHOWN_MISMATCHES],
        "cycles": {"predicted": predicted, "simulated": simulated, "stalls": stalls},
        "cycles_per_step": simulated / served.steps,
        "macs": image.macs,
        "multipliers": image.target.multipliers,
        "utilisation": image.macs * served.steps / (image.target.multipliers * simulated),
        "rtl_equals_golden": sum(row["streams"] == row["golden"] for row in rows) / len(rows),
        "clips": rows,
    }


def device_figures(bundle: Bundle, image_streams: int, served: ServedByDevice, compare: bool) -> dict:
    """The figures for `--json`.

    Args:
        compare: hold logits against the golden model's vectors in the bundle.
    """
    texts, rows = _of_clips(bundle, served)
    return {
        "streams": image_streams,
        "image_loaded": served.loaded,
        "frames": served.steps,
        "seconds": served.seconds,
        "frames_per_s": None if served.seconds is None else served.steps / served.seconds,
        "link_errors": served.status.errors,
        "clips": rows,
    } | ({"mismatches": len(texts), "first_mismatches": texts[:SHOWN_MISMATCHES]} if compare else {})


def report(output: Output, bundle: Bundle, figures: dict) -> None:
    """The tables of clips that were served."""
    rows = [
        (
            row["clip"],
            true_class(bundle, row["label"]),
            *(shown(bundle, row["clip"], row[name]) for name in ("golden", "streams")),
        )
        for row in figures["clips"]
    ]
    title = f"{what(bundle).capitalize()} on {figures['streams']} streams"
    output.table(title, ("clip", "true", "golden", "engine"), rows)
    facts: dict[str, object] = {"steps of all streams": figures.get("steps", figures.get("frames"))}
    if "cycles" in figures:
        facts |= {
            "words compared, that differ": f"{figures['words_compared']:,}, {figures['mismatches']}",
            "cycles predicted, simulated": f"{figures['cycles']['predicted']:,}, {figures['cycles']['simulated']:,}",
            "cycles per step": f"{figures['cycles_per_step']:,.1f}",
            "utilisation": percent(figures["utilisation"]),
        }
    else:
        if figures["frames_per_s"] is not None:
            facts["steps per second"] = f"{figures['frames_per_s']:,.1f} (link included)"
        facts["errors on the link"] = figures["link_errors"]
        if "mismatches" in figures:
            facts["words that differ from the golden model"] = figures["mismatches"]
    output.facts("Run", facts)
    for text in figures.get("first_mismatches", ()):
        output.text(f"  {text}")
