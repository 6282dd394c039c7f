"""`fdht synth`: a bitstream, and what it uses."""

from pathlib import Path

from boards.catalogue import find_board
from boards.synthesis import synthesise
from fdht.console import Output


def run(output: Output, board_name: str, folder: Path, seeds: list[int]) -> dict:
    """Builds and returns the figures of the report."""
    board = find_board(board_name)
    with output.progress(f"bitstream for {board.name}") as advance:
        return synthesise(board, folder, seeds, progress=lambda message: advance(note=message))


def by_seed(figures: dict) -> str:
    """What every seed reached, how many met the clock, and the median of those that were routed."""
    speeds = figures["fmax_mhz_seeds"]
    each = ", ".join(f"{seed}: {'not routed' if mhz is None else f'{mhz:g} MHz'}" for seed, mhz in speeds.items())
    routed = figures["seeds_routed"]
    some = "" if routed == len(speeds) else f" of the {routed} routed"
    met = f"{figures['seeds_met']} of {len(speeds)} met the clock"
    return f"{each}; {met}, median{some} {figures['fmax_mhz_median']:g} MHz"


def report(output: Output, figures: dict) -> None:
    """The table of a finished build."""
    taken = " (of an earlier, equal build)" if figures["cached"] else ""
    output.facts(
        f"{figures['board']}: bitstream",
        {
            "bitstream": figures["bitstream"],
            "clock": f"{figures['clock_mhz']:g} MHz wanted, {figures['fmax_mhz']:g} MHz reached",
            "by seed": by_seed(figures),
            "LUTs, flip-flops": f"{figures['luts']:,}, {figures['ffs']:,}",
            "multipliers": figures["multipliers"],
            "block RAMs, SPRAMs": f"{figures['block_rams']}, {figures['sprams']}",
            "seconds": f"{figures['seconds']}{taken}",
        },
    )
    used = figures["utilisation"].items()
    rows = [(kind, count, of, f"{100 * count / of:.0f} %") for kind, (count, of) in used if count]
    output.table("Used of the part, after place and route", ("type", "used", "of", "share"), rows)
