"""`fdht new`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import TRAINING, command
from fdht.commands.options import BOARD, DEFAULT_TARGET, ClipFolder, Json
from fdht.spec.errors import SpecError


@command(
    TRAINING,
    "fdht new --data mine.npz --board icebreaker",
    "fdht new --data gestures_TRAIN.ts --board ulx3s-85f --hidden 32 -o gestures.toml",
)
def new(
    *,
    data: Annotated[
        str | None,
        typer.Option(help="Your data: a file (.npz, .npy, .ts, .csv), see fdht data.", metavar="FILE"),
    ] = None,
    board: Annotated[str, BOARD] = DEFAULT_TARGET,
    hidden: Annotated[int | None, typer.Option(help="Hidden units [default: 64, or as many as fit].", min=1)] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of the network [default: 12, or what fits].", min=1)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The project [default: NAME.toml in the current folder].")
    ] = None,
    json: Json = False,
) -> None:
    """Propose a model for your data and a board, and write it as a small project that you can edit.

    The project says sizes, modes, ranks and how the model is trained. fdht train, explore and baselines take it in
    place of a preset.
    """
    from fdht.console import Output
    from fdht.workflow import proposing

    output, source = Output(json), ClipFolder().source(data)
    if source is None:
        raise SpecError("which data? name a file with --data, as in fdht new --data mine.npz --board icebreaker")
    figures = proposing.run(output, source, board, hidden, rank, out)
    proposing.report(output, figures)
    output.result(figures)
