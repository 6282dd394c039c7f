"""Measures what parts of boards' engines take, and writes the tables of docs/engines.md.

.venv/bin/python -m docs.prices        measures with Yosys what docs/results/prices.json does not have: half a minute a
                                       row; all rows of a board whose baseline is not what it was
.venv/bin/python -m docs.prices --page writes the page from what is kept
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from docs.marked import page_with
from fdht.boards import find_board, tools
from fdht.boards.baseline import load
from fdht.boards.board import Board
from fdht.boards.synthesis import measure
from fdht.boards.top import BoardTop
from fdht.spec.costs import Resources
from fdht.spec.gate_schedule import REGISTERED
from fdht.spec.target import ALL, Features, Levels, Standalone

BOARD, ECP5_BOARD = "icebreaker", "orangecrab-25f"
PAGE = Path(__file__).with_name("engines.md")
RESULTS = Path(__file__).parent / "results" / "prices.json"
MARKS = "<!-- prices: python -m docs.prices -->", "<!-- end of prices -->"

Change = Callable[[Board], Board]


def engine(**fields: Any) -> Change:
    """Another engine on the board."""
    return lambda board: replace(board, engine=replace(board.engine, **fields))


def features(**fields: bool) -> Change:
    """The engine with other features."""
    return part("build", features=Features(**fields))


def part(name: str, **fields: Any) -> Change:
    """The engine with other fields of one of its records."""
    return lambda board: engine(**{name: replace(getattr(board.engine, name), **fields)})(board)


CONTAINS: dict[str, tuple[str, Change]] = {
    "counters of cycles, stalls and saturations": ("`build.features.counters`", features(counters=False)),
    "initial h and c from the host": ("`build.features.initial_state`", features(initial_state=False)),
    "the look for collisions": ("`build.features.collision`", features(collision=False)),
    "these three together": ("", features(**dict.fromkeys(asdict(ALL), False))),
    "the SPI port": ("`spi_mhz` of the board", lambda board: replace(board, spi_mhz=None)),
    "the fourth nested loop of the array's reads": ("`levels.read` = 4", part("levels", read=3)),
    "the fourth nested loop of its results": ("`levels.write` = 4", part("levels", write=3)),
    "the fourth nested loop of the loader": ("`levels.x` = 4", part("levels", x=3)),
    "rows 5 to 8 of the array": ("`rows` = 8", engine(rows=4)),
    "iterations of a loop up to 4,096, not 256": ("`count_width` = 12", engine(count_width=8)),
    "half of the hidden units": ("`hidden` = 256", engine(hidden=128)),
    "half of the factor memory": ("`factor_words` = 512", engine(factor_words=256)),
    "half of the result memory": ("`result_words` = 1024", engine(result_words=512)),
}
"""What the engine has, the field that says so, and the board without it."""

INSTEAD: dict[str, tuple[str, Change]] = {
    "a registered gate unit": ("`pipeline.gate` = REGISTERED", part("pipeline", gate=REGISTERED)),
    "instructions fetched ahead": ("`pipeline.prefetch`", part("pipeline", prefetch=True)),
    "address generators in two cycles": ("`pipeline.address` = 2", part("pipeline", address=2)),
    "raw inputs of 16 bits": ("`input_width` = 16", engine(input_width=16)),
    "factors of 16 bits": ("`factor_width` = 16", engine(factor_width=16)),
    "a data path of 12 bits": ("`data_width` = 12", engine(data_width=12)),
    "512 hidden units": ("`hidden` = 512", engine(hidden=512)),
    "512 words of each program": ("`program_words` = 512", engine(program_words=512)),
    "1,024 words of factors": ("`factor_words` = 1024", engine(factor_words=1024)),
    "counts of what each stage clips": ("`build.features.tallies`", features(tallies=True)),
    "images from a flash, 2 slots": ("`build.standalone`", part("build", standalone=Standalone())),
    "the same and a watchdog": ("`watchdog_ms` = 1000", part("build", standalone=Standalone(watchdog_ms=1000))),
    "six nested loops everywhere": ("`levels`", engine(levels=Levels.each(6))),
}
"""What can be asked for instead, the field that asks, and the board with it."""

CHANGES = {
    BOARD: CONTAINS | INSTEAD,
    ECP5_BOARD: {name: INSTEAD[name] for name in ("counts of what each stage clips", "images from a flash, 2 slots")},
}
"""What is measured, by board."""


def measure_all() -> None:
    """By how much each change moves LUTs, flip-flops, block RAMs and SPRAMs from those of the board's baseline; kept at
    once.

    Raises:
        ToolError: the baseline is by another Yosys.
    """
    for name, changes in CHANGES.items():
        board, before = find_board(name), kept().get(name, {})
        recorded = load(board)
        if (yosys := tools.version("yosys")) != recorded["tools"]["yosys"]:
            raise tools.ToolError(f"{name} was built by {recorded['tools']['yosys']}, not by {yosys}; build it anew")
        whole = {kind: recorded[kind] for kind in ("luts", "ffs", *(each.name for each in fields(Resources)))}
        same = before.get("engine") == whole and before.get("yosys") == yosys
        moved = {row: before["changes"][row] for row in changes if same and row in before["changes"]}
        for row, (_, change) in changes.items():
            if row not in moved:
                changed = counts(change(board))
                moved[row] = {kind: changed[kind] - whole[kind] for kind in whole}
                print(name, row, moved[row], flush=True)
                in_order = {row: moved[row] for row in changes if row in moved}
                found = kept() | {name: {"yosys": yosys, "engine": whole, "changes": in_order}}
                RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def kept() -> dict[str, Any]:
    """What is kept, by board."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def counts(board: Board) -> dict[str, int]:
    """What the board's design takes, by Yosys, also where the part has too little."""
    netlist = measure(board, BoardTop(board))
    return {"luts": netlist.luts, "ffs": netlist.ffs, **asdict(netlist.blocks)}


def tables(kept: dict[str, Any]) -> str:
    """The tables, as the page has them."""
    whole, moved = kept[BOARD]["engine"], kept[BOARD]["changes"]
    head = "field, set to | LUTs | flip-flops | multipliers | block RAMs |"
    lines = [
        f"The whole design, host link included, takes {whole['luts']:,} LUTs, {whole['ffs']:,} flip-flops, "
        f"{whole['multipliers']} multipliers, "
        f"{whole['block_rams']} block RAMs and {whole['sprams']} SPRAMs, after Yosys.",
        "",
        "| it contains | field, as shipped | without it: LUTs | flip-flops | multipliers | block RAMs |",
        "|---|---|---|---|---|---|",
        *(_row(name, field, moved[name]) for name, (field, _) in CONTAINS.items()),
        "",
        f"| instead it can have | {head}",
        "|---|---|---|---|---|---|",
        *(_row(name, field, moved[name]) for name, (field, _) in INSTEAD.items()),
        "",
        f"| on ECP5 (`{ECP5_BOARD}`) | {head}",
        "|---|---|---|---|---|---|",
        *(_row(name, field, kept[ECP5_BOARD]["changes"][name]) for name, (field, _) in CHANGES[ECP5_BOARD].items()),
    ]
    return "\n".join(lines)


def _row(name: str, field: str, moved: dict[str, int]) -> str:
    cells = " | ".join(
        f"{moved[kind]:+,}" if moved[kind] else "0" for kind in ("luts", "ffs", "multipliers", "block_rams")
    )
    return f"| {name} | {field} | {cells.replace('-', '−')} |"


def page() -> str:
    """The page with the tables of what is kept."""
    return page_with(PAGE, MARKS, tables(kept()))


if __name__ == "__main__":
    if "--page" not in sys.argv:
        measure_all()
    PAGE.write_text(page())
