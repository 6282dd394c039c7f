"""`fdht program`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import BOARD, BUILD, Json, OtherClock, OtherTarget


@command(ENGINE, "fdht program --board icebreaker", "fdht program --board ulx3s-85f --bitstream other.bit")
def program(
    board: Annotated[str, BOARD],
    target: OtherTarget = None,
    clock: OtherClock = None,
    bitstream: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The bitstream [default: where fdht synth leaves it].")
    ] = None,
    json: Json = False,
) -> None:
    """Load a bitstream onto a board, with openFPGALoader."""
    from fdht.boards.catalogue import find_board
    from fdht.console import Output
    from fdht.workflow import programming

    output = Output(json)
    figures = programming.run(output, find_board(board, target, clock), bitstream, BUILD)
    output.say(f"{figures['bitstream']} is on {figures['board']}")
    output.result(figures)
