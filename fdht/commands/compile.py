"""`fdht compile`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import DEFAULT_TARGET, FactorWidth, Json, TargetName


@command(
    ENGINE,
    "fdht compile build/faces.checkpoint",
    "fdht compile build/digits.checkpoint --target icebreaker -o build/small --explain",
    "fdht compile build/gestures.checkpoint --data mine:gestures",
)
def compile_(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, as fdht train writes it.")],
    target: TargetName = DEFAULT_TARGET,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of bundle and image [default: the checkpoint's].")
    ] = None,
    factor_width: FactorWidth = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The data it was trained on, if that is module:name of your own (no file may name code to be run), a "
            "file that has moved, or has another name now [default: what the checkpoint says].",
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
    json: Json = False,
) -> None:
    """Plan, quantise and compile: a checkpoint becomes a bundle and an image.

    The bundle is the quantised network with its golden vectors. Its widths and order of contraction are chosen for the
    target; another engine runs it only if they fit there. The image is program, factors and tables for one target.
    """
    from fdht.console import Output
    from fdht.spec.target import find_target
    from fdht.workflow import compilation, datasets

    output, engine = Output(json), find_target(target)
    with output.progress("planning, quantising, compiling"):
        compiled = compilation.compile_checkpoint(
            checkpoint, engine, folder=out, factor_width=factor_width, clips=datasets.moved(data, data_folder)
        )
    figures = compilation.figures(compiled)
    compilation.report(output, compiled)
    if explain:
        from fdht.compiler.explain import explain as explained
        from fdht.workflow import explanation

        why = explained(compiled.bundle.layers, engine, compiled.bundle.stage_lists)
        figures["explanation"] = explanation.figures(why)
        explanation.report(output, why, engine)
    output.result(figures)
