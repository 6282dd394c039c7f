"""`fdht program`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import BOARD, BUILD, Json, OtherClock, OtherTarget
from fdht.spec.errors import SpecError


@command(
    ENGINE,
    "fdht program --board icebreaker",
    "fdht program --board ulx3s-85f --bitstream other.bit",
    "fdht program --board ulx3s-85f --target alone.json --flash build/faces.bundle build/digits.bundle",
    "fdht program --board ulx3s-85f --target alone.json --flash --images-only --slot 1 build/digits.bundle",
)
def program(
    board: Annotated[str, BOARD],
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[BUNDLE]...", help="With --flash: bundles that the board is to load by itself."),
    ] = None,
    target: OtherTarget = None,
    clock: OtherClock = None,
    bitstream: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The bitstream [default: where fdht synth leaves it].")
    ] = None,
    flash: Annotated[
        bool, typer.Option("--flash", help="Write the board's flash: what is there starts whenever it is powered up.")
    ] = False,
    slot: Annotated[int, typer.Option(help="Where the first bundle goes; the others behind it.", min=0)] = 0,
    images_only: Annotated[
        bool, typer.Option("--images-only", help="With --flash: leave the bitstream that is there.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --flash: write the whole flash into a file, and no board."),
    ] = None,
    json: Json = False,
) -> None:
    """Load a bitstream onto a board, with openFPGALoader; with --flash, for good, and with images.

    An engine whose target says build.standalone loads an image from its slot of the flash by itself
    (docs/standing-alone.md).
    """
    from fdht.boards.catalogue import find_board
    from fdht.console import Output
    from fdht.workflow import flashing, programming

    if not flash and (bundles or slot or images_only or output):
        raise SpecError("bundles, --slot, --images-only and --output are for the flash; say --flash")
    console, found = Output(json), find_board(board, target, clock)
    if not flash:
        figures = programming.run(console, found, bitstream, BUILD)
        console.say(f"{figures['bitstream']} is on {figures['board']}")
    else:
        figures = flashing.run(console, found, bitstream, BUILD, bundles or [], slot, images_only, output)
        place = output or f"the flash of {found.name}"
        if figures["bitstream"]:
            console.say(f"{figures['bitstream']} is in {place}")
        for row in figures["slots"]:
            console.say(
                f"{row['bundle']} is in slot {row['slot']} of {place}: {row['bytes']:,} bytes at {row['address']:#x}, "
                f"loaded in {row['load_ms']:.1f} ms"
            )
    console.result(figures)
