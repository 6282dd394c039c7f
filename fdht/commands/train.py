"""`fdht train`."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fdht.commands.declaration import TRAINING, OptionGroup, command
from fdht.commands.options import (
    BUILD,
    DEFAULT_TARGET,
    INTEGERS,
    MODEL,
    ClipFolder,
    FactorWidth,
    Json,
    Modes,
    Open,
    Seed,
    board_option,
)
from fdht.spec.errors import SpecError

if TYPE_CHECKING:
    from fdht.console import Output
    from fdht.model.presets import Preset
    from fdht.model.qat import Arithmetic

RECIPE, MACHINE = "How it is trained (as the preset says, unless given)", "The machine"
"""Groups of options in fdht train --help."""


@dataclass(frozen=True)
class Recipe(OptionGroup):
    """Settings of the training in place of the preset's."""

    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better accuracy on the validation split, which is then not "
            "trained on, and keep the best epoch's weights.",
            rich_help_panel=RECIPE,
        ),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            help="How the rate runs: one-cycle, trapezoid, cosine, constant.", metavar="NAME", rich_help_panel=RECIPE
        ),
    ] = None
    learning_rate: Annotated[
        float | None, typer.Option(help="The learning rate, at its peak.", rich_help_panel=RECIPE)
    ] = None
    weight_decay: Annotated[
        float | None,
        typer.Option(help="AdamW weight decay; with rates by size that of networks.", rich_help_panel=RECIPE),
    ] = None
    rates: Annotated[
        str | None,
        typer.Option(
            help="How the learning rate is shared out: by-size (each factor's follows from its size, so that networks "
            "of any depth and rank take the same rate) or alike.",
            metavar="NAME",
            rich_help_panel=RECIPE,
        ),
    ] = None
    batch: Annotated[int | None, typer.Option(help="Clips per step of the optimiser.", rich_help_panel=RECIPE)] = None
    clips_per_epoch: Annotated[
        int | None,
        typer.Option(help="Clips drawn for each epoch, or all where there are fewer.", rich_help_panel=RECIPE),
    ] = None
    dropout: Annotated[
        float | None, typer.Option(help="Dropout on the hidden state before the head.", rich_help_panel=RECIPE)
    ] = None
    input_dropout: Annotated[
        float | None,
        typer.Option(help="Dropout on the inputs x, one mask for all steps of a clip.", rich_help_panel=RECIPE),
    ] = None
    hidden_dropout: Annotated[
        float | None,
        typer.Option(
            help="Dropout on the hidden state h that goes back into the layer, one mask for all steps of a clip.",
            rich_help_panel=RECIPE,
        ),
    ] = None
    no_augment: Annotated[
        bool,
        typer.Option("--no-augment", help="Take the training clips as they are.", rich_help_panel=RECIPE),
    ] = False

    def of(self, preset: "Preset") -> "Preset":
        """The preset with these settings.

        Raises:
            SpecError: a setting that cannot be trained with.
        """
        from fdht.workflow import training

        settings = {name: value for name, value in vars(self).items() if name != "no_augment"}
        return training.changed(preset, not self.no_augment, settings)


@dataclass(frozen=True)
class Integers(OptionGroup):
    """The integers to train on, if any."""

    qat: Annotated[
        bool,
        typer.Option("--qat", help="Train on the integers of an engine, not in float.", rich_help_panel=INTEGERS),
    ] = False
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            help=f"The engine, as for fdht compile [default: {DEFAULT_TARGET}].",
            rich_help_panel=INTEGERS,
        ),
    ] = None
    factor_width: FactorWidth = None
    data_width: Annotated[
        int | None,
        typer.Option(
            help="Bits of a data word, 4 to 18; only the engine's compile [default: the engine's].",
            rich_help_panel=INTEGERS,
        ),
    ] = None

    def of(self, output: "Output", preset: "Preset") -> "Arithmetic | None":
        """What the preset's model computes with; None for floating point.

        Raises:
            SpecError: an engine or widths without --qat, or widths that nothing can be trained on.
            CapacityError: no order of contraction fits the engine.
        """
        from fdht.spec.target import find_target
        from fdht.workflow import training

        if self.qat:
            target = find_target(self.target or DEFAULT_TARGET)
            return training.integers(output, preset, target, self.factor_width, self.data_width)
        if (self.target, self.factor_width, self.data_width) != (None, None, None):
            raise SpecError(
                "an engine and widths are for training on integers; add --qat, or leave them to fdht compile"
            )
        return None


@command(
    TRAINING,
    "fdht train",
    "fdht train --data mine.npz",
    "fdht train mine.toml",
    "fdht train faces",
    "fdht train faces --seed 1 -o build/faces1.checkpoint",
    "fdht train digits --output-modes 4,8,8 --rank 4",
    "fdht train faces --resume",
    "fdht train ucf11 --data ucf11 --data-folder UCF11_updated_mpg --patience 5 --schedule cosine",
    "fdht train digits --qat --factor-width 4 --target icebreaker --from build/digits.checkpoint --epochs 10 "
    "--learning-rate 0.003",
    "torchrun --nproc-per-node 2 -m fdht train faces-rgb",
)
def train(
    *,
    preset: Annotated[
        str | None,
        typer.Argument(
            help="What to train: a preset, or a file that fdht new or fdht explore --take wrote. Without one a model "
            "is proposed for --data, or all presets are listed.",
            metavar="PRESET",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Other data than the preset's: a name or a file (.npz, .npy, .ts, .csv), see fdht data. Without, "
            "ucf11 and youtube-faces have ORL faces.",
            metavar="NAME",
        ),
    ] = None,
    clips: ClipFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The checkpoint [default: build/PRESET.checkpoint, with --qat build/PRESET-qat.checkpoint].",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="How many epochs; each has --clips-per-epoch clips and ends in a checkpoint [default: the preset's]."
        ),
    ] = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose",
            help="To compare settings: train on the train split alone and report the accuracy on the validation split.",
        ),
    ] = False,
    recipe: Recipe,
    modes: Modes,
    rank: Annotated[
        int | None,
        typer.Option(
            help="One rank for every node of the dimension tree; needed with another number of modes.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(
            help="Hidden units of a model that is proposed for --data [default: 64, or as many as fit].",
            rich_help_panel=MODEL,
            min=1,
        ),
    ] = None,
    board: Annotated[
        str | None,
        board_option(f"The board that such a model must fit, as for fdht synth [default: {DEFAULT_TARGET}].", MODEL),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="Fine-tune: begin with the parameters in this checkpoint of the same model, not with random ones.",
        ),
    ] = None,
    integers: Integers,
    precision: Annotated[
        str,
        typer.Option(
            help="Floating-point format of products: float32 or bfloat16. (Bits of integers: --factor-width, "
            "--data-width.)",
            metavar="NAME",
            rich_help_panel=MACHINE,
        ),
    ] = "float32",
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Make kernels for the model first (torch.compile).", rich_help_panel=MACHINE),
    ] = False,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Train a model and leave a checkpoint after every epoch, with its log (CSV) and, in the end, its curves (PNG).

    On a GPU when there is one, on several or on several machines through torchrun. Settings that are left out are the
    preset's. An interrupted training goes on with --resume and the same settings, and ends in the same numbers, on
    a GPU but for rounding.

    With --qat a model is trained on the integers of an engine, and fdht compile keeps them. Number formats are chosen
    once, at the start of a fine-tuning (--from) or else after 30 % of the epochs, until which training is in floating
    point.
    """
    from fdht.console import Output
    from fdht.model.presets import find_preset

    with Output(json, quiet="TORCHELASTIC_RUN_ID" in os.environ).loading():  # of several processes none says it
        from fdht.model.checkpoint import SUFFIX
        from fdht.model.parallel import leads
        from fdht.model.train import TrainingOptions
        from fdht.workflow import proposing, training

    output, source = Output(json, quiet=not leads()), clips.source(data)
    if preset is None and source is None:
        if any(each is not None for each in (out, epochs, start, hidden, board, rank)) or resume:
            raise SpecError("say what to train: a preset, a project, or --data; fdht train alone shows the presets")
        output.result(training.catalogue(output))
        return
    if preset is None:
        assert source is not None
        proposal, _, _ = proposing.proposed(output, source, board or DEFAULT_TARGET, hidden, rank)
        chosen = recipe.of(proposal)
        chosen = replace(chosen, spec=modes.of(chosen.spec, rank if modes.given else None))
        output.say(training.described(chosen))
    else:
        if (hidden, board) != (None, None):
            raise SpecError(f"{preset} has its own size; --hidden and --board are for a model proposed for --data")
        found = recipe.of(find_preset(preset))
        chosen = replace(found, spec=modes.of(found.spec, rank))
        project_board = proposing.board_of(preset)
        trouble = proposing.misfit(chosen.spec, project_board) if project_board is not None else ""
        if trouble:
            output.say(trouble)
    arithmetic = integers.of(output, chosen)
    path = BUILD / f"{chosen.name}{'-qat' if integers.qat else ''}{SUFFIX}" if out is None else out
    if start is not None and start.resolve() == path.resolve():
        raise SpecError(f"{path} would be written over itself; name another file with --out")
    options = TrainingOptions(
        source=source,
        seed=seed,
        epochs=epochs,
        resume=resume,
        choose=choose,
        precision=precision,
        compiled=compiled,
        arithmetic=arithmetic,
        start=start,
    )
    figures = training.run(output, chosen, path, options)
    training.report(output, figures)
    output.result(figures)
    if open_:
        output.open_pictures()
