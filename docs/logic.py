"""Measures the LUTs and flip-flops of engines of all sizes, and fits the coefficients of `fdht.spec.costs.logic`.

.venv/bin/python -m docs.logic        measures with Yosys (a minute each) what docs/results/logic.json does not have
.venv/bin/python -m docs.logic --fit  prints the coefficients
.venv/bin/python -m docs.logic --page writes the tables of docs/engines.md: predictions beside what is kept
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np

from docs import prices
from docs.marked import page_with
from fdht.boards import find_board
from fdht.boards.baseline import load
from fdht.boards.board import Board
from fdht.boards.catalogue import BOARDS
from fdht.boards.synthesis import measure
from fdht.explore.space import resized
from fdht.spec.costs import Prices, counts
from fdht.spec.pipeline import COMPACT, PIPELINED, Pipeline
from fdht.spec.target import ALL, Features, Levels, Technology

PAGE = Path(__file__).with_name("engines.md")
RESULTS = Path(__file__).parent / "results" / "logic.json"
MARKS = "<!-- logic: python -m docs.logic -->", "<!-- end of logic -->"

KINDS = {"luts": "LUTs", "ffs": "flip-flops"}

BARE = Features(counters=False, initial_state=False, collision=False)

ENOUGH = 8
"""Engines of a family that must be measured before it gets coefficients."""

SLACK = 0.01
"""How much a coefficient that no engine tells is drawn to zero."""


@dataclass(frozen=True)
class Case:
    """An engine to be measured: a board's own with another array and other widths.

    Attributes:
        banks: as many of the board's own, with all other memories as deep as there; None: memories of as many
            bits as there.
        spi: with the board's SPI port, if it has one.
    """

    board: str
    rows: int
    columns: int
    data_width: int = 16
    factor_width: int = 16
    features: Features = ALL
    levels: int | None = None
    banks: int | None = None
    spi: bool = True

    @property
    def name(self) -> str:
        banks = "" if self.banks is None else f", {self.banks} banks"
        levels = "" if self.levels is None else f", {self.levels} levels"
        features = "" if self.features == ALL else ", no features"
        widths = f"{self.factor_width}/{self.data_width}"
        spi = "" if self.spi else ", no SPI"
        return f"{self.board}, {self.rows} × {self.columns}, {widths}{banks}{levels}{features}{spi}"

    @property
    def on_board(self) -> Board:
        board = find_board(self.board)
        array = {"rows": self.rows, "columns": self.columns}
        widths = {"data_width": self.data_width, "factor_width": self.factor_width}
        if self.banks is None:
            engine = resized(board, **array, **widths)
        else:
            lanes = 1 if board.engine.input_lanes == 1 else self.columns
            engine = replace(board.engine, name="", **array, **widths, banks=self.banks, input_lanes=lanes)
        levels = engine.levels if self.levels is None else Levels.each(self.levels)
        build = replace(engine.build, features=self.features, pinned=False)
        engine = replace(engine, build=build, levels=levels)
        return replace(board, engine=engine, spi_mhz=board.spi_mhz if self.spi else None)


CASES = (
    # the smallest first, so that an interrupted run leaves what is quick
    Case("icebreaker", 2, 1, 12, 8),
    Case("icebreaker", 5, 1),
    Case("icebreaker", 4, 2, factor_width=12),
    Case("icebreaker", 2, 2, 12, 12),
    Case("icebreaker", 3, 2, features=BARE),
    Case("icebreaker", 6, 1, 14, 12, spi=False),
    Case("tangnano9k", 4, 1, 16, 8, BARE, 4),
    Case("tangnano9k", 8, 1, 10, 10, banks=2),
    Case("tangnano9k", 8, 2, 12, 12),
    Case("tangnano9k", 2, 3, 16, 12, banks=2),
    Case("tangnano20k", 4, 2),
    Case("tangnano20k", 8, 1, 12, 12),
    Case("tangnano20k", 16, 2, 14, 14, banks=8),
    Case("tangnano20k", 4, 4, banks=6),
    Case("tangnano20k", 2, 6, 12, 12, BARE, 3, banks=4),
    Case("tangnano20k", 2, 8, 12, 12, banks=3),
    Case("tangnano20k", 4, 8, banks=4),
    Case("orangecrab-25f", 2, 2, 14, 8, BARE, 4),
    Case("orangecrab-25f", 4, 1, 12, 12, banks=2),
    Case("orangecrab-25f", 4, 2),
    Case("orangecrab-25f", 2, 4, 12, 12),
    Case("orangecrab-25f", 12, 1, 16, 18),
    Case("orangecrab-25f", 4, 4, 18, 18, banks=3),
    Case("orangecrab-25f", 1, 6, 10, 12, BARE, 3, banks=4),
    Case("orangecrab-25f", 24, 1, 12, 12, banks=4),
    Case("orangecrab-25f", 2, 7, 14, 16, banks=2),
    Case("orangecrab-25f", 3, 8, banks=2),
    Case("orangecrab-25f", 8, 3, 14, 16),
)


@dataclass(frozen=True)
class Measured:
    """A board's design, with what Yosys made of it."""

    name: str
    board: Board
    luts: int
    ffs: int

    @cached_property
    def counts(self) -> dict[str, float]:
        return counts(self.board.engine, spi=self.board.spi_mhz is not None)


def measured() -> Iterator[Measured]:
    """All engines that were measured whose pipeline is their family's, and nothing beside them: here, for
    docs/engines.md, and for baselines.
    """
    for board in BOARDS.values():
        build = load(board)
        yield Measured(board.name, board, build["luts"], build["ffs"])
    for board_name, kept in json.loads(prices.RESULTS.read_text()).items():
        for name, moved in kept["changes"].items():
            board = prices.CHANGES[board_name][name][1](find_board(board_name))
            build = board.engine.build
            beside = build.standalone is not None or build.features.tallies
            if board.engine.pipeline in (COMPACT, PIPELINED) and not beside:
                luts, ffs = (kept["engine"][kind] + moved[kind] for kind in ("luts", "ffs"))
                yield Measured(f"{board_name}: {name}", board, luts, ffs)
    found = kept_here()
    for case in CASES:
        if case.name in found:
            yield Measured(case.name, case.on_board, found[case.name]["luts"], found[case.name]["ffs"])


def kept_here() -> dict[str, dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def measure_cases() -> None:
    """Measures what is not kept yet, and keeps it at once."""
    for case in CASES:
        kept = kept_here()
        if case.name in kept:
            continue
        before = getrusage(RUSAGE_CHILDREN)
        made = measure(case.on_board)
        after = getrusage(RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        kept[case.name] = {"luts": made.luts, "ffs": made.ffs, "seconds": round(seconds)}
        RESULTS.write_text(json.dumps(kept, indent=2) + "\n")
        print(case.name, kept[case.name], flush=True)


def fit(engines: list[Measured], kind: str) -> Prices:
    """The coefficients that predict LUTs, or flip-flops, with the least relative errors, none of them negative."""
    names = [field.name for field in fields(Prices)]
    there = np.array([[each.counts[name] for name in names] for each in engines])
    wanted = np.array([getattr(each, kind) for each in engines], dtype=float)
    scale = np.abs(there).max(axis=0)
    active = [k for k in range(len(names)) if scale[k] > 0]
    while True:
        rows = there[:, active] / scale[active] / wanted[:, None]
        slack = SLACK * np.eye(len(active)) / wanted.mean()
        found = np.linalg.lstsq(
            np.vstack([rows, slack]), np.concatenate([np.ones(len(wanted)), np.zeros(len(active))]), rcond=None
        )[0]
        if (found >= 0).all():
            break
        active.pop(int(found.argmin()))
    return Prices(**{names[k]: float(f"{value / scale[k]:.4g}") for k, value in zip(active, found, strict=True)})


def predicted(coefficients: Prices, each: Measured) -> float:
    return sum(each.counts[name] * price for name, price in vars(coefficients).items())


def families() -> dict[tuple[Technology, Pipeline], list[Measured]]:
    """The engines that were measured, by technology and pipeline."""
    found: dict[tuple[Technology, Pipeline], list[Measured]] = {}
    for each in measured():
        found.setdefault((each.board.technology, each.board.engine.pipeline), []).append(each)
    return found


@dataclass(frozen=True)
class Compared:
    """LUTs, or flip-flops, of an engine: relative errors of predictions with the engine in the fit, and without it (and
    without those that have as much of everything, as boards with one engine do).
    """

    predicted: float
    error: float
    left_out: float


def compared(engines: list[Measured], kind: str) -> list[Compared]:
    """Predictions for engines of a family beside their measurements."""
    whole = fit(engines, kind)
    found: list[Compared] = []
    for each in engines:
        others = fit([other for other in engines if other.counts != each.counts], kind)
        is_, says = getattr(each, kind), predicted(whole, each)
        found.append(Compared(says, says / is_ - 1, predicted(others, each) / is_ - 1))
    return found


def tables() -> str:
    """How good predictions are, by family and by engine; of changes of one field (docs/prices.py) only by family."""
    summary = [
        "| family | engines | columns | most off: LUTs | flip-flops | left out: LUTs | flip-flops |",
        "|---|---|---|---|---|---|---|",
    ]
    lines = [
        "| engine | LUTs | predicted | | left out | flip-flops | predicted | | left out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (technology, _), engines in families().items():
        both = {kind: compared(engines, kind) for kind in KINDS}
        distinct = len({tuple(each.counts.values()) for each in engines})
        worst = (
            f"{100 * max(abs(getattr(each, error)) for each in both[kind]):.1f} %"
            for error in ("error", "left_out")
            for kind in KINDS
        )
        columns = max(each.board.engine.columns for each in engines)
        summary.append(f"| {technology.value} | {distinct} | up to {columns} | {' | '.join(worst)} |")
        for k, each in enumerate(engines):
            if ": " in each.name:
                continue
            cells = (
                f"{getattr(each, kind):,} | {of[k].predicted:,.0f} | {100 * of[k].error:+.1f} % | "
                f"{100 * of[k].left_out:+.1f} %"
                for kind, of in both.items()
            )
            lines.append(f"| {each.name} | {' | '.join(cells)} |")
    return "\n".join((*summary, "", *lines))


def page() -> str:
    """The page with the tables of what is kept."""
    return page_with(PAGE, MARKS, tables())


if __name__ == "__main__":
    if "--fit" in sys.argv:
        for (technology, _), engines in families().items():
            print(f"\n{technology.value}: {len(engines)} engines")
            if len(engines) < ENOUGH:
                print(f"too few; {ENOUGH} are needed")
                continue
            for kind in KINDS:
                print(kind, fit(engines, kind))
    else:
        if "--page" not in sys.argv:
            measure_cases()
        PAGE.write_text(page())
