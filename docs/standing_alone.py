"""How long boards take to load themselves, and where their flashes have what: writes the tables of standing-alone.md.

.venv/bin/python -m docs.standing_alone        compiles the presets (minutes), keeps docs/results/standing-alone.json
.venv/bin/python -m docs.standing_alone --page writes the page from what is kept
"""

import json
import sys
from pathlib import Path

import numpy as np

from docs.marked import page_with
from fdht.boards import BOARDS
from fdht.boards.board import Board
from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import plan as plan_step
from fdht.model.presets import PRESETS
from fdht.spec.errors import CapacityError
from fdht.spec.flash import STRIDE, load_cycles, plan, slot_bytes
from fdht.spec.target import MOST_SLOTS, Standalone, Target
from fdht.studies.bench import drawn_bundle

PAGE = Path(__file__).with_name("standing-alone.md")
RESULTS = Path(__file__).parent / "results" / "standing-alone.json"
MARKS = "<!-- times: python -m docs.standing_alone -->", "<!-- end of times -->"
STEPS = 2

FLASHES = {name: board for name, board in BOARDS.items() if board.flash is not None}


def slot(preset: str, target: Target) -> bytes | None:
    """A slot with a preset, its weights drawn; None if it does not fit."""
    spec = PRESETS[preset].spec
    try:
        stage_lists = plan_step(spec, target)
    except CapacityError:
        return None
    clips = np.random.default_rng(0).integers(0, 256, (1, STEPS, spec.inputs))
    bundle = drawn_bundle(spec, stage_lists, target, clips)
    return slot_bytes(compile_bundle(bundle, target).stream().astype("<u2").tobytes(), target)


def row(board: Board, preset: str, held: bytes) -> dict:
    """What a slot takes on a board."""
    assert board.flash is not None
    cycles = load_cycles(held, plan(Standalone(), board.flash.slots_at, board.clock_hz))
    return {"board": board.name, "preset": preset, "bytes": len(held), "load_ms": 1000 * cycles / board.clock_hz}


def measured() -> list[dict]:
    """The rows of all boards that have a flash."""
    slots: dict[tuple[str, str], bytes | None] = {}
    rows = []
    for board in FLASHES.values():
        for preset in PRESETS:
            key = board.target, preset
            if key not in slots:
                slots[key] = slot(preset, board.engine)
            if (held := slots[key]) is not None:
                rows.append(row(board, preset, held))
                print(rows[-1], flush=True)
    return rows


def tables(rows: list[dict]) -> str:
    """Both tables, as the page has them."""
    presets = [preset for preset in PRESETS if any(row["preset"] == preset for row in rows)]
    lines = [
        f"| board | clock of the flash, MHz | {' | '.join(presets)} |",
        f"|---|---|{'---|' * len(presets)}",
    ]
    for board in FLASHES.values():
        assert board.flash is not None
        half = plan(Standalone(), board.flash.slots_at, board.clock_hz).half
        of = {row["preset"]: row for row in rows if row["board"] == board.name}
        cells = [
            f"{of[preset]['load_ms']:.0f} ms ({of[preset]['bytes'] / 1024:.0f} KiB)" if preset in of else "–"
            for preset in presets
        ]
        lines.append(f"| {board.name} | {board.clock_mhz / (2 * half):.1f} | {' | '.join(cells)} |")
    lines += [
        "",
        "| board | bitstream from | slot 0 from | slots end, at most, at | slot 1 in its place |",
        "|---|---|---|---|---|",
    ]
    for board in FLASHES.values():
        flash = board.flash
        assert flash is not None
        end = flash.slots_at + MOST_SLOTS * STRIDE
        held = "–" if flash.button is None else f"`{flash.button[0]}` {flash.button[1]} held"
        lines.append(f"| {board.name} | {flash.bitstream_at:#x} | {flash.slots_at:#x} | {end:#x} | {held} |")
    return "\n".join(lines)


def page() -> str:
    """The page with the tables of what is kept."""
    return page_with(PAGE, MARKS, tables(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    if "--page" not in sys.argv:
        RESULTS.write_text(json.dumps(measured(), indent=2) + "\n")
    PAGE.write_text(page())
