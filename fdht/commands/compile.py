"""`fdht compile`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import BUILD, DEFAULT_TARGET, FactorWidth, Json, Rate, Streams, TargetName
from fdht.spec.errors import SpecError

MODULE = "A PyTorch module of your own"
"""A group of options in fdht compile --help."""


@command(
    ENGINE,
    "fdht compile build/faces.checkpoint",
    "fdht compile build/digits.checkpoint --target icebreaker -o build/small --explain",
    "fdht compile build/digits.checkpoint --target icebreaker --rate 100",
    "fdht compile build/gestures.checkpoint --data mine:gestures",
    "fdht compile mine:model --data mine.npz",
)
def compile_(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A checkpoint, as fdht train writes it; or module:name of your own, a PyTorch module or a function "
            "that returns one.",
        ),
    ],
    target: TargetName = DEFAULT_TARGET,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of bundle and image, or the bundle's own name, NAME.bundle [default: the checkpoint's].",
        ),
    ] = None,
    factor_width: FactorWidth = None,
    streams: Streams = 0,
    data: Annotated[
        str | None,
        typer.Option(
            help="The data it was trained on, if that is module:name of your own (no file may name code to be run), a "
            "file that has moved, or has another name now [default: what the checkpoint says]. For a module of your "
            "own a file: number formats are chosen on its x, and x_test (or x) goes into the bundle.",
            metavar="NAME",
        ),
    ] = None,
    data_folder: Annotated[
        str | None,
        typer.Option(
            "--data-folder", metavar="DIR", help="Where its clips lie now [default: where the checkpoint says]."
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Also say why: stages, memory map, how full the memories are, which plans came next."
        ),
    ] = False,
    rate: Rate = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of your module in front of the first LSTM that stays on the host; repeat for several.",
            rich_help_panel=MODULE,
        ),
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option(
            help="The rank that every nn.LSTM of your module is brought to [default: it stays dense].",
            rich_help_panel=MODULE,
        ),
    ] = None,
    regression: Annotated[
        bool,
        typer.Option("--regression", help="Outputs of your module are real numbers.", rich_help_panel=MODULE),
    ] = False,
    json: Json = False,
) -> None:
    """Plan, quantise and compile: a checkpoint, or a PyTorch module of your own, becomes a bundle and an image.

    The bundle is the quantised network with its golden vectors. Its widths and order of contraction are chosen for the
    target; another engine runs it only if they fit there. The image is program, factors and tables for one target.
    """
    from fdht.console import Output
    from fdht.spec.target import find_target

    output, engine = Output(json), find_target(target)
    if ":" in model and not Path(model).exists():
        with output.loading():
            from fdht.workflow import modules

        if factor_width is not None or data_folder is not None or explain or streams or rate is not None:
            raise SpecError(
                f"{model} is a module; leave out --factor-width, --data-folder, --streams, --explain and --rate (fdht "
                "info IMAGE --rate says what a rate needs)"
            )
        figures = modules.run(output, model, engine, data, BUILD if out is None else out, host or (), ranks, regression)
        output.result(figures)
        return
    if host or ranks is not None or regression:
        raise SpecError(f"{model} is a checkpoint; --host, --ranks and --regression are for a module of your own")
    if explain and streams:
        raise SpecError("--explain is of a program for one sequence; leave out --streams, or --explain")
    with output.loading():
        from fdht.compiler.effort import check_rate
        from fdht.workflow import compilation, datasets

    if rate is not None:
        check_rate(rate)  # before anything is written

    checkpoint = Path(model)
    with output.progress("planning, quantising, compiling"):
        compiled = compilation.compile_checkpoint(
            checkpoint,
            engine,
            folder=out,
            factor_width=factor_width,
            clips=datasets.moved(data, data_folder),
            streams=streams,
        )
    figures = compilation.figures(compiled)
    compilation.report(output, compiled)
    if explain:
        from fdht.compiler.explain import explain as explained
        from fdht.workflow import explanation

        why = explained(compiled.bundle.layers, engine, compiled.bundle.stage_lists)
        figures["explanation"] = explanation.figures(why)
        explanation.report(output, why, engine)
    if rate is not None:
        from fdht.workflow import rates

        figures["effort"] = rates.figures(compiled.image, rate)
        rates.report(output, figures["effort"])
    output.result(figures)
