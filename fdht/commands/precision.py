"""`fdht precision`."""

from typing import Annotated

import typer

from fdht.commands.declaration import TRAINING, command
from fdht.commands.options import DEFAULT_TARGET, LAST_SEED, Json, Open, RowsFile, TargetName


@command(
    TRAINING,
    "fdht precision digits",
    "fdht precision faces --factor-width 4 --factor-width 8 --data-width 16",
    "fdht precision digits --seed 0",
)
def precision(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="The preset that is trained: digits, faces, ...")],
    target: TargetName = DEFAULT_TARGET,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Seed of a training; repeat for several. Pairs of the widths 4, 8 and 16 are trained with all, other "
            "pairs with the first alone [default: 0, 1, 2].",
            min=0,
            max=LAST_SEED,
        ),
    ] = None,
    factor_width: Annotated[
        list[int] | None, typer.Option(help="Bits of a factor; repeat for several [default: 4, 6, 8, 10, 12, 16].")
    ] = None,
    data_width: Annotated[
        list[int] | None, typer.Option(help="Bits of a data word; repeat for several [default: 4, 6, 8, 10, 12, 16].")
    ] = None,
    out: RowsFile = None,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Accuracy on the test split against widths of factors and data words, rounded after training and trained on them.

    Order of contraction and accumulators are those of the engine; its own widths are not taken. Rows go into the file
    of results, a picture beside it. Trainings and measurements are kept in build/precision: what was interrupted goes
    on where it was, and nothing is trained twice. All logits of models trained on integers are held against the golden
    model's.
    """
    from fdht.console import Output
    from fdht.model.presets import find_preset
    from fdht.spec.target import find_target

    output = Output(json)
    with output.loading():
        from fdht.studies import precision as study
        from fdht.studies.accuracy import RESULTS
    results, chosen = out or RESULTS, find_preset(preset)
    rows, compared = study.run(
        output,
        chosen,
        find_target(target),
        seeds=seed or study.SEEDS,
        factor_widths=factor_width or study.WIDTHS,
        data_widths=data_width or study.WIDTHS,
        results=results,
    )
    picture = study.draw(rows, target, results.parent)
    output.drew(picture)
    study.report(output, rows, compared)
    figures = {"preset": chosen.name, "picture": str(picture), **study.figures(rows, compared)}
    output.result(figures)
    if open_:
        output.open_pictures()
    study.check(figures)
