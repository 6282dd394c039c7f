"""The command `fdht`: what each part is called, and what its options mean. The work is in the modules beside it.

Layers are imported where a command needs them, so that help is instant and simulation and synthesis need no torch.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from fdht.extras import lacking
from fdht.spec.errors import FdhtError, SpecError
from fdht.spec.version import VERSION
from fdht.streams import close_pipes, print_what_can_be

app = typer.Typer(
    name="fdht",
    help="""FDHT-LSTM on FPGAs: train, quantise, compile, simulate and build, exact to the bit.

A *preset* is a model, its data and how it is trained. Training leaves a *checkpoint*; fdht compile makes a *bundle* of
it, the same network in integers with its golden vectors, and an *image*: program and factors for one *target*. A target
is an engine: an array of multipliers and its memories. Every board's bitstream holds one, and runs every image made for
it.""",
    epilog="A good start: fdht demo. What is missing on this machine: fdht doctor.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fdht {VERSION}")
        raise typer.Exit


@app.callback()
def fdht(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # Its docstring would take the place of the application's help.
    pass


Json = Annotated[
    bool, typer.Option("--json", help="Print JSON alone on stdout, one object or one list; all else goes to stderr.")
]
TargetName = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="The engine: a name in column target of fdht synth --list, or a file that fdht explore --take wrote.",
        metavar="NAME",
    ),
]
LAST_SEED = 2**32 - 1
Seed = Annotated[int, typer.Option(help="Of the initialisation and of all random draws.", min=0, max=LAST_SEED)]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, as fdht compile writes it.")]
Pauses = Annotated[bool, typer.Option("--pauses", help="Random gaps in the input: values stay, cycles grow.")]
Waves = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a VCD trace for GTKWave or Surfer (large and slow).")
]

Folder = Annotated[
    str | None,
    typer.Option(
        "--data-folder",
        metavar="DIR",
        help="Where clips lie: one folder per class, or for a named data set as that is distributed.",
    ),
]
Frames = Annotated[int, typer.Option(help="Of clips in a folder: how many of its frames a clip shows.", min=1)]
SplitName = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Of clips in a folder: group (what one video gave stays together), clip, or official-1 to -3 (HMDB51).",
    ),
]
Fold = Annotated[
    int,
    typer.Option(
        help="Of clips in a folder: which fifth is the test, 0 to 4; of official splits, which fifth validates."
    ),
]

RECIPE, MODEL, MACHINE = "How it is trained (as the preset says, unless given)", "The model's shape", "The machine"
INTEGERS = "Training on an engine's integers"
"""Groups of options in fdht train --help."""

TRAINING, ENGINE, WHOLE = "Data, training, accuracy", "From checkpoint to board", "The whole chain, and its figures"
"""Groups of commands in fdht --help."""

DEFAULT_TARGET = "ulx3s-85f"
BUILD = Path("build")


@app.command(
    rich_help_panel=WHOLE,
    epilog="Examples: fdht demo · fdht demo --preset digits --target icebreaker · fdht demo --clips 1 --json",
)
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
    from fdht.studies import comparison
    from fdht.workflow import demonstration

    output = Output(json)
    figures = demonstration.run(
        output, preset=preset, target=target, folder=out, clips=clips, seed=seed, quick=quick, fresh=fresh
    )
    output.result(figures)
    comparison.check(figures)


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: fdht train · fdht train faces · fdht train faces --seed 1 -o build/faces1.checkpoint · "
    "fdht train digits --output-modes 4,8,8 --rank 4 · fdht train faces --resume · "
    "fdht train ucf11 --data ucf11 --data-folder UCF11_updated_mpg --patience 5 --schedule cosine · "
    "fdht train digits --qat --factor-width 4 --target icebreaker --from build/digits.checkpoint --epochs 10 "
    "--learning-rate 0.003 · torchrun --nproc-per-node 2 -m fdht train faces-rgb",
)
def train(
    preset: Annotated[
        str | None,
        typer.Argument(
            help="What to train, or a file that fdht explore --take wrote; all presets are listed without.",
            metavar="PRESET",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Other data than the preset's, see fdht data. Without, ucf11 and youtube-faces have ORL faces.",
            metavar="NAME",
        ),
    ] = None,
    data_folder: Folder = None,
    frames: Frames = 6,
    split: SplitName = "group",
    fold: Fold = 0,
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
        typer.Option(help="Each of --clips-per-epoch clips and ending in a checkpoint [default: the preset's]."),
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
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better accuracy on the validation split, which is then not "
            "trained on, and keep the best epoch's weights.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Of the learning rate: one-cycle, cosine, constant.", metavar="NAME", rich_help_panel=RECIPE),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The schedule's peak.", rich_help_panel=RECIPE)] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.", rich_help_panel=RECIPE)] = None,
    batch: Annotated[int | None, typer.Option(help="Clips per step of the optimiser.", rich_help_panel=RECIPE)] = None,
    clips_per_epoch: Annotated[
        int | None, typer.Option(help="Clips drawn for an epoch, or all there are.", rich_help_panel=RECIPE)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Of the hidden state before the head.", rich_help_panel=RECIPE)
    ] = None,
    input_dropout: Annotated[
        float | None, typer.Option(help="Of x, one mask for all steps of a clip.", rich_help_panel=RECIPE)
    ] = None,
    hidden_dropout: Annotated[
        float | None, typer.Option(help="Of the h that goes back into the layer, likewise.", rich_help_panel=RECIPE)
    ] = None,
    no_augment: Annotated[
        bool,
        typer.Option("--no-augment", help="Take the training clips as they are.", rich_help_panel=RECIPE),
    ] = False,
    input_modes: Annotated[
        str | None,
        typer.Option(
            help="Other input modes n, like 61,10,4,8, which x fills in C order. x and h each fill whole indices of "
            "one mode, so the product is often more than both. Another number of modes needs --rank and as many "
            "output modes.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    output_modes: Annotated[
        str | None,
        typer.Option(
            help="Other output modes m, like 2,2,8,32: as many as input modes, and their product holds four gates.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="One rank for every node of the dimension tree; needed with another number of modes.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="CHECKPOINT", help="First parameters, of a checkpoint of the same model: fine-tuning."
        ),
    ] = None,
    qat: Annotated[
        bool,
        typer.Option("--qat", help="Train on the integers of an engine, not in float.", rich_help_panel=INTEGERS),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            help=f"The engine, as for fdht compile [default: {DEFAULT_TARGET}].",
            rich_help_panel=INTEGERS,
        ),
    ] = None,
    factor_width: Annotated[
        int | None,
        typer.Option(
            help="Bits of a factor, 4 to 18; more than the engine's do not compile [default: the engine's].",
            rich_help_panel=INTEGERS,
        ),
    ] = None,
    data_width: Annotated[
        int | None,
        typer.Option(
            help="Bits of a data word, 4 to 18; only the engine's compile [default: the engine's].",
            rich_help_panel=INTEGERS,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Of floating-point products: float32 or bfloat16. Bits of integers: --factor-width, --data-width.",
            metavar="NAME",
            rich_help_panel=MACHINE,
        ),
    ] = "float32",
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Make kernels for the model first (torch.compile).", rich_help_panel=MACHINE),
    ] = False,
    json: Json = False,
) -> None:
    """Train a model and leave a checkpoint after every epoch, with its log (CSV) and, in the end, its curves (PNG).

    On a GPU when there is one, on several or on several machines through torchrun. Settings that are left out are the
    preset's. An interrupted training goes on with --resume and the same settings, and ends in the same numbers.

    With --qat a model is trained on the integers of an engine, and fdht compile keeps them. Number formats are chosen
    once, at the start of a fine-tuning (--from) or else after 30 % of the epochs, until which training is in floating
    point.
    """
    from fdht.console import Output
    from fdht.model.parallel import leads
    from fdht.model.presets import find_preset
    from fdht.spec.target import find_target
    from fdht.workflow import datasets, training

    output, source = Output(json, quiet=not leads()), datasets.source(data, data_folder, frames, split, fold)
    if preset is None:
        output.result(training.catalogue(output))
        return
    settings = {
        "patience": patience,
        "schedule": schedule,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "batch": batch,
        "clips_per_epoch": clips_per_epoch,
        "dropout": dropout,
        "input_dropout": input_dropout,
        "hidden_dropout": hidden_dropout,
    }
    found = training.changed(find_preset(preset), not no_augment, settings)
    chosen = replace(found, spec=training.reshaped(found.spec, input_modes, output_modes, rank))
    if not qat and (target, factor_width, data_width) != (None, None, None):
        raise SpecError("an engine and widths are for training on integers; add --qat, or leave them to fdht compile")
    on = None
    if qat:
        on = training.integers(output, chosen, find_target(target or DEFAULT_TARGET), factor_width, data_width)
    path = BUILD / f"{chosen.name}{'-qat' if qat else ''}.checkpoint" if out is None else out
    if start is not None and start == path:
        raise SpecError(f"{path} would be written over itself; name another file with --out")
    figures = training.run(
        output,
        chosen,
        path,
        seed=seed,
        epochs=epochs,
        resume=resume,
        source=source,
        choose=choose,
        precision=precision,
        compiled=compiled,
        on=on,
        start=start,
    )
    training.report(output, figures)
    output.result(figures)


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: fdht data · fdht data faces-hard · fdht data ucf11 --data-folder UCF11_updated_mpg --fold 1 · "
    "fdht data --data-folder my-clips --frames 8",
)
def data(
    name: Annotated[
        str | None,
        typer.Argument(help="A data set, or module:name of your own; all are listed without.", metavar="NAME"),
    ] = None,
    data_folder: Folder = None,
    frames: Frames = 6,
    split: SplitName = "group",
    fold: Fold = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The contact sheet, a PNG [default: build/NAME.png].")
    ] = None,
    json: Json = False,
) -> None:
    """Which data sets there are, or what one is: sizes, protocol, and a contact sheet of its pictures.

    Clips of your own need no more than a folder with one folder per class. Decoded clips are kept in build/data.
    """
    from fdht.console import Output
    from fdht.workflow import datasets

    output, source = Output(json), datasets.source(name, data_folder, frames, split, fold)
    if source is None:
        output.result(datasets.catalogue(output))
        return
    figures = datasets.run(output, source, out, BUILD)
    output.result(figures)


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: fdht compress model.pt --data faces --ranks 4,8,12 · fdht compress model.safetensors "
    "--data-folder my-clips --input-modes 61,15,8,8 --output-modes 1,2,16,32 · "
    "fdht compress model.pt --data faces --resume",
)
def compress(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The state dict of a torch.nn.LSTM and its linear head: .pt, .pth or .safetensors."
        ),
    ],
    data: Annotated[str | None, typer.Option(help="What it was trained on, see fdht data.", metavar="NAME")] = None,
    data_folder: Folder = None,
    frames: Frames = 6,
    split: SplitName = "group",
    fold: Fold = 0,
    ranks: Annotated[str, typer.Option(help="Of every node of the dimension tree, one model each.")] = "4,8,12",
    preset: Annotated[
        str | None,
        typer.Option(help="Whose modes and training to take [default: the data's, or one of the same size]."),
    ] = None,
    input_modes: Annotated[
        str | None,
        typer.Option(help="Other input modes n, like 61,10,4,8; x and h each fill whole indices of one mode."),
    ] = None,
    output_modes: Annotated[
        str | None,
        typer.Option(
            help="Other output modes m, like 2,2,8,32: as many as input modes, and their product holds four gates."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of fine-tuning, 0 for none [default: a third of the preset's].")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of fine-tuning, its peak [default: 0.003].")] = None,
    seed: Seed = 0,
    head: Annotated[
        str | None, typer.Option(help="Name of the linear layer that gives the classes, if there are several.")
    ] = None,
    input_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="What it takes for the smallest and largest input byte: 0,1 for pixels / 255 [default: as fdht does].",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is done, and go on.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of checkpoints and picture.")] = BUILD,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also put rows into this file of results.")
    ] = None,
    json: Json = False,
) -> None:
    """A trained torch.nn.LSTM becomes an FDHT-LSTM: hierarchical SVD, then fine-tuning, at several ranks.

    Says the error and the accuracy on the test split at each rank, draws them, and leaves a checkpoint per rank for
    fdht compile. A rank chosen by that accuracy has seen the test. Inputs are taken as fdht gives them, pixels from -1
    to 127/128, which is (byte - 128) / 128, unless --input-range says otherwise.
    """
    from fdht.console import Output
    from fdht.studies import compression
    from fdht.workflow import datasets

    output, source = Output(json), datasets.source(data, data_folder, frames, split, fold)
    if source is None:
        raise SpecError("say what the model was trained on: --data NAME, or --data-folder DIR")
    figures = compression.run(
        output,
        file,
        source=source,
        preset=preset,
        inputs=input_modes,
        outputs=output_modes,
        ranks=ranks,
        epochs=epochs,
        rate=learning_rate,
        seed=seed,
        head=head,
        values=input_range,
        resume=resume,
        folder=out,
        results=results,
    )
    compression.report(output, figures)
    output.result(figures)


@app.command(
    name="compile",
    rich_help_panel=ENGINE,
    epilog="Examples: fdht compile build/faces.checkpoint · "
    "fdht compile build/digits.checkpoint --target icebreaker -o build/small --explain · "
    "fdht compile build/gestures.checkpoint --data mine:gestures",
)
def compile_(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, as fdht train writes it.")],
    target: TargetName = DEFAULT_TARGET,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of bundle and image [default: the checkpoint's].")
    ] = None,
    factor_width: Annotated[
        int | None, typer.Option(help="Bits of a factor, 4 to the engine's own [default: those, or what --qat had].")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Where the clips are that it was trained on, if it was module:name of your own (no file may name code "
            "to be run) or is called otherwise now [default: what the checkpoint says].",
            metavar="NAME",
        ),
    ] = None,
    data_folder: Annotated[
        str | None,
        typer.Option("--data-folder", metavar="DIR", help="Where they lie now [default: what the checkpoint says]."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also say why: stages, memory map, memories' fill, what came second.")
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


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht info build/faces.bundle · fdht info build/faces.ulx3s-85f.image --listing",
)
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, a bundle or an image.")],
    listing: Annotated[bool, typer.Option("--listing", help="Of an image, also the program.")] = False,
    json: Json = False,
) -> None:
    """What a file is: sizes, modes, number formats, stages, program."""
    from fdht.console import Output
    from fdht.workflow import information

    output = Output(json)
    figures, show = information.describe(file, listing)
    show(output)
    output.result({"file": str(file), **figures})


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht simulate build/faces.bundle · fdht simulate build/faces.bundle --clips 2 --pauses · "
    "fdht simulate build/digits.bundle --waves build/digits.vcd",
)
def simulate(
    bundle: BundlePath,
    target: TargetName = DEFAULT_TARGET,
    clips: Annotated[int, typer.Option(help="Clips of the bundle to run, spread over all it has.", min=1)] = 1,
    simulator: Annotated[
        str, typer.Option(metavar="NAME", help="verilator, or icarus: no build, but 50 times slower.")
    ] = "verilator",
    pauses: Pauses = False,
    waves: Waves = None,
    json: Json = False,
) -> None:
    """Run clips through the RTL, cycle by cycle, every word against the golden execution.

    Needs no torch: the bundle carries its golden vectors.
    """
    from fdht.console import Output
    from fdht.studies import comparison

    output = Output(json)
    loaded, image = comparison.load(bundle, target)
    runs = comparison.run_clips(
        output, loaded, image, comparison.spread(loaded, clips), simulator=simulator, pauses=pauses, waves=waves
    )
    figures = {"bundle": str(bundle), "simulator": simulator, **comparison.figures(loaded, image, runs)}
    comparison.report(output, figures)
    output.result(figures)
    comparison.check(figures, cycles=not pauses)


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht compare build/faces.bundle · fdht compare build/small/digits.bundle -t icebreaker --json · "
    "fdht compare build/faces.bundle --clips 10 --results docs/results/accuracy.json",
)
def compare(
    bundle: BundlePath,
    target: TargetName = DEFAULT_TARGET,
    clips: Annotated[
        int | None,
        typer.Option(help="Clips to simulate; the golden model runs all [default: 3, or what there is].", min=1),
    ] = None,
    pauses: Pauses = False,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also put rows into this file of results.")
    ] = None,
    json: Json = False,
) -> None:
    """Float against golden model against RTL: accuracy, saturation, words, cycles.

    The golden model runs every clip of the bundle again; the float model's classes are those noted in the bundle.
    """
    from fdht.console import Output
    from fdht.studies import accuracy, comparison

    output = Output(json)
    loaded, image = comparison.load(bundle, target)
    chosen, judged = comparison.spread(loaded, clips), comparison.accuracy_figures(output, loaded)
    runs = comparison.run_clips(output, loaded, image, chosen, pauses=pauses)
    figures = {"bundle": str(bundle), **comparison.figures(loaded, image, runs), **judged}
    comparison.report(output, figures)
    comparison.report_accuracy(output, figures)
    output.result(figures)
    comparison.check(figures, cycles=not pauses)
    if results is not None:
        accuracy.merge(comparison.rows(loaded, image.target, runs), results)


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht synth --list · fdht synth --board icebreaker · "
    "fdht synth --board ulx3s-85f --seed 1 --seed 2 --json · fdht synth --board icebreaker --check",
)
def synth(
    board: Annotated[
        str | None, typer.Option("--board", "-b", help="Which one; --list shows those there are.", metavar="NAME")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the boards and build nothing.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the build [default: build/BOARD].")] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Of place and route; several are tried and the fastest kept [default: 1; with --check the baseline's]."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail if the build is worse than the board's recorded baseline.")
    ] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Make the build the baseline.")] = False,
    json: Json = False,
) -> None:
    """Make a bitstream: the engine behind its UART, with what it uses and how fast it is.

    One bitstream runs every model that fits the board's target. A board's baseline is a recorded build: it says what it
    took, how fast it was and how many cycles the presets need; --check fails if a build takes more multipliers, block
    RAM or cycles at all, 5 % more LUTs or flip-flops, or is 5 % slower.
    """
    from fdht.console import Output
    from fdht.workflow import bitstream

    output = Output(json)
    if list_:
        rows = bitstream.boards()
        bitstream.report_boards(output, rows)
        output.result(rows)
        return
    if board is None:
        raise typer.BadParameter("Missing option '--board'; --list shows the boards there are")
    if check and accept:
        raise typer.BadParameter("--check and --accept exclude each other")
    figures = bitstream.run(output, board, BUILD / board if out is None else out, seed or [], check, accept)
    bitstream.report(output, figures)
    output.result(figures)


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht program --board icebreaker · fdht program --board ulx3s-85f --bitstream other.bit",
)
def program(
    board: Annotated[str, typer.Option("--board", "-b", help="Which one: fdht synth --list.", metavar="NAME")],
    bitstream: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The bitstream [default: build/BOARD, as fdht synth leaves it].")
    ] = None,
    json: Json = False,
) -> None:
    """Load a bitstream onto a board, with openFPGALoader."""
    from fdht.console import Output
    from fdht.workflow import programming

    output = Output(json)
    figures = programming.run(output, board, bitstream, BUILD)
    output.say(f"{figures['bitstream']} is on {figures['board']}")
    output.result(figures)


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht run build/faces.bundle --port /dev/ttyUSB1 · fdht run build/small/digits.bundle --port COM4 "
    "--board icebreaker --clips 20 --compare · fdht run build/small/digits.bundle --simulate --board icebreaker --spi",
)
def run(
    bundle: BundlePath,
    port: Annotated[
        str | None, typer.Option("--port", "-p", help="The board's serial port, or socket://HOST:PORT.", metavar="PORT")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="On the board's whole design in simulation.")] = False,
    board: Annotated[
        str | None,
        typer.Option(
            "--board", "-b", metavar="NAME", help="The board; at a port, it must have the bitstream of this fdht."
        ),
    ] = None,
    spi: Annotated[
        bool, typer.Option("--spi", help="Simulate the board's SPI port in place of its serial port.")
    ] = False,
    clips: Annotated[
        int | None,
        typer.Option(help="Clips of the bundle to run, spread over all it has [default: 3, or what there is].", min=1),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Every word against the golden model.")] = False,
    json: Json = False,
) -> None:
    """Run clips on a board: classes, frames per second.

    The board says which engine it has; an image for it is made of the bundle, which fdht compile must have made for
    that target, and loaded if it is not there yet. With --simulate, the same driver talks to the pins of the board's
    design in simulation.
    """
    from fdht.console import Output
    from fdht.spec.errors import SpecError
    from fdht.workflow import running

    if simulate == (port is not None):
        raise SpecError("say where to run: either --port PORT or --simulate")
    output, place = Output(json), running.Place(port, board or (DEFAULT_TARGET if simulate else None), spi)
    loaded, made = running.run(output, bundle, place, clips)
    figures = {"bundle": str(bundle), **running.figures(loaded, made, running.rate(place), compare)}
    running.report(output, figures)
    output.result(figures)
    running.check(figures)


@app.command(
    rich_help_panel=WHOLE,
    epilog="Examples: fdht bench · fdht bench --preset faces --target ulx3s-85f --part table · "
    "fdht bench --part cpu · fdht bench --part pictures · fdht bench --json",
)
def bench(
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="table, scaling (cost against N), cpu (PyTorch), epoch (the same in training) or pictures; "
            "repeat for several [all]."
        ),
    ] = None,
    preset: Annotated[list[str] | None, typer.Option(help="Only rows of this preset; repeat for several.")] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="Only rows of this engine; repeat for several.")
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(help="Only rows of this format: ht (FDHT), tt, tr, bt, dense; repeat for several."),
    ] = None,
    synth: Annotated[
        bool, typer.Option("--synth", help="First build the boards, 3 seeds each: hours. Else recorded builds count.")
    ] = False,
    no_rtl: Annotated[
        bool, typer.Option("--no-rtl", help="Take the cycles of the schedule alone, without simulating them.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of results and pictures.")] = Path("docs/results"),
    json: Json = False,
) -> None:
    """The performance table: cycles from the RTL, the clock from place and route.

    Needs no training: weights are random (seed 0), quantised on real pictures; cycles do not depend on them, and every
    word is compared with the golden model all the same. Simulations and builds are kept below build/, so a run that
    was interrupted goes on where it was. Rows go to bench.json and builds to builds.json in the folder of results;
    python -m docs.results puts them into the README.
    """
    from fdht.console import Output
    from fdht.studies import bench as benchmark

    output = Output(json)
    rows = benchmark.run(
        output,
        parts=part or [],
        presets=preset or [],
        targets=target or [],
        formats=format or [],
        synth=synth,
        rtl=not no_rtl,
        folder=out,
    )
    output.result(rows)
    benchmark.check(rows)


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: fdht baselines --data faces-hard · fdht baselines --data clip-segments --jobs 2 · "
    "fdht baselines --data digits --format tt --format fdht --training-clips 20000",
)
def baselines(
    data: Annotated[
        list[str] | None, typer.Option(help="A data set with a preset of its name; repeat for several [faces-hard].")
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(help="dense, tt, tr, bt, ht-input (HT for the inputs alone) or fdht; repeat for several [all]."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Repeat for several; dense has the first alone [0, 1, 2].", min=0, max=LAST_SEED),
    ] = None,
    training_clips: Annotated[
        int | None, typer.Option(help="Training clips of each model, all epochs together [the preset's].", min=1)
    ] = None,
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(
            help="Peaks to choose from on validation, with all seeds; a single one is taken [0.01, 0.003, 0.001]."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at a time, each in a process with one thread.", min=1)] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file of rows [docs/results/accuracy.json].")
    ] = None,
    json: Json = False,
) -> None:
    """FDHT against dense, TT-, TR-, BT- and HT-LSTM: same data, same budget, same seeds (dense: the first alone).

    TT, TR and BT are trained twice: as their papers have them, with W_h a matrix of its own, and with all eight
    matrices in one network of about as many parameters as FDHT's. HT is trained the first way; the other way it is
    FDHT. Trainings are kept in build/baselines: what was interrupted goes on where it was, and nothing is trained
    twice. Differences are paired over test clips.
    """
    from fdht.console import Output
    from fdht.studies import baselines as comparison
    from fdht.studies.accuracy import RESULTS
    from fdht.studies.standings import standings

    output = Output(json)
    rows = comparison.run(
        output,
        data=data or ["faces-hard"],
        formats=format or [],
        seeds=seed or comparison.SEEDS,
        clips=training_clips,
        rates=learning_rate or comparison.RATES,
        jobs=jobs,
        results=out or RESULTS,
    )
    comparison.report(output, rows)
    output.result([model.figures() for models in standings(rows).values() for model in models])


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: fdht explore digits --board icebreaker · fdht explore digits -b icebreaker --trials 80 · "
    "fdht explore digits -b icebreaker --trials 0 --take 17 · "
    "fdht explore faces -b ulx3s-85f --own-engine --minimise memory --out build/small-faces",
)
def explore(
    preset: Annotated[
        str, typer.Argument(help="faces, digits, ...: gives the data, the hidden units, and how a model is trained.")
    ],
    board: Annotated[
        str, typer.Option("--board", "-b", help="Where it is to run: one that fdht synth --list shows.", metavar="NAME")
    ],
    data: Annotated[
        str | None, typer.Option(help="Other data than the preset's, see fdht data.", metavar="NAME")
    ] = None,
    data_folder: Folder = None,
    frames: Frames = 6,
    split: SplitName = "group",
    fold: Fold = 0,
    trials: Annotated[
        int, typer.Option(help="Models to look at, in all runs and processes together; 0 shows what there is.", min=0)
    ] = 40,
    epochs: Annotated[int, typer.Option(help="Of training, for each model that fits.")] = 5,
    minimise: Annotated[
        list[str] | None,
        typer.Option(
            help="Beside the best accuracy: cycles, parameters, memory or multipliers; repeat for several "
            "[default: cycles and parameters]."
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
        int | None, typer.Option(help="Write this trial's model for fdht train, and its engine for --target.")
    ] = None,
    json: Json = False,
) -> None:
    """Search modes, trees, ranks, widths and arrays: what fits, how fast it is, how accurate.

    Each model is planned first; what fits the board is trained for a few epochs, quantised, and measured in integers on
    the validation split. Shown is the Pareto front: models that no other surpasses. The first trial is the preset
    itself. An interrupted search goes on with the same command (other epochs, data or aims need another --out), and
    several processes, or machines with a common folder, may run it at the same time.
    """
    from fdht.console import Output
    from fdht.explore import exploration
    from fdht.model.presets import find_preset
    from fdht.workflow import datasets

    output, chosen = Output(json), find_preset(preset)
    source = datasets.source(data, data_folder, frames, split, fold)
    question = exploration.question(chosen, source, board, epochs, own_engine, minimise, seed)
    folder = BUILD / "explore" / f"{chosen.name}-{board}" if out is None else out
    figures = exploration.run(output, question, folder, trials, take)
    exploration.report(output, figures)
    output.result(figures)


@app.command(
    rich_help_panel=TRAINING,
    epilog="Examples: fdht precision digits · fdht precision faces --factor-width 4 --factor-width 8 --data-width 16 · "
    "fdht precision digits --seed 0",
)
def precision(
    preset: Annotated[str, typer.Argument(help="What is trained: digits, faces, ...")],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            help="The engine whose order of contraction and accumulators are taken; its own widths are not.",
        ),
    ] = DEFAULT_TARGET,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Repeat for several; pairs of other widths than 4, 8, 16 have the first alone [0, 1, 2].",
            min=0,
            max=LAST_SEED,
        ),
    ] = None,
    factor_width: Annotated[
        list[int] | None, typer.Option(help="Bits of a factor; repeat for several [4, 6, 8, 10, 12, 16].")
    ] = None,
    data_width: Annotated[
        list[int] | None, typer.Option(help="Bits of a data word; repeat for several [4, 6, 8, 10, 12, 16].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file of rows [docs/results/accuracy.json].")
    ] = None,
    json: Json = False,
) -> None:
    """Accuracy on the test split against widths of factors and data words, rounded after training and trained on them.

    Rows go into the file of results, a picture beside it. Trainings and measurements are kept in build/precision: what
    was interrupted goes on where it was, and nothing is trained twice. All logits of models trained on integers are
    held against the golden model's.
    """
    from fdht.console import Output
    from fdht.model.presets import find_preset
    from fdht.spec.target import find_target
    from fdht.studies import precision as sweep
    from fdht.studies.accuracy import RESULTS
    from fdht.studies.drawing import write

    output, results, chosen = Output(json), out or RESULTS, find_preset(preset)
    rows, compared = sweep.run(
        output,
        chosen,
        find_target(target),
        seeds=seed or sweep.SEEDS,
        factor_widths=factor_width or sweep.WIDTHS,
        data_widths=data_width or sweep.WIDTHS,
        results=results,
    )
    picture = results.with_name(sweep.picture_of(chosen.data, target))
    write(sweep.sweep(rows), picture)
    sweep.report(output, rows, compared)
    figures = {"preset": chosen.name, "picture": str(picture), **sweep.figures(rows, compared)}
    output.result(figures)
    sweep.check(figures)


@app.command(
    rich_help_panel=ENGINE,
    epilog="Examples: fdht export --axi --target ulx3s-85f -o build/ip · "
    "fdht export --axi -t ulx3s-85f --technology generic -o build/ip --image build/faces.ulx3s-85f.image · "
    "fdht export --dense build/faces.checkpoint -o faces.pt",
)
def export(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PLACE", help="Folder, or file, to write; whole or not at all.")
    ],
    axi: Annotated[bool, typer.Option("--axi", help="AXI4-Stream frames and results, AXI4-Lite registers.")] = False,
    dense: Annotated[
        Path | None,
        typer.Option(
            "--dense",
            metavar="CHECKPOINT",
            help="Instead: this model as a state dict of torch.nn.LSTM and nn.Linear (.pt or .safetensors).",
        ),
    ] = None,
    target: TargetName = DEFAULT_TARGET,
    technology: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Primitives to use: ecp5, ice40, gowin, or generic for tools that infer them, as Vivado and Quartus "
            "do [default: the target's own].",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the Verilog module and of the files [default: fdht_axi].")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An image to write as a program loads it, with what it needs.")
    ] = None,
    json: Json = False,
) -> None:
    """The engine as an IP block: Verilog, and what it takes to use it in a design of your own; or a model, for PyTorch.

    Beside the module: a template of its instantiation, a C header and a page of its registers, notes for Vivado, an
    example for LiteX, and a description in JSON.
    """
    from fdht.console import Output

    output = Output(json)
    if axi == (dense is not None):
        raise typer.BadParameter("say what to export: either --axi or --dense CHECKPOINT", param_hint="--axi")
    if dense is not None:
        from fdht.studies import compression

        figures = compression.to_dense(output, dense, out)
        compression.report_dense(output, figures)
        output.result(figures)
        return
    from fdht.export import ip_block as exporting

    figures = exporting.run(output, target, out, technology=technology, name=name, image=image)
    exporting.report(output, figures)
    output.result(figures)


@app.command(rich_help_panel=WHOLE, epilog="Examples: fdht doctor · fdht doctor --json")
def doctor(json: Json = False) -> None:
    """Which tools are found, in which version, and how to get what is missing."""
    from fdht.console import Output
    from fdht.workflow import doctor as examination

    output = Output(json)
    with output.progress("looking for tools"):
        tools = examination.examine()
    rows = [(tool.name, tool.version or "missing", tool.purpose, "" if tool.version else tool.remedy) for tool in tools]
    output.table("Tools", ("tool", "version", "for", "to get it"), rows)
    output.result(examination.figures(tools))
    missing = examination.lacking(tools)
    if missing:
        remedies = dict.fromkeys(tool.remedy for tool in missing)
        raise examination.ToolMissing(
            f"missing {', '.join(tool.name for tool in missing)}; to get them: {'; '.join(remedies)}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 for an error, 2 for wrong usage, 130 when interrupted.

    Whoever reads what it prints may go before the end, as head does: the exit code is then 1, without a word.
    """
    print_what_can_be()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        close_pipes()
        return 1
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(arguments, prog_name="fdht", standalone_mode=False)
    except FdhtError as error:
        return _fail(str(error), 130 if isinstance(error.__context__, KeyboardInterrupt) else 1)
    except TyperException as error:
        return _usage(error)
    except ModuleNotFoundError as error:
        if (sentence := lacking(error)) is None:
            raise
        return _fail(sentence, 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}:{where}; choose another file or folder", 1)
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        return _fail("this takes more memory than there is; choose a smaller model, or fewer clips at once", 1)
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        return _fail("interrupted; nothing half-written is left", 130)
    return code or 0


def _lacks_memory(error: Exception) -> bool:
    """Whether an error says that memory is lacking; torch says so in words."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _fail(sentence: str, code: int) -> int:
    print(f"fdht: error: {sentence}", file=sys.stderr)
    return code


def _usage(error: TyperException) -> int:
    message = error.format_message()
    return _fail(f"{message.rstrip('.')}; fdht --help shows what there is", 2) if message else error.exit_code
