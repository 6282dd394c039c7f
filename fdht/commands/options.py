"""Options that several commands share, each declared once; those that belong together arrive as one value."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fdht.commands.declaration import OptionGroup
from fdht.spec.defaults import DEFAULT_TARGET as DEFAULT_TARGET

if TYPE_CHECKING:
    from fdht.model.data import Source
    from fdht.spec.lstm import LSTMSpec

BUILD = Path("build")
"""Where commands write, below the current directory, if nothing else is said."""

LAST_SEED = 2**32 - 1

MODEL, INTEGERS = "The model's shape", "An engine's integers"
"""Groups of options in the help of a command."""

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON alone on stdout, one object or one list; all else goes to stderr.")
]
Open = Annotated[
    bool,
    typer.Option("--open", help="Then open the pictures it has made, in this machine's viewer."),
]
Seed = Annotated[int, typer.Option(help="Seed of all random draws, first parameters included.", min=0, max=LAST_SEED)]
AN_ENGINE = (
    "a name in column target of fdht synth --list, ulx3s-85f-streams, or a file, as fdht fit and fdht explore write "
    "with --take"
)
"""What --target takes."""

TargetName = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help=f"The engine: {AN_ENGINE}.",
        metavar="NAME",
    ),
]
FactorWidth = Annotated[
    int | None,
    typer.Option(
        help="Bits of a factor, 4 to 18; more than the engine's do not compile [default: the engine's, or, of a model "
        "trained with --qat, its own].",
        rich_help_panel=INTEGERS,
    ),
]


def _named(board: str | None) -> str | None:
    """A board's name as the user has said it; code of the user's own comes in here."""
    if board is not None and ":" in board:
        from fdht.boards.catalogue import own

        own(board)
    return board


def board_option(what: str, panel: str | None = None) -> Any:
    """The option --board, wherever a command has it.

    Args:
        what: the board is for. panel: its group in the command's help.
    """
    return typer.Option("--board", "-b", help=what, metavar="NAME", callback=_named, rich_help_panel=panel)


BOARD = board_option("The board: a name in fdht synth --list, or module:name of your own (docs/adding-a-board.md).")
"""As `Annotated[str, BOARD]`, or `str | None` where there need not be one."""

PART = typer.Option(
    "--part",
    help="Instead of a board: a part that only its maker's tools program, as xc7a35t; those there are in fdht synth "
    "--list.",
    metavar="NAME",
)
"""As `Annotated[str | None, PART]`."""

OtherTarget = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        help=f"Another engine than the board's own: {AN_ENGINE}.",
        metavar="NAME",
    ),
]

Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        help="Steps per second that are wanted, of all streams together: also say which clock they need, and what "
        "bounds their energy.",
        metavar="R",
    ),
]

OtherClock = Annotated[
    float | None,
    typer.Option(
        "--clock",
        help="A slower clock than the board's own, in MHz, or the nearest above it that there can be "
        "(fdht info IMAGE --rate says which a rate needs).",
        metavar="MHZ",
    ),
]

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, as fdht compile writes it.")]
Pauses = Annotated[
    bool,
    typer.Option(
        "--pauses", help="Pause inputs and outputs at random: values stay the same and are compared, cycles are not."
    ),
]
Streams = Annotated[
    int,
    typer.Option(
        "--streams",
        metavar="N",
        min=0,
        help="Serve N independent sequences side by side, each with states of its own; at most as many as the engine's "
        "field streams says [default: one sequence alone].",
        show_default=False,
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Write what each unit does when as Chrome trace events, JSON that ui.perfetto.dev opens.",
    ),
]
OtherData = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="Other data than the preset's: a name or a file, see fdht data."),
]
AlsoRows = Annotated[
    Path | None, typer.Option("--results", metavar="FILE", help="Also put rows into this file of results.")
]
RowsFile = Annotated[
    Path | None, typer.Option("--out", "-o", help="The file of rows [default: build/results/accuracy.json].")
]


@dataclass(frozen=True)
class ClipFolder(OptionGroup):
    """Data of one's own, in a folder or a file, and how they are read."""

    data_folder: Annotated[
        str | None,
        typer.Option(
            "--data-folder",
            metavar="DIR",
            help="Where clips lie: one folder per class, or for a named data set as that is distributed.",
        ),
    ] = None
    frames: Annotated[
        int, typer.Option(help="Frames that the model sees of each clip in a folder, evenly spaced.", min=1)
    ] = 6
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="NAME",
            help="How the clips of a folder are divided into training and test: by group (what one video gave stays "
            "together), by clip, or official-1 to -3 (HMDB51).",
        ),
    ] = "group"
    fold: Annotated[
        int,
        typer.Option(
            help="Which fifth of the clips in a folder, or samples in a file, is the test, 0 to 4; with official "
            "splits, which fifth of the training clips validates."
        ),
    ] = 0
    input_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of the words that real values in a file are scaled to: 8, or 16 for an engine that takes such "
            "[default: 8]."
        ),
    ] = None

    def source(self, name: str | None) -> "Source | None":
        """The data set that these options and a name say; None if they say none.

        Raises:
            SpecError: options about data of one's own, and none; code of one's own that cannot be imported.
        """
        from fdht.workflow import datasets

        return datasets.source(name, self.data_folder, self.frames, self.split, self.fold, self.input_bits)


@dataclass(frozen=True)
class Modes(OptionGroup):
    """Other modes of the weight than the preset's."""

    input_modes: Annotated[
        str | None,
        typer.Option(
            help="Other input modes n, like 61,10,4,8, which x fills in C order. Their product must hold x and h. "
            "Since h begins at a new index of one mode, it is often larger than N + H.",
            rich_help_panel=MODEL,
        ),
    ] = None
    output_modes: Annotated[
        str | None,
        typer.Option(
            help="Other output modes m, like 2,2,8,32: as many as input modes, and their product holds four gates.",
            rich_help_panel=MODEL,
        ),
    ] = None

    @property
    def given(self) -> bool:
        return (self.input_modes, self.output_modes) != (None, None)

    def of(self, spec: "LSTMSpec", rank: int | None) -> "LSTMSpec":
        """A model with these modes and, if one is given, another rank.

        Raises:
            SpecError: modes that are no numbers or do not hold the model, another number of modes without a rank.
        """
        from fdht.workflow import training

        return training.reshaped(spec, self.input_modes, self.output_modes, rank)
