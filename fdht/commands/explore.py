"""`fdht explore`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import TRAINING, command
from fdht.commands.options import BUILD, ClipFolder, Json, Open, OtherData, Seed, board_option
from fdht.spec.errors import SpecError


@command(
    TRAINING,
    "fdht explore digits --board icebreaker",
    "fdht explore --data mine.npz --board icebreaker",
    "fdht explore digits -b icebreaker --trials 80",
    "fdht explore digits -b icebreaker --trials 0 --take 17",
    "fdht explore faces -b ulx3s-85f --own-engine --minimise memory --out build/small-faces",
)
def explore(
    *,
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            help="faces, digits, ..., or a project, as fdht new writes it: gives the data, the hidden units, and how a "
            "model is trained. Without one a model is proposed for --data.",
        ),
    ] = None,
    board: Annotated[
        str | None,
        board_option(
            "The board: a name in fdht synth --list, or module:name of your own [default: the project's; else it must "
            "be named]."
        ),
    ] = None,
    data: OtherData = None,
    clips: ClipFolder,
    trials: Annotated[
        int, typer.Option(help="Models to look at, in all runs and processes together; 0 shows what there is.", min=0)
    ] = 40,
    epochs: Annotated[int, typer.Option(help="Epochs of training for each model that fits.")] = 5,
    minimise: Annotated[
        list[str] | None,
        typer.Option(
            help="What to keep small while accuracy is to be high: cycles, parameters, memory or multipliers; repeat "
            "for several [default: cycles and parameters]."
        ),
    ] = None,
    own_engine: Annotated[
        bool, typer.Option("--own-engine", help="Only the engine that the board has: no other array, no new bitstream.")
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the study [default: build/explore/PRESET-BOARD].", metavar="DIR"),
    ] = None,
    take: Annotated[
        int | None,
        typer.Option(help="Write the model of the trial with this number for fdht train, and its engine for --target."),
    ] = None,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Search modes, trees, ranks, widths and arrays: what fits, how fast it is, how accurate.

    Each model is planned first; what fits the board is trained for a few epochs, quantised, and measured in integers on
    the validation split. Shown is the Pareto front: models that no other surpasses. The first trial is the preset
    itself. An interrupted search goes on with the same command (other epochs, data or aims need another --out), and
    several processes, or machines with a common folder, may run it at the same time.
    """
    from fdht.boards.catalogue import find_board
    from fdht.console import Output
    from fdht.model.presets import find_preset

    output = Output(json)
    with output.loading():
        from fdht.explore import exploration
        from fdht.workflow import proposing
    source = clips.source(data)
    if board is None:
        of_project = None if preset is None else proposing.board_of(preset)
        if of_project is None:
            raise SpecError("for which board? name one with --board, as in fdht explore digits --board icebreaker")
        board = of_project.name
    if preset is not None:
        chosen = find_preset(preset)
    elif source is not None:
        chosen = proposing.proposed(output, source, board, None, None)[0]
    else:
        raise SpecError("what is to be explored? name a preset, a project, or data with --data mine.npz")
    question = exploration.question(chosen, source, board, epochs, own_engine, minimise, seed)
    folder = BUILD / "explore" / f"{chosen.name}-{find_board(board).name}" if out is None else out
    figures = exploration.run(output, question, folder, trials, take)
    exploration.report(output, figures)
    output.result(figures)
    if open_:
        output.open_pictures()
