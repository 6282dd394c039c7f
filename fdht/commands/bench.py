"""`fdht bench`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import WHOLE, command
from fdht.commands.options import BUILD, Json, Open, board_option


@command(
    WHOLE,
    "fdht bench",
    "fdht bench --preset faces --target ulx3s-85f --part table",
    "fdht bench --board icebreaker --target mine.json --part table",
    "fdht bench --part cpu",
    "fdht bench --part pictures",
    "fdht bench --json",
)
def bench(
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="table, scaling (cost against N), cpu (PyTorch), epoch (the same in training) or pictures; "
            "repeat for several [default: all]."
        ),
    ] = None,
    preset: Annotated[list[str] | None, typer.Option(help="Only rows of this preset; repeat for several.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            help="Only rows of this engine, one of fdht's own or in a file; repeat for several.",
        ),
    ] = None,
    board: Annotated[
        str | None,
        board_option(
            "Rows have the clock of this board, with its own engine or the ones that are named; as for fdht synth."
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(help="Only rows of this format: ht (FDHT), tt, tr, bt, dense; repeat for several."),
    ] = None,
    streams: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Serve N sequences at once in every row; cycles are those per step, the steps of all counted "
            "[default: one, and some rows with several].",
            show_default=False,
        ),
    ] = 0,
    synth: Annotated[
        bool,
        typer.Option(
            "--synth",
            help="Build the boards first, with 3 seeds each (hours). Without it, the clock reached is that of recorded "
            "builds.",
        ),
    ] = False,
    no_rtl: Annotated[
        bool, typer.Option("--no-rtl", help="Take the cycles of the schedule alone, without simulating them.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of results and pictures.")] = BUILD / "results",
    open_: Open = False,
    json: Json = False,
) -> None:
    """The performance table: cycles from the RTL, times at the board's clock, beside it what place and route reached.

    Needs no training: weights are random (seed 0), quantised on real pictures; cycles do not depend on them, and every
    word is compared with the golden model all the same. Simulators and builds are kept in the cache, so a run
    that was interrupted goes on where it was. The clock reached is that of builds.json in the folder of results, or
    else of the board's baseline. Rows go to bench.json and builds (with --synth) to builds.json.
    """
    from fdht.console import Output

    output = Output(json)
    with output.loading():
        from fdht.studies import bench as benchmark
    rows = benchmark.run(
        output,
        parts=part or [],
        presets=preset or [],
        targets=target or [],
        formats=format or [],
        streams=streams,
        board=board,
        synth=synth,
        rtl=not no_rtl,
        folder=out,
    )
    output.result(rows)
    if open_:
        output.open_pictures()
    benchmark.check(rows)
