"""`fdht bench`: the performance table. Cycles from the RTL, times at the board's clock, which its bitstream runs at;
the clock that the last recorded build reached stands beside it.

A row is one network on one engine. Its weights are random (seed 0, the layer's own initialisation) and quantised on
real pictures: cycles do not depend on them, and integers are compared with the golden model all the same.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fdht.boards.board import Board
from fdht.boards.catalogue import find_board
from fdht.compiler.arithmetic import fewest_macs, step_macs
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.lanes import stage_cycles
from fdht.compiler.pace import STEPS, cycles_per_step, lone_frame, step_ends, whole
from fdht.compiler.planner import candidates, fitting_shares
from fdht.console import Output, rounded
from fdht.extras import need
from fdht.model.presets import PRESETS
from fdht.sim.build import Simulator, build
from fdht.sim.simulate import Job, Simulation, simulate_jobs
from fdht.spec import timing
from fdht.spec.bundle import Bundle
from fdht.spec.container import write_whole
from fdht.spec.errors import CapacityError, FdhtError, no_such
from fdht.spec.instructions import GateOp
from fdht.spec.lstm import LSTMSpec, chains
from fdht.spec.record import Plain, Text, read_kept
from fdht.spec.rounds import in_turn
from fdht.spec.stages import StageLists, stages_of
from fdht.spec.target import Target
from fdht.studies.contenders import (
    SIMULATED,
    Contender,
    contenders,
    find,
    others,
    pixels,
    presets_on,
    roomy,
    scaling,
)
from fdht.studies.measurements import PARTS, load, load_builds, store

CACHE = Path("build/bench")
"""Where simulations are kept, below the current directory, each named by what it was made of."""

RESULTS = Path("build/results")
"""Where results are written, below the current directory."""

SEEDS = (1, 2, 3)
"""Seeds of place and route, for the recorded build."""


TIMED = ("ucf11", "faces-rgb")
"""Presets whose layer is timed in PyTorch: the first there is."""


class Mismatch(FdhtError):
    """The RTL and its prediction differ."""


@dataclass(frozen=True)
class Builds:
    """The recorded builds: per design, board and target what it uses and how fast it is.

    A JSON list, one record of each, so that other designs can stand beside the engine: `design`, `board`, `target`,
    `clock_mhz`, `fmax_mhz_seeds`, `fmax_mhz` (the median of the `seeds_routed`), `seeds_met`, `luts`, `ffs`,
    `multipliers`, `block_rams`, `sprams`, `tools`, `gateware` (what it was made of).
    """

    path: Path

    def load(self) -> list[dict]:
        return load_builds(self.path)

    def of(self, target: Target, design: str = "fdht", board: Board | None = None) -> dict | None:
        """The record of a design for a target, on a board or on any."""
        found = [r for r in self.load() if (r["design"], r["target"]) == (design, target.name)]
        return next((r for r in found if board is None or r["board"] == board.name), None)

    def record(self, report: dict, gateware: str, design: str = "fdht") -> None:
        """Keeps the report of fdht.boards.synthesis.synthesise."""
        names = ("board", "target", "clock_mhz", "fmax_mhz_seeds", "seeds_met", "seeds_routed")
        names += ("luts", "ffs", "multipliers", "block_rams", "sprams", "tools")
        record = {"design": design, **{name: report[name] for name in names}}
        record |= {"fmax_mhz": report["fmax_mhz_median"], "gateware": gateware}
        key = lambda r: (r["design"], r["board"], r["target"])  # noqa: E731
        store(self.path, sorted([*(r for r in self.load() if key(r) != key(record)), record], key=key))


def run(
    output: Output,
    *,
    parts: Sequence[str],
    presets: list[str],
    targets: list[str],
    formats: list[str],
    streams: int = 0,
    board: str | None = None,
    synth: bool,
    rtl: bool,
    folder: Path,
) -> list[dict]:
    """Measures, writes `bench.json`, `builds.json` and pictures into a folder, and returns the rows.

    Args:
        parts: of PARTS; all when empty. presets, targets, formats: rows that are wanted; all when empty. A target may
            be in a file.
        board: whose clock rows are to have, with each of the targets; with its own engine when there are none.
        streams: serve so many sequences at once in every row that is wanted; 0: as the table does.
        synth: build the boards instead of taking the recorded builds.
        rtl: simulate.

    Raises:
        SpecError: a part, preset, target or format that is none, or no such board. FileError: no target in a file.
        CapacityError: the board's part does not hold a target.
        ModuleNotFoundError: what a wanted part needs, which is found before anything is measured.
        Mismatch and what builds and simulations raise; rows measured before are written.
    """
    for name in parts:
        if name not in PARTS:
            raise no_such("part", name, PARTS)
    wanted, builds, results = parts or PARTS, Builds(folder / "builds.json"), folder / "bench.json"
    table, targets = rows_of(board, targets)
    chosen = find(presets, targets, formats, [*table, *scaling()])
    chosen = [c for c in chosen if {"engine": "table"}.get(c.kind, c.kind) in wanted]
    if streams:
        served = [replace(c, streams=streams) for c in chosen if c.kind == "engine"]
        chosen = list({(c.name, c.format, c.target.name): c for c in served}.values())
    timed = next(PRESETS[name] for name in TIMED if name in PRESETS)
    of_times = not (targets or formats) and (not presets or timed.name in presets)
    times = {"cpu", "epoch"} & set(wanted) if of_times else set()
    if times or (chosen and rtl):
        need("torch")
    if "pictures" in wanted:
        need("matplotlib")
    if synth:
        synthesise(output, chosen, builds)
    rows = measure(output, chosen, builds, results, rtl)
    report(output, rows)
    if times:
        from fdht.studies import stopwatch

        for part, time, show in (
            ("cpu", stopwatch.measure, stopwatch.report),
            ("epoch", stopwatch.measure_epoch, stopwatch.report_epoch),
        ):
            if part in times:
                measured = time(output, timed)
                show(output, measured)
                merge(results, measured)
                rows += measured
    if "pictures" in wanted:
        from fdht.studies import pictures

        pictures.draw(output, folder, presets, [c for c in table if not targets or c.target.name in targets])
    return rows


def rows_of(board_name: str | None, targets: list[str]) -> tuple[list[Contender], list[str]]:
    """The rows that there may be of the table, and the names of the targets that are asked for.

    Args:
        board_name, targets: see `run`.
    """
    table = list(contenders())
    if board_name is None:
        further = others(targets, table)
        return [*table, *presets_on(*further.values())], [further[t].name if t in further else t for t in targets]
    boards = [find_board(board_name, target) for target in targets or [None]]
    rows = [replace(c, board=board) for board in boards for c in presets_on(board.engine)]
    return rows, [board.target for board in boards]


def synthesise(output: Output, contenders: Sequence[Contender], builds: Builds) -> None:
    """Builds the boards of the contenders with every seed, or finds them built, and records them.

    Where boards share a target and none is asked for, the one that it is named after is built.
    """
    from fdht.boards.synthesis import synthesise as make
    from fdht.boards.top import build_id

    for board in {c.home.design: c.home for c in contenders if c.home is not None}.values():
        with output.progress(f"bitstream for {board.design}, seeds {', '.join(map(str, SEEDS))}") as advance:
            say: Callable[[str], None] = lambda message: advance(note=message)  # noqa: E731
            report = make(board, CACHE / board.design, SEEDS, progress=say)
        builds.record(report, f"{build_id(board):08x}")


def recorded_fmax(board: Board | None) -> float | None:
    """The clock in MHz that a board's baseline reached; None without one."""
    from fdht.boards import baseline

    try:
        return None if board is None else baseline.load(board)["fmax_mhz_median"]
    except baseline.BaselineError:
        return None


def gateware(board: Board | None) -> str | None:
    """What a build of a board would be made of now."""
    from fdht.boards.top import build_id

    return None if board is None else f"{build_id(board):08x}"


def row(output: Output, contender: Contender, builds: Builds, simulate: bool = True) -> dict:
    """Measures one contender.

    Args:
        simulate: in RTL, too; otherwise cycles are those of the schedule.
    """
    spec, target = contender.spec, contender.target
    fewest, _ = fewest_macs(spec)
    figures = {
        "kind": contender.kind,
        "preset": contender.name,
        "format": contender.format,
        "target": target.name,
        "streams": max(contender.streams, 1),
        "inputs": spec.inputs,
        "hidden": spec.hidden,
        "parameters": spec.network.parameters,
        "multipliers": target.multipliers,
        "fewest_macs": fewest,
        "fits": True,
        "refusal": None,
    }
    try:
        best = candidates(spec, target)[0]
    except CapacityError as error:
        figures |= {"fits": False, "refusal": str(error)}
        cycles, stage_lists = _without_memories(contender)
        return figures | _derived(contender, builds, stage_lists, cycles)
    way = best.ways[0]
    if contender.streams:
        try:
            way = fitting_shares(spec, best.stage_lists, target, contender.streams)[0]
        except CapacityError as error:
            return (
                figures
                | {"fits": False, "refusal": str(error)}
                | _derived(contender, builds, best.stage_lists, _planned(way.cycles, None))
            )
    measured = None
    if simulate and not (contender.kind == "scaling" and spec.inputs > SIMULATED):
        measured = _simulated(output, contender, best.stage_lists)
    taken, sent = lone_frame(way.programs, target)
    planned = whole(way.cycles / max(contender.streams, 1))
    cycles = _planned(planned, None if contender.streams else sent - taken) | (measured or {})
    return figures | _derived(contender, builds, best.stage_lists, cycles)


def _without_memories(contender: Contender) -> tuple[dict, StageLists]:
    """Planned cycles of what does not fit: with more memory, or, where no engine has that much, of the array alone."""
    spec, larger = contender.spec, roomy(contender.target)
    try:
        best = candidates(spec, larger)[0]
        cycles, stage_lists, on = best.cycles, best.stage_lists, larger.name
    except CapacityError:
        _, stage_lists = fewest_macs(spec)
        every = chains((spec,))
        cycles = sum(
            stage_cycles(chain.network, stage, None, None, larger)
            for chain, own in zip(every, stages_of(every, stage_lists), strict=True)
            for stage in own
        )
        on = "the array alone"
    return _planned(cycles, None) | {"planned_on": on}, stage_lists


def _planned(cycles: float | None, latency: int | None) -> dict:
    return {
        "cycles_per_step": cycles,
        "cycles_planned": cycles,
        "cycles_simulated": None,
        "latency_cycles": latency,
        "mismatches": None,
        "words_compared": None,
        "simulated": False,
        "planned_on": None,
    }


def _derived(contender: Contender, builds: Builds, stage_lists: StageLists, counted: dict) -> dict:
    """What was counted, and utilisation, rates and times that follow from it."""
    spec, target = contender.spec, contender.target
    macs = step_macs(spec, stage_lists)
    cycles, multipliers = counted["cycles_per_step"], target.multipliers
    fewest, _ = fewest_macs(spec)
    home = contender.home
    record = builds.of(target, board=home)
    clock = home.clock_mhz if home else record["clock_mhz"] if record else None
    step_us = cycles / clock if clock else None
    dense = 4 * spec.hidden * (spec.inputs + spec.hidden)
    latency = counted["latency_cycles"]
    hidden = timing.gate(target, GateOp.STEP, 2).hidden
    return counted | {
        "macs_per_step": macs,
        "utilisation": macs / (multipliers * cycles),
        "efficiency": fewest / (multipliers * cycles),
        "gate_cycles_per_unit": int(hidden[1] - hidden[0]),
        "clock_mhz": clock,
        "fmax_mhz": record["fmax_mhz"] if record else recorded_fmax(home),
        "fmax_of_this_gateware": record["gateware"] == gateware(home) if record else None,
        "step_us": step_us,
        "frames_per_s": 1e6 / step_us if step_us else None,
        "gops": 2e-3 * macs / step_us if step_us else None,
        "gops_dense_equivalent": 2e-3 * dense / step_us if step_us else None,
        "latency_us": latency / clock if clock and latency is not None else None,
    }


def _simulated(output: Output, contender: Contender, stage_lists: StageLists) -> dict:
    """Cycles and mismatches in RTL: of a clip that shows the steady state, and of a lone frame."""
    target = contender.target
    name = f"{contender.name} ({contender.format}) on {target.name}"
    with output.progress(f"{name}: quantising, compiling"):
        bundle = random_bundle(contender, stage_lists)
        image = compile_bundle(bundle, target, streams=contender.streams)
    built = build(target, compiling=output.building(target.name))
    key = hashlib.sha256(built.directory.name.encode())
    for part in (image.stream(), image.order, bundle.clips):
        key.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    kept = CACHE / f"{key.hexdigest()[:20]}.json"
    if (known := read_kept(kept, dict[Text, Plain])) is not None:
        return known
    if contender.streams:
        figures = _streams_measured(output, name, bundle, image, built)
        write_whole(kept, json.dumps(figures).encode())
        return figures
    jobs = [Job(image, bundle.clips), Job(image, bundle.clips[:, :1])]
    with output.progress(f"{name}: simulating {STEPS} steps, then a lone frame", len(jobs)) as advance:
        steady, alone = simulate_jobs(jobs, built=built, progress=advance)
    figures = measured(bundle, image, steady, alone)
    write_whole(kept, json.dumps(figures).encode())
    return figures


def _streams_measured(output: Output, name: str, bundle: Bundle, image: Image, built: Simulator) -> dict:
    """Cycles and mismatches in RTL of the clip on every stream at once.

    Cycles ÷ steps finished, those of all streams counted, from the ends of their rounds.
    """
    streams = image.streams
    frames = in_turn([STEPS] * streams)
    x = np.repeat(bundle.clips[0], streams, axis=0)[None]
    with output.progress(f"{name}: simulating {STEPS} steps of {streams} streams", 1) as advance:
        (result,) = simulate_jobs([Job(image, x, frames=[frames])], built=built, progress=advance)
    ends = sorted(result.step_ends[0])[streams - 1 :: streams]
    cycles = whole(cycles_per_step(ends) / streams)
    predicted = whole(cycles_per_step(step_ends(image.machine.programs, image.target)) / streams)
    texts = list(result.mismatches)
    texts += [f"{cycles} cycles per step, {predicted} predicted"] if cycles != predicted else []
    texts += [
        f"logit {k} of sequence {row} differs from the golden model"
        for row, k in np.argwhere(result.logits != bundle.logits[0]).tolist()
    ]
    return {
        "cycles_per_step": cycles,
        "cycles_simulated": cycles,
        "cycles_planned": predicted,
        "latency_cycles": None,
        "mismatches": len(texts) + result.words_expected - result.words_compared,
        "first_mismatches": texts[:5],
        "words_compared": result.words_compared,
        "simulated": True,
    }


def measured(bundle: Bundle, image: Image, steady: Simulation, alone: Simulation) -> dict:
    """What a simulated clip of STEPS steps and a lone frame show.

    Mismatches are differences to the execution of the program (words and cycles) and to the golden model; of cycles
    also to what was predicted for steady state and latency.
    """
    programs, target = image.machine.programs, image.target
    cycles = cycles_per_step(steady.step_ends[0]) if len(steady.step_ends[0]) == STEPS else None
    predicted, (taken, sent) = cycles_per_step(step_ends(programs, target)), lone_frame(programs, target)
    latency = alone.last_output[0] - alone.last_input[0]
    texts = [*steady.mismatches, *alone.mismatches]
    hidden = steady.hidden[0][-bundle.spec.hidden :]
    texts += [f"h of unit {k} differs from the golden model" for k in np.flatnonzero(hidden != bundle.hidden[0])]
    texts += [f"logit {k} differs from the golden model" for k in np.flatnonzero(steady.logits[0] != bundle.logits[0])]
    for what, seen, expected in (("per step", cycles, predicted), ("of latency", latency, sent - taken)):
        texts += [f"{seen} cycles {what}, {expected} predicted"] if seen != expected else []
    missing = steady.words_expected + alone.words_expected - steady.words_compared - alone.words_compared
    return {
        "cycles_per_step": predicted if cycles is None else cycles,
        "cycles_simulated": cycles,
        "cycles_planned": predicted,
        "latency_cycles": latency,
        "mismatches": len(texts) + missing,
        "first_mismatches": texts[:5],
        "words_compared": steady.words_compared + alone.words_compared,
        "simulated": True,
    }


def random_bundle(contender: Contender, stage_lists: StageLists) -> Bundle:
    """The model with random weights, quantised on a clip of real pictures, which is its golden vector."""
    return drawn_bundle(contender.spec, stage_lists, contender.target, pixels(contender, STEPS)[None])


def drawn_bundle(spec: LSTMSpec, stage_lists: StageLists, target: Target, clips: np.ndarray) -> Bundle:
    """A model with random weights, the same every time, quantised on clips, which are its golden vectors.

    Args:
        clips: raw words, clips × steps × N.
    """
    import torch

    from fdht.model.layers import Classifier
    from fdht.model.quantise import quantise

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(spec).eval()
    bundle, _ = quantise(
        model,
        stage_lists,
        clips,
        np.full(len(clips), -1),
        factor_width=target.factor_width,
        accumulator_width=target.accumulator_width,
        gate=target.gate_formats,
    )
    return bundle


def measure(
    output: Output, contenders: Sequence[Contender], builds: Builds, results: Path, simulate: bool = True
) -> list[dict]:
    """The rows of contenders; each is written to the file of results as soon as it is known."""
    rows = []
    if not contenders:
        return rows
    with output.progress("measuring", len(contenders)) as advance:
        for number, contender in enumerate(contenders):
            advance(number, len(contenders), f"{contender.name} ({contender.format}) on {contender.target.name}")
            if contender.kind == "scaling":
                contender = with_room(contender)
            rows.append(row(output, contender, builds, simulate))
            merge(results, rows[-1:])
    return rows


def with_room(contender: Contender) -> Contender:
    """On the engine itself, or, if the network does not fit that, on one with more memory."""
    try:
        candidates(contender.spec, contender.target)
    except CapacityError:
        return replace(contender, target=roomy(contender.target), board=None)
    return contender


KEY = ("kind", "preset", "format", "target", "streams")


def merge(path: Path, rows: Sequence[dict]) -> None:
    """Puts rows into a file of results, in place of those of the same kind, preset, format, target and streams."""
    if not rows:
        return
    key = lambda r: tuple(str(r.get(name, 1)) for name in KEY)  # noqa: E731
    old = load(path)
    new = {key(r): r for r in rows}
    kept = [new.pop(key(r), r) for r in old]
    store(path, [*kept, *new.values()])


def check(rows: Iterable[dict]) -> None:
    """Raises unless every simulated row agrees with its prediction.

    Raises:
        Mismatch: one does not.
    """
    for r in rows:
        if r.get("mismatches"):
            raise Mismatch(
                f"{r['preset']} ({r['format']}) on {r['target']}: {r['mismatches']} words or cycles differ from the "
                f"prediction; the first: {(r['first_mismatches'] or ['words are missing'])[0]}"
            )


def report(output: Output, rows: Sequence[dict]) -> None:
    """The tables for people."""
    table = [r for r in rows if r["kind"] == "engine"]
    columns = (
        "preset",
        "format",
        "target",
        "streams",
        "factors",
        "MACs",
        "cycles",
        "util.",
        "eff.",
        "reached MHz",
        "MHz",
        "µs",
        "frames/s",
    )
    if table:
        output.table(
            "A step in steady state; cycles in brackets are planned for what does not fit",
            columns,
            [
                (
                    r["preset"],
                    r["format"],
                    r["target"],
                    r.get("streams", 1),
                    r["parameters"],
                    f"{r['macs_per_step']:,}",
                    cycles_text(r),
                    f"{r['utilisation']:.3f}",
                    f"{r['efficiency']:.3f}",
                    rounded(r["fmax_mhz"], 1),
                    rounded(r["clock_mhz"], 1),
                    rounded(r["step_us"], 1),
                    rounded(r["frames_per_s"], 0),
                )
                for r in table
            ],
        )
    scaling = [r for r in rows if r["kind"] == "scaling"]
    if scaling:
        output.table(
            "Cost against the number of inputs",
            ("inputs", "target", "factors", "MACs", "cycles", "simulated", "util."),
            [
                (
                    r["inputs"],
                    r["target"],
                    r["parameters"],
                    f"{r['macs_per_step']:,}",
                    cycles_text(r),
                    r["simulated"],
                    f"{r['utilisation']:.3f}",
                )
                for r in scaling
            ],
        )
    stale = sorted({r["target"] for r in table if r["fmax_of_this_gateware"] is False})
    if stale:
        output.say(
            f"the recorded build of {', '.join(stale)} is of other gateware than this; fdht bench --synth builds anew"
        )
    for r in table:
        if r["refusal"]:
            output.say(f"{r['preset']} ({r['format']}) does not fit {r['target']}: {r['refusal']}")


def cycles_text(r: dict) -> str:
    cycles = f"{r['cycles_per_step']:,g}" if r["cycles_per_step"] < 1e6 else f"{r['cycles_per_step']:,}"
    return cycles if r["fits"] else f"({cycles})"
