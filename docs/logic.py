"""Measures the LUTs and flip-flops of engines of all sizes, and fits the coefficients of `fdht.spec.costs.logic`.

.venv/bin/python -m docs.logic        measures with Yosys (a minute each) what docs/results/logic.json does not have
.venv/bin/python -m docs.logic --fit  prints the coefficients, and each prediction beside its measurement
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np

from docs import prices
from fdht.boards import find_board
from fdht.boards.baseline import load
from fdht.boards.board import Board
from fdht.boards.catalogue import BOARDS
from fdht.boards.synthesis import measure
from fdht.explore.space import engine_for
from fdht.spec.costs import Prices, counts
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.target import USUAL, Features, Levels

RESULTS = Path(__file__).parent / "results" / "logic.json"

BARE = Features(counters=False, initial_state=False, collision=False)

ENOUGH = 8
"""Engines of a family that must be measured before it gets coefficients."""

SLACK = 0.01
"""How much a coefficient that no engine tells is drawn to zero."""


@dataclass(frozen=True)
class Case:
    """An engine to be measured: a board's own with another array and other widths, as fdht explore makes it."""

    board: str
    rows: int
    columns: int
    data_width: int = 16
    factor_width: int = 16
    features: Features = USUAL
    levels: int | None = None

    @property
    def name(self) -> str:
        levels = "" if self.levels is None else f", {self.levels} levels, no features"
        return f"{self.board}, {self.rows} × {self.columns}, {self.factor_width}/{self.data_width}{levels}"

    @property
    def on_board(self) -> Board:
        board = find_board(self.board)
        engine = engine_for(board, self.rows, self.columns, self.data_width, self.factor_width)
        levels = engine.levels if self.levels is None else Levels.each(self.levels)
        engine = replace(engine, build=replace(engine.build, features=self.features), levels=levels)
        return replace(board, engine=engine)


CASES = (
    Case("icebreaker", 4, 2, factor_width=12),
    Case("icebreaker", 2, 1, 12, 8),
    Case("tangnano9k", 8, 2, 12, 12),
    Case("tangnano20k", 4, 2),
    Case("orangecrab-25f", 4, 2),
    Case("icebreaker", 5, 1),
    Case("orangecrab-25f", 2, 4, 12, 12),
    Case("tangnano20k", 8, 1, 12, 12),
    Case("icebreaker", 1, 4, 16, 8),
    Case("orangecrab-25f", 12, 1, 16, 18),
    Case("tangnano20k", 4, 8),
    Case("orangecrab-25f", 3, 8),
    Case("orangecrab-25f", 2, 2, 14, 8, BARE, 4),
    Case("tangnano9k", 4, 1, 16, 8, BARE, 4),
    Case("ulx3s-85f", 8, 4),
)


@dataclass(frozen=True)
class Measured:
    """A board's design, with what Yosys made of it."""

    name: str
    board: Board
    luts: int
    ffs: int

    @property
    def counts(self) -> dict[str, float]:
        return counts(self.board.engine, spi=self.board.spi_mhz is not None)


def measured() -> Iterator[Measured]:
    """All engines that were measured whose pipeline is their family's: here, for docs/engines.md, and for baselines."""
    for board in BOARDS.values():
        build = load(board)
        yield Measured(board.name, board, build["luts"], build["ffs"])
    kept = json.loads(prices.RESULTS.read_text())
    whole = kept["engine"]
    for name, moved in kept["changes"].items():
        board = prices.CHANGES[name][1](find_board(prices.BOARD))
        if board.engine.pipeline in (COMPACT, PIPELINED):
            luts, ffs = (whole[kind] + moved[kind] for kind in ("luts", "ffs"))
            yield Measured(f"{prices.BOARD}: {name}", board, luts, ffs)
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


def predicted(prices_: Prices, each: Measured) -> float:
    return sum(each.counts[name] * price for name, price in vars(prices_).items())


if __name__ == "__main__":
    if "--fit" not in sys.argv:
        measure_cases()
    every = list(measured())
    for family in dict.fromkeys((each.board.technology, each.board.engine.pipeline) for each in every):
        engines = [each for each in every if (each.board.technology, each.board.engine.pipeline) == family]
        print(f"\n{family[0].value}: {len(engines)} engines")
        if len(engines) < ENOUGH:
            print(f"too few; {ENOUGH} are needed")
            continue
        for kind in ("luts", "ffs"):
            print(kind, fit(engines, kind))
            for each in engines:
                beside = fit([other for other in engines if other is not each], kind)
                is_, says = getattr(each, kind), predicted(fit(engines, kind), each)
                left_out = predicted(beside, each)
                print(f"  {each.name:60} {is_:6} {says:8.0f} {says / is_ - 1:+.1%} left out: {left_out / is_ - 1:+.1%}")
