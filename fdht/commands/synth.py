"""`fdht synth`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import BOARD, BUILD, PART, Json, OtherClock, OtherTarget


@command(
    ENGINE,
    "fdht synth --list",
    "fdht synth --board icebreaker",
    "fdht synth --board ulx3s-85f --seed 2 --seed 3 --json",
    "fdht synth --board icebreaker --check",
    "fdht synth --board icebreaker --target mine.json --netlist",
    "fdht synth --board icebreaker --clock 5.5",
    "fdht synth --board mine:BOARD",
    "fdht synth --part xc7a35t --netlist",
)
def synth(
    board: Annotated[str | None, BOARD] = None,
    part: Annotated[str | None, PART] = None,
    target: OtherTarget = None,
    clock: OtherClock = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the boards and parts, and build nothing.")] = False,
    netlist: Annotated[
        bool, typer.Option("--netlist", help="Stop after synthesis, and say what the engine takes of the part.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the build [default: build/BOARD, with another engine build/BOARD-TARGET, at a slower clock "
            "build/BOARD-5.5MHz].",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Seed of place and route; repeat for several, of which the fastest build is kept [default: the "
            "fastest of the board's baseline, 1 for an engine without one; with --check or --accept all of "
            "the baseline's]."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail if the build is worse than the board's recorded baseline.")
    ] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Make the build the baseline.")] = False,
    json: Json = False,
) -> None:
    """Make a bitstream: the engine behind its UART, with what it uses and how fast it is.

    One bitstream runs every model that fits its target. --target has another engine built than the board's own, as
    large as the part holds. A board's baseline is a recorded build: it says what it
    took, how fast it was and how many cycles the presets need; --check fails if
    multipliers, block RAMs or SPRAMs differ, if a preset takes more cycles or does not fit any more, if there are 5 %
    more LUTs or flip-flops, or if the median clock is 5 % lower.

    With --part and --netlist: what the generic block of fdht export takes of a part with closed tools, by Yosys, beside
    what is predicted.
    """
    from fdht.boards.catalogue import find_board
    from fdht.boards.parts import find_closed
    from fdht.console import Output
    from fdht.workflow import bitstream

    output = Output(json)
    if list_:
        rows = bitstream.boards(output)
        bitstream.report_boards(output, rows)
        output.result(rows)
        return
    if part is not None:
        if board is not None:
            raise typer.BadParameter("--board and --part exclude each other")
        if clock is not None:
            raise typer.BadParameter("of a part with closed tools no clock is known; leave out --clock")
        find_closed(part)
        if not netlist:
            raise typer.BadParameter(
                f"only its maker's tools make a bitstream for {part}: add --netlist for what the block takes of it; "
                f"fdht export --axi --target {target or part} writes it for them"
            )
    elif board is None:
        raise typer.BadParameter("Missing option '--board' or '--part'; --list shows those there are")
    if check and accept:
        raise typer.BadParameter("--check and --accept exclude each other")
    if clock is not None and (check or accept):
        raise typer.BadParameter("baselines are of a board's own clock; leave out --clock, or --check and --accept")
    if netlist and (check or accept or seed or out):
        raise typer.BadParameter("--netlist leaves no build; leave out --check, --accept, --seed and --out")
    if part is not None:
        figures = bitstream.netlist_in(output, part, target)
        bitstream.report_netlist(output, figures)
        output.result(figures)
        return
    assert board is not None
    chosen = find_board(board, target, clock)
    if netlist:
        figures = bitstream.netlist(output, chosen)
        bitstream.report_netlist(output, figures)
        output.result(figures)
        return
    folder = bitstream.folder_of(chosen, BUILD) if out is None else out
    figures = bitstream.run(output, chosen, folder, seed or [], check, accept)
    bitstream.report(output, figures)
    output.result(figures)
