"""Pictures of the benchmark: a step over time, the array's floor plan, cost against the number of inputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from fdht.boards.lfe5u_85f import SITES, multiplier_site
from fdht.compiler.assembler import HEAD, contractions
from fdht.compiler.pace import STEPS, WARM_UP, step_ends
from fdht.compiler.planner import Way, candidates
from fdht.compiler.schedule import schedule
from fdht.console import Output
from fdht.drawing import COLOURS, GATES, IDLE, READ, WRITE, H, X, plain, write
from fdht.spec.errors import CapacityError
from fdht.spec.instructions import GateOp, LoaderOp, Segment
from fdht.spec.target import Target
from fdht.studies.contenders import Contender
from fdht.studies.measurements import load
from fdht.workflow.timeline import UNITS, accesses, at_work

DRAWN = ("ucf11", "faces-rgb")
"""Presets whose step is drawn: the first there is."""


def draw(output: Output, folder: Path, presets: Sequence[str], rows: Sequence[Contender]) -> list[Path]:
    """Draws what can be drawn of rows of the table into a folder; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    every = [c for c in rows if c.format == "ht"]
    names = {c.name for c in every}
    wanted = presets or [name for name in DRAWN if name in names][:1]
    files = []
    for contender in (c for c in every if c.name in wanted):
        try:
            way = candidates(contender.spec, contender.target)[0].ways[0]
        except CapacityError as error:
            output.say(f"the step of {contender.name} on {contender.target.name} is not drawn: {error}")
            continue
        path = folder / f"step-{contender.name}-{contender.target.name}.png"
        write(step(contender, way), path)
        files.append(path)
    for target in {c.target.name: c.target for c in every if c.target.build.pinned}.values():
        files.append(folder / f"floor-plan-{target.name}.png")
        write(floor_plan(target), files[-1])
    results = folder / "bench.json"
    scaling = [r for r in load(results) if r["kind"] == "scaling"]
    if len(scaling) > 1:
        files.append(folder / "cost-against-n.png")
        write(cost(scaling), files[-1])
    else:
        output.say("no rows for cost against N yet; fdht bench --part scaling measures them")
    for path in files:
        output.drew(path)
        output.say(f"drew {path} ({path.stat().st_size // 1000} kB)")
    return files


@dataclass
class Activity:
    """What happens in a window of cycles.

    Attributes:
        spans: per unit (first cycle, cycles, colour, label) of each piece of work.
        reads, writes: per bank, then the result memory's, in how many cycles of the window it is accessed, cycle by
            cycle.
    """

    spans: dict[str, list[tuple[int, int, str, str]]] = field(default_factory=dict)
    reads: dict[str, np.ndarray] = field(default_factory=dict)
    writes: dict[str, np.ndarray] = field(default_factory=dict)


def activity(contender: Contender, way: Way, first: int, last: int) -> Activity:
    """What every unit and every memory does from cycle `first` to `last`, from the machine's schedule."""
    target, programs = contender.target, way.programs
    works = contractions(way.step)
    tiles = {}
    for work in works:
        tiles.setdefault(work.of, []).append(work)
    label = {}
    for work, instruction in zip(works, programs[Segment.ARRAY_PROGRAM], strict=True):
        many, number = len(tiles[work.of]) > 1, next(k for k, w in enumerate(tiles[work.of]) if w is work)
        label[id(instruction)] = work.of, f"{work.of[1]}" + (f"·{number + 1}" if many else "")
    executed = schedule(programs, target, STEPS)
    seen = accesses(executed, target, first, last)
    result = Activity({"input": [], "array": [], "gate unit": []}, seen.reads, seen.writes)
    for unit, _, instruction, start, done in executed:
        if done < first or start >= last:
            continue
        begins, cycles = at_work(unit, instruction, start, done, target)
        if unit is Segment.ARRAY_PROGRAM:
            of, text = label[id(instruction)]
            colour = "#999999" if of == HEAD else COLOURS[of[1] % len(COLOURS)]
        elif unit is Segment.LOADER_PROGRAM:
            colour, text = (H, "h") if instruction["op"] == LoaderOp.COPY else (X, "x")
        elif instruction["op"] == GateOp.STEP:
            colour, text = GATES, "cell update"
        else:
            continue
        result.spans[UNITS[unit]].append((begins, cycles, colour, text))
    return result


def step(contender: Contender, way: Way) -> Figure:
    """One step in steady state, from the last h of the step before to its own last h."""
    target = contender.target
    ends = step_ends(way.programs, target)
    first, last = ends[WARM_UP] + 1, ends[WARM_UP + 1] + 1
    seen = activity(contender, way, first, last)
    lines = [*seen.spans, *seen.reads]
    figure = Figure(figsize=(11, 0.42 * len(lines) + 1.9), layout="constrained")
    axes = figure.add_subplot()
    for y, name in enumerate(seen.spans):
        for start, cycles, colour, text in seen.spans[name]:
            left, right = max(start, first) - first, min(start + cycles, last) - first
            if right > left:
                axes.add_patch(
                    Rectangle((left, y - 0.36), right - left, 0.72, facecolor=colour, edgecolor="white", lw=0.5)
                )
                if right - left > 0.012 * len(text) * (last - first):
                    axes.text((left + right) / 2, y, text, ha="center", va="center", color="white", fontsize=8)
    for y, name in enumerate(seen.reads, len(seen.spans)):
        for kind, colour, offset in ((seen.reads, READ, -0.36), (seen.writes, WRITE, 0.02)):
            _strip(axes, kind[name], y + offset, colour)
    busy = sum(max(0, min(a + cycles, last) - max(a, first)) for a, cycles, *_ in seen.spans["array"])
    axes.set_xlim(0, last - first)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_yticks(range(len(lines)), lines)
    axes.set_xlabel("cycles since the last h word of the step before")
    axes.xaxis.set_major_formatter(lambda cycle, _: f"{cycle:,.0f}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(
        f"{contender.name} on {target.name}: one step of {last - first:,} cycles, the array fed in {busy:,}",
        loc="left",
        fontsize=11,
    )
    listed = way.step.chains
    order = [(c, s, stage) for c, chain in enumerate(listed) for s, stage in enumerate(chain.stages)]
    handles = [Patch(color=COLOURS[s % len(COLOURS)], label=f"{s}: {'∘'.join(stage.factors)}") for _, s, stage in order]
    handles += [Patch(color=X, label="inputs"), Patch(color=H, label="h to its place")]
    handles += [Patch(color=READ, label="reads"), Patch(color=WRITE, label="writes")]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), fontsize=8, frameon=False)
    return figure


def _strip(axes, active: np.ndarray, bottom: float, colour: str, height: float = 0.34) -> None:
    """In how many cycles of each of 800 parts of the window a memory is accessed, as a strip of that opacity."""
    edges = np.linspace(0, len(active), min(800, len(active)) + 1).astype(int)
    axes.add_patch(Rectangle((0, bottom), len(active), height, facecolor=IDLE, lw=0))
    for left, right in pairwise(edges):
        share = active[left:right].mean()
        if share > 0:
            box = Rectangle((left, bottom), right - left, height, facecolor=colour, alpha=0.15 + 0.85 * share, lw=0)
            axes.add_patch(box)


def floor_plan(target: Target) -> Figure:
    """The places of the array's multipliers on the part, one colour per column of the array."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.add_subplot()
    palette = [*COLOURS, "#555555"]

    def box(columns: int, row: int, column: int, colour: str) -> tuple[int, int]:
        x, y = (int(part[1:]) for part in multiplier_site(columns, row, column).split("/")[:2])
        axes.add_patch(Rectangle((x - 0.45, y - 3), 0.9, 6, facecolor=colour, edgecolor="white", lw=0.4))
        return x, y

    for row in range(target.rows):
        for column in range(SITES):
            box(SITES, row, column, IDLE)
    for row in range(target.rows):
        for column in range(target.columns):
            x, y = box(target.columns, row, column, palette[column % len(palette)])
            axes.text(x, y + (4.8 if x % 2 else -4.8), f"{row}", ha="center", va="center", fontsize=6.5)
    lines = sorted({int(multiplier_site(target.columns, 0, c).split("/")[1][1:]) for c in range(target.columns)})
    axes.set_xlim(0, 114)
    axes.set_ylim(68, 0)
    axes.set_yticks(lines, [f"Y{y}" for y in lines])
    axes.set_xlabel("X, tiles of the part")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{target.name}: {target.rows} × {target.columns} multipliers in the three DSP rows of an LFE5U-85F; "
        "numbers are rows of the array",
        loc="left",
        fontsize=11,
    )
    handles = [Patch(color=palette[c % len(palette)], label=f"column {c}") for c in range(target.columns)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def cost(rows: Sequence[dict]) -> Figure:
    """Cycles per step and multiplications against the number of inputs, the dense LSTM's beside them."""
    rows = sorted(rows, key=lambda r: r["inputs"])
    inputs = np.array([r["inputs"] for r in rows])
    cycles = np.array([r["cycles_per_step"] for r in rows])
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.add_subplot()
    multipliers, hidden = rows[0]["multipliers"], rows[0]["hidden"]
    dense = 4 * hidden * (inputs + hidden) / multipliers
    axes.plot(inputs, dense, color="#999999", ls="--", label="dense LSTM, multipliers never idle")
    axes.plot(
        inputs, [r["macs_per_step"] / multipliers for r in rows], color=COLOURS[0], ls=":", label="HT, never idle"
    )
    axes.plot(inputs, cycles, color=COLOURS[0], label="HT, planned")
    for simulated, marker, label in ((True, "o", "HT, simulated in RTL"), (False, "none", "")):
        chosen = [k for k, r in enumerate(rows) if bool(r["simulated"]) == simulated]
        if label and chosen:
            axes.plot(inputs[chosen], cycles[chosen], marker=marker, ls="none", color=COLOURS[0], label=label)
    larger = [k for k, r in enumerate(rows) if "more memory" in r["target"]]
    if larger:
        axes.plot(
            inputs[larger], cycles[larger], marker="s", ls="none", mfc="white", color=COLOURS[0],
            label="HT, on an engine with more memory",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(inputs, [f"{n >> 10} k" if n < 1 << 20 else f"{n >> 20} M" for n in inputs])
    axes.set_xlabel("inputs")
    axes.set_ylabel("cycles per step")
    plain(axes)
    axes.set_title(f"A step of {hidden} hidden units on {multipliers} multipliers", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure
