"""`fdht compare`."""

from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import DEFAULT_TARGET, AlsoRows, BundlePath, Json, Pauses, TargetName


@command(
    ENGINE,
    "fdht compare build/faces.bundle",
    "fdht compare build/small/digits.bundle -t icebreaker --json",
    "fdht compare build/faces.bundle --clips 10 --results build/results/accuracy.json",
)
def compare(
    bundle: BundlePath,
    target: TargetName = DEFAULT_TARGET,
    clips: Annotated[
        int | None,
        typer.Option(help="Clips to simulate; the golden model runs all [default: 3, or what there is].", min=1),
    ] = None,
    pauses: Pauses = False,
    results: AlsoRows = None,
    json: Json = False,
) -> None:
    """Float against golden model against RTL: accuracy, saturation, words, cycles.

    The golden model runs every clip of the bundle again; the float model's classes are those noted in the bundle.
    """
    from fdht.console import Output
    from fdht.extras import need
    from fdht.workflow import comparison
    from fdht.workflow.golden_vectors import spread

    output = Output(json)
    with output.loading():
        need("torch")
        from fdht.studies import accuracy, side_by_side
    with output.progress(f"compiling {bundle} for {target}"):
        loaded, image = comparison.load(bundle, target)
    if results is not None:
        side_by_side.check(loaded)  # before anything is simulated
    chosen, judged = spread(loaded, clips), comparison.accuracy_figures(output, loaded)
    runs = comparison.run_clips(output, loaded, image, chosen, pauses=pauses)
    figures = {"bundle": str(bundle), **comparison.figures(loaded, image, runs), **judged}
    comparison.report(output, loaded, figures)
    comparison.report_accuracy(output, loaded, figures)
    output.result(figures)
    comparison.check(figures, cycles=not pauses)
    if results is not None:
        accuracy.merge(side_by_side.rows(loaded, image.target, runs), results)
