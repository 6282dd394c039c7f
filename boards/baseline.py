"""Recorded figures of the boards, and how a build is held against them.

A baseline is `baselines/<board>/<target>.json`: what that engine took on the board, how fast it was, with which tools
and seeds, and the cycles of a step of every preset. What the specification predicts must be met exactly; logic and
clock depend on the placer's luck, so they have margins. Those of fdht's own boards with its own engines lie in its
sources, others in the user's current folder.
"""

import json
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict  # which pydantic needs below Python 3.12

from fdht.boards.board import Board
from fdht.boards.catalogue import BOARDS
from fdht.spec.container import write_whole
from fdht.spec.errors import FdhtError, FileError, SpecError
from fdht.spec.protocol import target_id
from fdht.spec.record import parse, read_text
from fdht.spec.target import named

FOLDER = Path(__file__).parent / "baselines"
"""Those of fdht's own boards with its own engines."""

OWN = Path("baselines")
"""All others, below the current folder."""

EXACT = ("multipliers", "block_rams", "sprams")
"""What the specification predicts of a bitstream."""

MARGINS = {"luts": 0.05, "ffs": 0.05, "fmax_mhz_median": -0.05}
"""By how much of the baseline a figure may be larger, or, of the clock, smaller."""

TOLD = ("fmax_mhz_seeds", "fmax_mhz_nextpnr_seeds", "timing_source", "timing_uncovered")
"""What is written down and not compared."""

SETTINGS = ("target", "tools", "seeds", "clock_mhz")
"""What must be as it was for figures to be compared."""


Figure = int | float


class Held(TypedDict):
    """What a baseline says; see `record`."""

    board: str
    engine: NotRequired[str]
    target: str
    tools: dict[str, str]
    seeds: list[int]
    clock_mhz: Figure
    multipliers: int
    block_rams: int
    sprams: int
    luts: int
    ffs: int
    fmax_mhz_median: Figure
    fmax_mhz_seeds: dict[str, Figure | None]
    fmax_mhz_nextpnr_seeds: dict[str, Figure | None]
    timing_source: str
    timing_uncovered: dict[str, Any]
    cycles_per_step: dict[str, Figure | None]


class BaselineError(FdhtError):
    """A build that is worse than its baseline, or cannot be compared with it."""


def path_of(board: Board) -> Path:
    """The baseline of a board with the engine it has; of another engine on the same board it says nothing."""
    file = Path(board.name, f"{board.engine.name}.json")
    return FOLDER / file if _ours(board) or (FOLDER / file).is_file() else OWN / file


def _ours(board: Board) -> bool:
    return board.name in BOARDS and board.engine == named().get(board.engine.name)


def refuse_installed(board: Board) -> None:
    """Makes sure that a baseline of fdht's own would be recorded in its sources, before anything is built for one.

    Raises:
        BaselineError: this is an installed copy.
    """
    if FOLDER in path_of(board).parents and not (FOLDER.resolve().parents[1] / "pyproject.toml").is_file():
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
    engine = f"{target_id(board.engine):08x}"
    known = {"board": board.name, "engine": engine, **kept, "cycles_per_step": cycles}
    write_whole(path, (json.dumps(known, indent=2) + "\n").encode())
    return path


def load(board: Board) -> Held:
    """The baseline.

    Raises:
        BaselineError: there is none, it is damaged, or of another engine of the same name.
    """
    path = path_of(board)
    if not path.is_file():
        raise BaselineError(f"{board.design} has no baseline; {again(board)} records one")
    engine = f"{target_id(board.engine):08x}"
    try:
        baseline = parse(Held, read_text(path))
    except (SpecError, FileError) as error:
        raise BaselineError(f"{path} is no baseline ({error}); remove it, then {again(board)} records one") from None
    if baseline.get("engine", engine) != engine:
        raise BaselineError(
            f"{path} is of another engine that is called {board.target}, too; give this one a name of its own, or "
            f"{again(board)} makes it the baseline"
        )
    return baseline


def usual_seeds(board: Board, every: bool = False) -> list[int]:
    """Seeds of place and route where none is asked for.

    Args:
        every: those of the baseline, to be held against it, not the fastest of them alone.

    Returns:
        The seed that was the fastest in the baseline, or all of the baseline's; 1 without one of this engine.
    """
    try:
        known = load(board)
    except BaselineError:
        return [1]
    if every:
        return known["seeds"]
    speeds = known["fmax_mhz_seeds"]
    return [int(max(speeds, key=lambda seed: speeds[seed] or 0))]


def again(board: Board) -> str:
    """The command that makes a build the baseline."""
    return f"fdht synth {board.options} --accept"


def compare(board: Board, report: dict, cycles: dict[str, float | None]) -> list[str]:
    """Holds a build against the baseline; see `record` for the arguments.

    Returns:
        What is better than the baseline by more than its margin, in words.

    Raises:
        BaselineError: there is no baseline, it is of other tools or seeds, or something is worse.
    """
    baseline = load(board)
    way_out = f"{again(board)} makes this build the baseline"
    for name in SETTINGS:
        if report[name] != baseline[name]:
            raise BaselineError(
                f"the baseline of {board.design} is of {name.replace('_', ' ')} {baseline[name]}, not {report[name]},"
                f" so it says nothing about this build; {way_out}"
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
        raise BaselineError(
            f"{board.design} is worse than its baseline: {'; '.join(worse)}; if that is wanted, {way_out}"
        )
    return better


def _shown(cycles: float | None) -> str:
    return "none, it does not fit" if cycles is None else f"{cycles:,}"
