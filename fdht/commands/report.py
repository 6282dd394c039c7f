"""`fdht report`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import WHOLE, command
from fdht.commands.options import AN_ENGINE, BUILD, DEFAULT_TARGET, BundlePath, Json, board_option
from fdht.spec.errors import SpecError


@command(
    WHOLE,
    "fdht report build/faces.bundle",
    "fdht report build/digits.bundle --board icebreaker -o digits.html",
)
def report(
    bundle: BundlePath,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help=f"The engine: {AN_ENGINE} [default: the board's, or {DEFAULT_TARGET}].",
            metavar="NAME",
        ),
    ] = None,
    board: Annotated[
        str | None,
        board_option("Show what the build of this board took, in place of every board's that has this engine."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The page [default: build/BUNDLE.html].")
    ] = None,
    json: Json = False,
) -> None:
    """A model on an engine as one HTML file that opens without network.

    Model card, accuracy with intervals, confusion, clips that go wrong, tree, stages, the schedule of a step to zoom
    into, memory map, what came second in planning, and what the board's build took. It shows clips of the bundle as
    pictures: whoever may not see these should not get the page.
    """
    from fdht.boards.catalogue import find_board
    from fdht.console import Output
    from fdht.extras import need
    from fdht.spec.target import find_target

    need("jinja2", "matplotlib", "PIL")
    from fdht.report import report_page

    output, to = Output(json), BUILD / f"{bundle.stem}.html" if out is None else out
    if to.resolve() == bundle.resolve():
        raise SpecError(f"{to} is the bundle itself; write the page to another file")
    chosen = None if board is None else find_board(board, target)
    engine = find_target(target or DEFAULT_TARGET) if chosen is None else chosen.engine
    figures = report_page.run(output, bundle, engine, None if chosen is None else [chosen], to)
    report_page.report(output, figures)
    output.result(figures)
