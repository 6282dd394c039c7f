"""Recorded figures of the boards, and how a build is held against them.

A baseline is `baselines/<board>/<target>.json`: what that engine took on the board, how fast it was, with which tools
and seeds, and the cycles of a step of every preset. What the specification predicts must be met exactly; logic and
clock depend on the placer's luck, so they have margins.
"""

import json
from pathlib import Path

from fdht.boards.board import Board
from fdht.spec.errors import FdhtError

FOLDER = Path(__file__).parent / "baselines"

EXACT = ("multipliers", "block_rams", "sprams")
"""What the specification predicts of a bitstream."""

MARGINS = {"luts": 0.05, "ffs": 0.05, "fmax_mhz_median": -0.05}
"""By how much of the baseline a figure may be larger, or, of the clock, smaller."""

TOLD = ("fmax_mhz_seeds", "fmax_mhz_nextpnr_seeds", "timing_source", "timing_uncovered")
"""What is written down and not compared."""

SETTINGS = ("target", "tools", "seeds", "clock_mhz")
"""What must be as it was for figures to be compared."""


class BaselineError(FdhtError):
    """A build that is worse than its baseline, or cannot be compared with it."""


def path_of(board: Board) -> Path:
    """The baseline of a board with the engine it has; of another engine on the same board it says nothing."""
    return FOLDER / board.name / f"{board.engine.name}.json"


def refuse_installed() -> None:
    """Makes sure that a baseline would be recorded in fdht's sources, before anything is built for one.

    Raises:
        BaselineError: this is an installed copy.
    """
    if not (FOLDER.resolve().parents[1] / "pyproject.toml").is_file():
        raise BaselineError(
            "baselines are recorded in fdht's sources, and this is an installed copy; "
            "call .venv/bin/fdht in a clone, after make setup"
        )


def record(board: Board, report: dict, cycles: dict[str, float | None]) -> Path:
    """Makes a build the baseline.

    Args:
        board, report: see fdht.boards.synthesis.synthesise.
        cycles: per step of each preset; None if it does not fit.
    """
    kept = {name: report[name] for name in (*SETTINGS, *EXACT, *MARGINS, *TOLD)}
    path = path_of(board)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"board": board.name, **kept, "cycles_per_step": cycles}, indent=2) + "\n")
    return path


def load(board: Board) -> dict:
    """The baseline.

    Raises:
        BaselineError: there is none.
    """
    path = path_of(board)
    if not path.is_file():
        raise BaselineError(f"{board.name} has no baseline; fdht synth --board {board.name} --accept records one")
    return json.loads(path.read_text())


def compare(board: Board, report: dict, cycles: dict[str, float | None]) -> list[str]:
    """Holds a build against the baseline; see `record` for the arguments.

    Returns:
        What is better than the baseline by more than its margin, in words.

    Raises:
        BaselineError: there is no baseline, it is of other tools or seeds, or something is worse.
    """
    baseline = load(board)
    again = f"fdht synth --board {board.name} --accept makes this build the baseline"
    for name in SETTINGS:
        if report[name] != baseline[name]:
            raise BaselineError(
                f"the baseline of {board.name} is of {name.replace('_', ' ')} {baseline[name]}, not {report[name]},"
                f" so it says nothing about this build; {again}"
            )
    worse, better = [], []
    for name in EXACT:
        if report[name] != baseline[name]:
            worse.append(f"{name.replace('_', ' ')}: {report[name]}, not {baseline[name]}")
    for preset in sorted({*cycles, *baseline["cycles_per_step"]}):
        now, before = cycles.get(preset), baseline["cycles_per_step"].get(preset)
        if now != before:
            list_ = better if before is None or (now is not None and now < before) else worse
            list_.append(f"cycles of {preset}: {_shown(now)}, not {_shown(before)}")
    for name, margin in MARGINS.items():
        now, before = report[name], baseline[name]
        sentence = f"{name.replace('_', ' ')}: {now:g}, not {before:g} ({100 * (now / before - 1):+.1f} %)"
        change = (now / before - 1) / margin  # in margins: above 1 is worse, below -1 better
        if change > 1:
            worse.append(sentence)
        elif change < -1:
            better.append(sentence)
    if worse:
        raise BaselineError(f"{board.name} is worse than its baseline: {'; '.join(worse)}; if that is wanted, {again}")
    return better


def _shown(cycles: float | None) -> str:
    return "none, it does not fit" if cycles is None else f"{cycles:,}"
