"""`fdht demo`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import WHOLE, command
from fdht.commands.options import BUILD, DEFAULT_TARGET, Json, Seed, TargetName


@command(WHOLE, "fdht demo", "fdht demo --preset digits --target icebreaker", "fdht demo --clips 1 --json")
def demo(
    preset: Annotated[str, typer.Option(help="The model: faces (40 people, 4 photos a clip) or digits.")] = "faces",
    target: TargetName = DEFAULT_TARGET,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the demo's files.")] = BUILD / "demo",
    clips: Annotated[int, typer.Option(help="Test clips to simulate, spread over the test split.", min=1)] = 3,
    seed: Seed = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few epochs, one clip: the chain, not the accuracy.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train even if that was done before.")] = False,
    json: Json = False,
) -> None:
    """The whole chain on real data: train, quantise, compile, simulate, compare.

    Trains an FDHT-LSTM, chooses the order of contraction for the target, turns everything into integers and a
    program, runs whole clips in a simulation of the RTL, and compares every word the engine writes with the golden
    model. A training that is done already is not repeated.
    """
    from fdht.console import Output

    output = Output(json)
    with output.loading():
        from fdht.workflow import comparison, demonstration
    figures = demonstration.run(
        output, preset=preset, target=target, folder=out, clips=clips, seed=seed, quick=quick, fresh=fresh
    )
    output.result(figures)
    comparison.check(figures)
