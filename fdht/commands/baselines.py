"""`fdht baselines`."""

from typing import Annotated

import typer

from fdht.commands.declaration import TRAINING, command
from fdht.commands.options import LAST_SEED, Json, RowsFile


@command(
    TRAINING,
    "fdht baselines --data faces-hard",
    "fdht baselines --data clip-segments --jobs 2",
    "fdht baselines --data mine.npz",
    "fdht baselines --data digits --format tt --format fdht --training-clips 20000",
)
def baselines(
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set with a preset of its name, a file of yours (.npz, .npy, .ts, .csv), for which a model is "
            "proposed, or a project of fdht new; repeat for several [default: faces-hard]."
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            help="dense, tt, tr, bt, ht-input (HT for the inputs alone) or fdht; repeat for several [default: all]."
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Seed of a training; repeat for several. All formats are trained with all, dense with the first alone "
            "[default: 0, 1, 2].",
            min=0,
            max=LAST_SEED,
        ),
    ] = None,
    training_clips: Annotated[
        int | None,
        typer.Option(help="Training clips of each model, all epochs together [default: the preset's].", min=1),
    ] = None,
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(
            help="Peak learning rate; of several the best on the validation split, over all seeds, is taken for each "
            "format [default: 0.03, 0.01, 0.003, 0.001]."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at a time, each in a process with one thread.", min=1)] = 1,
    out: RowsFile = None,
    json: Json = False,
) -> None:
    """FDHT against dense, TT-, TR-, BT- and HT-LSTM: same data, same budget, same seeds (dense: the first alone).

    TT, TR and BT are trained twice: as their papers have them, with W_h a matrix of its own, and with all eight
    matrices in one network of about as many parameters as FDHT's. HT is trained the first way; the other way it is
    FDHT. Trainings are kept in build/baselines: what was interrupted goes on where it was, and nothing is trained
    twice. Differences are paired over test clips.
    """
    from fdht.console import Output

    output = Output(json)
    with output.loading():
        from fdht.studies import baselines as study
        from fdht.studies.accuracy import RESULTS
        from fdht.studies.standings import standings
    rows = study.run(
        output,
        data=data or ["faces-hard"],
        formats=format or [],
        seeds=seed or study.SEEDS,
        clips=training_clips,
        rates=learning_rate or study.RATES,
        jobs=jobs,
        results=out or RESULTS,
    )
    study.report(output, rows)
    output.result([model.figures() for models in standings(rows).values() for model in models])
