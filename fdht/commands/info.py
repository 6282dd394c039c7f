"""`fdht info`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import Json, Rate, Trace


@command(
    ENGINE,
    "fdht info build/faces.bundle",
    "fdht info build/faces.ulx3s-85f.image --listing",
    "fdht info build/ucf11.icebreaker.image --rate 30",
    "fdht info build/ucf11.icebreaker.image --trace build/plan.json",
)
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, a bundle or an image.")],
    listing: Annotated[
        bool, typer.Option("--listing", help="Also show the program of an image, instruction by instruction.")
    ] = False,
    rate: Rate = None,
    trace: Trace = None,
    json: Json = False,
) -> None:
    """What a file is: sizes, modes, number formats, stages, program."""
    from fdht.console import Output
    from fdht.workflow import information

    output = Output(json)
    with output.loading() if file.suffix == ".checkpoint" and file.is_file() else nullcontext():
        figures, show = information.describe(file, listing, rate, trace)
    show(output)
    output.result({"file": str(file), **figures})
