"""`fdht fit`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import BOARD, PART, FactorWidth, Json
from fdht.spec.errors import SpecError


@command(
    ENGINE,
    "fdht fit digits --board icebreaker",
    "fdht fit digits --part xc7a35t",
    "fdht fit build/digits.bundle -b orangecrab-25f --take mine.json",
    "fdht fit waves.toml -b icebreaker --factor-width 8 --take fast.json --fastest",
)
def fit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A bundle, a checkpoint, a preset or a project. Bundles keep their widths and order of contraction.",
        ),
    ],
    board: Annotated[str | None, BOARD] = None,
    part: Annotated[str | None, PART] = None,
    factor_width: FactorWidth = None,
    take: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the smallest engine into NAME.json, for --target of other commands."),
    ] = None,
    fastest: Annotated[bool, typer.Option("--fastest", help="With --take: the fastest engine.")] = False,
    json: Json = False,
) -> None:
    """The smallest and the fastest engine that run a model on a board's part, or on a part with closed tools.

    Array and memories are searched; all else is as in the board's own engine, or the part's, which is shown beside
    them. No engine is proposed that fills the part more than a recorded build of its family, or, with --part, more than
    three quarters. Multipliers, block RAMs and cycles are exact, LUTs and flip-flops predicted where enough engines
    like it were measured; fdht synth --part --netlist measures one.
    """
    from fdht.boards import closed, fullness
    from fdht.boards.catalogue import find_board
    from fdht.console import Output
    from fdht.workflow import sizing

    if fastest and take is None:
        raise SpecError("--fastest says which engine --take writes; name a file with --take NAME.json")
    if (board is None) == (part is None):
        raise typer.BadParameter("say where: either --board or --part; fdht synth --list shows both")
    output = Output(json)
    ground = fullness.on_board(find_board(board)) if board is not None else closed.ground(part or "")
    figures, engines = sizing.run(output, sizing.find_model(model, factor_width), ground)
    if take is not None:
        chosen = sizing.FASTEST if fastest else sizing.SMALLEST
        figures |= {"taken": sizing.take(engines[chosen], take), "taken_engine": chosen}
    sizing.report(output, figures)
    output.result(figures)
