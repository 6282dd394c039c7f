"""`fdht compress`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import TRAINING, command
from fdht.commands.options import BUILD, AlsoRows, ClipFolder, Json, Modes, Open, Seed
from fdht.spec.errors import SpecError


@command(
    TRAINING,
    "fdht compress model.pt --data faces --ranks 4,8,12",
    "fdht compress model.safetensors --data-folder my-clips --input-modes 61,15,8,8 --output-modes 1,2,16,32",
    "fdht compress model.pt --data mine.npz --inputs standardised",
    "fdht compress model.pt --data faces --resume",
)
def compress(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The state dict of a torch.nn.LSTM and its linear head: .pt, .pth or .safetensors."
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="The data it was trained on: a name or a file, see fdht data.", metavar="NAME")
    ] = None,
    clips: ClipFolder,
    ranks: Annotated[
        str, typer.Option(help="Ranks to try: one model each, with that rank at every node of the dimension tree.")
    ] = "4,8,12",
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset or project whose modes and training to take [default: the data's, or one of the same size, "
            "else chosen for the data]."
        ),
    ] = None,
    modes: Modes,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of that training, 0 for none [default: a third of the preset's].")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its learning rate, at its peak [default: 0.003].")
    ] = None,
    seed: Seed = 0,
    head: Annotated[
        str | None, typer.Option(help="Name of the linear layer that gives the classes, if there are several.")
    ] = None,
    input_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="What the model was given for the smallest and the largest input byte: 0,1 if pixels were divided by "
            "255 [default: as fdht does].",
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the model was given of real values in a file: values, as they are; standardised, less their "
            "mean, in deviations; words, what fdht trains on [default: values; of pixels words].",
        ),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="Train on the labels, instead of on what the dense model says.",
        ),
    ] = False,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Also train each size from random factors, to compare with.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is done, and go on.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of checkpoints and picture.")] = BUILD,
    results: AlsoRows = None,
    open_: Open = False,
    json: Json = False,
) -> None:
    """A trained torch.nn.LSTM becomes an FDHT-LSTM, at several ranks: hierarchical SVD, then distillation.

    Says the error and the accuracy on the test split at each rank, draws them, and leaves a checkpoint per rank for
    fdht compile. Whoever chooses a rank by that accuracy has used the test split for it. Real values in a file are
    taken as they are, pixels as (byte - 128) / 128, unless --inputs or --input-range says otherwise. Without a preset
    of the model's size, modes are chosen and the training is proposed as fdht train --data does.
    """
    from fdht.console import Output

    output = Output(json)
    with output.loading():
        from fdht.studies import compression
    source = clips.source(data)
    if source is None:
        raise SpecError("say what the model was trained on: --data NAME, or --data-folder DIR")
    figures = compression.run(
        output,
        file,
        source=source,
        preset=preset,
        inputs=modes.input_modes,
        outputs=modes.output_modes,
        ranks=ranks,
        epochs=epochs,
        rate=learning_rate,
        seed=seed,
        head=head,
        values=input_range,
        taken=inputs,
        labels=labels,
        scratch=scratch,
        resume=resume,
        folder=out,
        results=results,
    )
    compression.report(output, figures)
    output.result(figures)
    if open_:
        output.open_pictures()
