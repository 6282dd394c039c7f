"""The command `fdht`: which commands there are (each has a file in fdht/commands), and how it ends."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from fdht.allocator import keep_freed
from fdht.commands.baselines import baselines
from fdht.commands.bench import bench
from fdht.commands.compare import compare
from fdht.commands.compile import compile_
from fdht.commands.compress import compress
from fdht.commands.data import data
from fdht.commands.demo import demo
from fdht.commands.doctor import doctor
from fdht.commands.explore import explore
from fdht.commands.export import export
from fdht.commands.fit import fit
from fdht.commands.info import info
from fdht.commands.new import new
from fdht.commands.precision import precision
from fdht.commands.program import program
from fdht.commands.report import report
from fdht.commands.run import run
from fdht.commands.simulate import simulate
from fdht.commands.synth import synth
from fdht.commands.train import train
from fdht.extras import lacking
from fdht.spec.errors import FdhtError, near
from fdht.spec.version import VERSION
from fdht.streams import close_pipes, print_what_can_be

LACKING = "can't allocate memory", "out of memory"
"""What torch says where memory is lacking, the machine's or a GPU's."""

COMMANDS = (
    demo,
    new,
    train,
    data,
    compress,
    compile_,
    info,
    simulate,
    compare,
    synth,
    program,
    run,
    report,
    bench,
    baselines,
    explore,
    fit,
    precision,
    export,
    doctor,
)
"""In the order in which help shows them."""


class Commands(TyperGroup):
    """The commands; of one that there is not, the nearest is said."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Which command the first of the arguments is."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}{near(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="fdht",
    cls=Commands,
    help="""FDHT-LSTM on FPGAs: train, quantise, compile, simulate and build, exact to the bit.

A *preset* is a model, its data and how it is trained. Training leaves a *checkpoint*; fdht compile makes a *bundle* of
it, the same network in integers with its golden vectors, and an *image*: program and factors for one *target*. A target
is an engine: an array of multipliers and its memories. Every board's bitstream holds one, and runs every image made for
it.""",
    epilog="A good start: fdht demo. What is missing on this machine: fdht doctor.",
    no_args_is_help=True,
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


for _command in COMMANDS:
    app.command(_command.name, rich_help_panel=_command.panel, epilog=_command.epilog)(_command.run)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 for an error, 2 for wrong usage, 130 when interrupted.

    Whoever reads what it prints may go before the end, as head does: the exit code is then 1, without a word.
    """
    print_what_can_be()
    keep_freed()
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
        where = f": {error.filename}; choose another file or folder" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", 1)
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
    return isinstance(error, MemoryError) or any(words in str(error) for words in LACKING)


def _fail(sentence: str, code: int) -> int:
    print(f"fdht: error: {sentence}", file=sys.stderr)
    return code


def _usage(error: TyperException) -> int:
    """How wrong usage ends; of an option or a command that there is not, the nearest is said, as of all names."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    if context is not None and isinstance(wrong, str) and hasattr(error, "possibilities"):
        there = [option for parameter in context.command.params for option in parameter.opts]
        message = f"there is no option {wrong!r}{near(wrong, there)}"
    where = context.command_path if context is not None else "fdht"
    return _fail(f"{message.rstrip('.')}; {where} --help shows what there is", 2) if message else error.exit_code
