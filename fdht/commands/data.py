"""`fdht data`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import TRAINING, command
from fdht.commands.options import BUILD, ClipFolder, Json, Open


@command(
    TRAINING,
    "fdht data",
    "fdht data faces-hard",
    "fdht data ucf11 --data-folder UCF11_updated_mpg --fold 1",
    "fdht data --data-folder my-clips --frames 8",
    "fdht data mine.npz",
)
def data(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            help="A data set, a file (.npz, .npy, .ts, .csv), or module:name of your own. Without one, all are listed.",
            metavar="NAME",
        ),
    ] = None,
    clips: ClipFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The contact sheet, a PNG [default: build/NAME.png, of a file build/mine.csv.png]."
        ),
    ] = None,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Which data sets there are, or what one is: sizes, protocol, and a contact sheet of its pictures.

    Clips of your own need no more than a folder with one folder per class, sequences a file with arrays x and y.
    Decoded clips are kept in the user's cache (fdht doctor says where).
    """
    from fdht.console import Output
    from fdht.workflow import datasets

    output, source = Output(json), clips.source(name)
    if source is None:
        output.result(datasets.catalogue(output))
        return
    figures = datasets.run(output, source, out, BUILD)
    output.result(figures)
    if open_:
        output.open_pictures()
