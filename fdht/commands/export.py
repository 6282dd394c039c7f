"""`fdht export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import AN_ENGINE, BUILD, DEFAULT_TARGET, Json, board_option

WEB_TARGET = "icebreaker"


@command(
    ENGINE,
    "fdht export --axi --target ulx3s-85f -o build/ip",
    "fdht export --axi -t ulx3s-85f --technology generic -o build/ip --image build/faces.ulx3s-85f.image",
    "fdht export --dense build/faces.checkpoint -o faces.pt",
    "fdht export --c build/digits.bundle --board icebreaker -o build/c",
    "fdht export --web build/digits.bundle -o build/page",
)
def export(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PLACE", help="Folder, or file, to write; whole or not at all.")
    ],
    axi: Annotated[
        bool,
        typer.Option("--axi", help="The engine, with AXI4-Stream for frames and results and AXI4-Lite registers."),
    ] = False,
    dense: Annotated[
        Path | None,
        typer.Option(
            "--dense",
            metavar="CHECKPOINT",
            help="Instead: this model as a state dict of torch.nn.LSTM and nn.Linear (.pt or .safetensors).",
        ),
    ] = None,
    c: Annotated[
        Path | None,
        typer.Option(
            "--c",
            metavar="BUNDLE",
            help="Instead: a driver in C99 for a microcontroller beside the board, with this model and an example.",
        ),
    ] = None,
    web: Annotated[
        str | None,
        typer.Option(
            "--web",
            metavar="BUNDLE",
            help="Instead: a page in which the gateware itself, as WebAssembly, runs this model; a preset's name "
            "stands for its bundle, which is made first if need be.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help=f"The engine: {AN_ENGINE} [default: {DEFAULT_TARGET}; with --web {WEB_TARGET}, whose WebAssembly "
            "comes with fdht].",
            metavar="NAME",
        ),
    ] = None,
    board: Annotated[
        str | None, board_option("With --c or --web: the board whose engine is meant, in place of --target.")
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            help="Clips of the bundle: in the example of --c [default: 3, or what there is], as buttons in the page of "
            "--web [default: 24, or none where they are pictures].",
            min=1,
        ),
    ] = None,
    technology: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --axi: primitives to use: ecp5, ice40, gowin, or generic for tools that infer them, as Vivado "
            "and Quartus do [default: the target's own].",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --axi: name of the Verilog module and its files [default: fdht_axi]."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --axi: an image to add, as the bytes that software writes to the block, with the facts that its "
            "driver needs.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """The engine as an IP block: Verilog, and what it takes to use it in a design of your own; or a model, for PyTorch
    or for a microcontroller.

    Beside the module: a template of its instantiation, a C header and a page of its registers, notes for Vivado, an
    example for LiteX, a core for FuseSoC (fusesoc library add PLACE), a component in IP-XACT for tools that read
    IEEE 1685-2014, such as Kactus2, and a description in JSON.

    With --c: fdht.h and fdht.c, which load and run models over UART or SPI (docs/microcontroller.md); the model as a
    constant array; an example that holds clips against the golden model.

    With --web: index.html, which opens without a server and draws nothing from the network (docs/web-page.md).
    """
    from fdht.console import Output

    output = Output(json)
    asked = {"--axi": axi, "--dense CHECKPOINT": dense, "--c BUNDLE": c, "--web BUNDLE": web}
    kinds = [kind for kind, value in asked.items() if value not in (None, False)]
    if len(kinds) != 1:
        raise typer.BadParameter(f"say what to export: one of {_listed([*asked])}", param_hint="--axi")
    block, _, driver, page = asked
    for option, value, serves in (
        ("--target", target, (block, driver, page)),
        ("--board", board, (driver, page)),
        ("--clips", clips, (driver, page)),
        ("--technology", technology, (block,)),
        ("--name", name, (block,)),
        ("--image", image, (block,)),
    ):
        if value is not None and kinds[0] not in serves:
            raise typer.BadParameter(f"is for {_listed(serves)} alone; leave it out", param_hint=option)
    if target is not None and board is not None:
        raise typer.BadParameter("and --target both say the engine; leave one out", param_hint="--board")
    chosen = target or (WEB_TARGET if web is not None else DEFAULT_TARGET)
    if dense is not None:
        from fdht.export import state_dict

        figures = state_dict.run(output, dense, out)
        state_dict.report(output, figures)
    elif c is not None:
        from fdht.boards.catalogue import find_board
        from fdht.export import microcontroller
        from fdht.spec.target import find_target

        engine = find_target(chosen) if board is None else find_board(board).engine
        figures = microcontroller.run(output, c, engine, out, clips)
        microcontroller.report(output, figures)
    elif web is not None:
        from fdht.boards.catalogue import find_board
        from fdht.export import web_page
        from fdht.spec.target import find_target

        engine = find_target(chosen) if board is None else find_board(board).engine
        path = web_page.bundle_of(output, web, engine, BUILD / "pages")
        figures = web_page.run(output, path, engine, out, clips)
        web_page.report(output, figures)
    else:
        from fdht.export import ip_block

        figures = ip_block.run(output, chosen, out, technology=technology, name=name, image=image)
        ip_block.report(output, figures)
    output.result(figures)


def _listed(kinds: Sequence[str]) -> str:
    """`a, b and c`."""
    *first, last = kinds
    return f"{', '.join(first)} and {last}" if first else last
