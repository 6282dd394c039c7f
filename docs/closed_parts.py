"""Measures what the generic block takes of parts with closed tools, and writes the tables of docs/engines.md.

.venv/bin/python -m docs.closed_parts        measures with Yosys what docs/results/closed.json does not have
.venv/bin/python -m docs.closed_parts --page writes the page from what is kept
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from docs.marked import page_with
from fdht.boards import closed, tools
from fdht.boards.fullness import available
from fdht.boards.parts import CLOSED
from fdht.compiler.planner import candidates
from fdht.hw.shell.axi import NAME, AXIAccelerator
from fdht.model.presets import PRESETS
from fdht.sim.build import convert
from fdht.spec.errors import CapacityError
from fdht.spec.target import PART_TARGETS

PAGE = Path(__file__).with_name("engines.md")
RESULTS = Path(__file__).parent / "results" / "closed.json"
MARKS = "<!-- closed: python -m docs.closed_parts -->", "<!-- end of closed -->"

BOARDS = {"xc7a35t": "Arty A7-35T", "xc7a100t": "Arty A7-100T", "xc7z020": "PYNQ-Z2", "5ceba4": "DE0-CV"}
"""A board that has the part, for people."""


def kept() -> dict[str, dict]:
    """What was measured, by part."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def twin(name: str) -> str:
    """The first part of the family with the same engine, whose netlist is the same."""
    return next(
        other
        for other, engine in PART_TARGETS.items()
        if CLOSED[other].family is CLOSED[name].family and replace(engine, name=name) == PART_TARGETS[name]
    )


def measure(name: str) -> dict:
    """What a part's own engine takes of it, by Yosys."""
    part, engine = closed.engine_in(name)
    made = closed.measure(part, convert(AXIAccelerator(engine), NAME, assertions=False), NAME)
    return {
        "luts": made.luts,
        "ffs": made.ffs,
        **asdict(made.blocks),
        "yosys": tools.version("yosys"),
    }


def cycles() -> dict[str, dict[str, int | float | None]]:
    """Cycles per step of every preset on every part's engine, as planned; None where it does not fit."""
    found: dict[str, dict[str, int | float | None]] = {}
    for name, engine in PART_TARGETS.items():
        found[name] = found[twin(name)] if twin(name) != name else {}
        for preset in PRESETS.values() if twin(name) == name else ():
            try:
                found[name][preset.name] = candidates(preset.spec, engine)[0].cycles
            except CapacityError:
                found[name][preset.name] = None
    return found


def tables(measured: dict[str, dict]) -> str:
    """The table of parts."""
    versions = dict.fromkeys(" ".join(each["yosys"].split()[:2]) for each in measured.values())
    lines = [
        f"After synthesis by {', '.join(versions) or 'none'}; in brackets the share of the part:",
        "",
        "| part | a board with it | target | array | LUTs | flip-flops | multipliers | predicted | block RAMs | "
        "predicted |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, engine in PART_TARGETS.items():
        predicted = closed.resources(CLOSED[name], engine)
        cells = (
            CLOSED[name].name,
            BOARDS[name],
            f"`{name}`",
            f"{engine.rows} × {engine.columns}",
            *(share(name, kind, measured) for kind in ("luts", "ffs", "multipliers")),
            f"{predicted.multipliers:,}",
            share(name, "block_rams", measured),
            f"{predicted.block_rams:,}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def share(name: str, kind: str, measured: dict[str, dict]) -> str:
    """How many of a kind a part's engine takes, and which share of the part that is."""
    if twin(name) not in measured:
        return "not measured"
    takes = measured[twin(name)][kind]
    return f"{takes:,} ({100 * takes / available(CLOSED[name])[kind]:.0f} %)"


def presets(planned: dict[str, dict[str, int | float | None]]) -> str:
    """The table of cycles per step."""
    names = list(next(iter(planned.values())))
    lines = ["| target | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, each in planned.items():
        numbers = ("–" if each[preset] is None else f"{each[preset]:,}" for preset in names)
        lines.append(f"| `{name}` | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def page() -> str:
    """The page with the tables of what is kept."""
    found = kept()
    both = tables(found["parts"]), "Cycles per step, as planned:", presets(found["cycles"])
    return page_with(PAGE, MARKS, *both)


if __name__ == "__main__":
    if "--page" not in sys.argv:
        results = kept() or {"parts": {}, "cycles": cycles()}
        for each in sorted(PART_TARGETS, key=lambda name: PART_TARGETS[name].multipliers):
            if each == twin(each) and each not in results["parts"]:
                results["parts"][each] = measure(each)
                RESULTS.write_text(json.dumps(results, indent=2) + "\n")
                print(each, results["parts"][each], flush=True)
    PAGE.write_text(page())
