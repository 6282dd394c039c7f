"""`fdht run`."""

from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import DEFAULT_TARGET, BundlePath, Json, OtherClock, OtherTarget, Streams, board_option
from fdht.spec.errors import SpecError


@command(
    ENGINE,
    "fdht run build/faces.bundle --port /dev/ttyUSB1",
    "fdht run build/small/digits.bundle --port COM4 --board icebreaker --clips 20 --compare",
    "fdht run build/small/digits.bundle --simulate --board icebreaker --spi",
    "fdht run build/small/digits.bundle --simulate --board icebreaker --target mine.json",
)
def run(
    bundle: BundlePath,
    port: Annotated[
        str | None, typer.Option("--port", "-p", help="The board's serial port, or socket://HOST:PORT.", metavar="PORT")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="In place of a board, run on its whole design in simulation.")
    ] = False,
    board: Annotated[
        str | None,
        board_option(
            "Which board it is (see fdht synth): to simulate, or, at a port, to make sure that it has this fdht's "
            "bitstream [default: ulx3s-85f in simulation, else any board that answers]."
        ),
    ] = None,
    target: OtherTarget = None,
    clock: OtherClock = None,
    spi: Annotated[
        bool, typer.Option("--spi", help="Simulate the board's SPI port in place of its serial port.")
    ] = False,
    clips: Annotated[
        int | None,
        typer.Option(help="Clips of the bundle to run, spread over all it has [default: 3, or what there is].", min=1),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare every word that comes back with the golden model's.")
    ] = False,
    streams: Streams = 0,
    json: Json = False,
) -> None:
    """Run clips on a board: classes or numbers, frames per second.

    The board says which engine it has. The bundle, compiled for that target, is made into an image, and loaded if the
    board does not have it yet. With --simulate, the same driver talks to the pins of the board's
    design in simulation.
    """
    from fdht.console import Output
    from fdht.workflow import running

    if simulate == (port is not None):
        raise SpecError("say where to run: either --port PORT or --simulate")
    output, place = (
        Output(json),
        running.Place(port, board or (DEFAULT_TARGET if simulate else None), spi, target, clock),
    )
    if streams:
        from fdht.workflow import serving

        loaded, served = serving.run(output, bundle, place, clips, streams)
        figures = {"bundle": str(bundle), **serving.device_figures(loaded, streams, served, compare)}
        serving.report(output, loaded, figures)
        output.result(figures)
        running.check(figures)
        return
    loaded, made = running.run(output, bundle, place, clips)
    figures = {"bundle": str(bundle), **running.figures(loaded, made, running.rate(place), compare)}
    running.report(output, loaded, figures)
    output.result(figures)
    running.check(figures)
