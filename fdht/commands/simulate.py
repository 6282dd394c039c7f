"""`fdht simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from fdht.commands.declaration import ENGINE, command
from fdht.commands.options import DEFAULT_TARGET, BundlePath, Json, Pauses, Streams, TargetName, Trace
from fdht.spec.errors import SpecError


@command(
    ENGINE,
    "fdht simulate build/faces.bundle",
    "fdht simulate build/faces.bundle --clips 2 --pauses",
    "fdht simulate build/digits.bundle -t ulx3s-85f-streams --streams 8 --clips 32",
    "fdht simulate build/digits.bundle --waves build/digits.vcd",
    "fdht simulate build/digits.bundle --trace build/digits.json",
)
def simulate(
    bundle: BundlePath,
    target: TargetName = DEFAULT_TARGET,
    clips: Annotated[int, typer.Option(help="Clips of the bundle to run, spread over all it has.", min=1)] = 1,
    simulator: Annotated[
        str, typer.Option(metavar="NAME", help="verilator, or icarus: no build, but 50 times slower.")
    ] = "verilator",
    streams: Streams = 0,
    pauses: Pauses = False,
    waves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a VCD trace for GTKWave or Surfer (large and slow).")
    ] = None,
    trace: Trace = None,
    json: Json = False,
) -> None:
    """Run clips through the RTL, cycle by cycle, and compare every word with the prediction.

    Needs no torch: the bundle carries its golden vectors.
    """
    from fdht.console import Output
    from fdht.sim.waves import BESIDE
    from fdht.spec.container import make_room
    from fdht.workflow import comparison
    from fdht.workflow.golden_vectors import spread

    output = Output(json)
    if waves is not None and waves.suffix in BESIDE:
        raise SpecError(f"{waves.name} is what the waves' layout is called, beside them; name them {waves.stem}.vcd")
    for file in filter(None, (waves, trace)):
        make_room(file)
    with output.progress(f"compiling {bundle} for {target}"):
        loaded, image = comparison.load(bundle, target, streams)
    if streams:
        from fdht.workflow import serving

        chosen = spread(loaded, clips)
        served = serving.simulate(output, loaded, image, chosen, simulator=simulator, pauses=pauses, waves=waves)
        found = serving.simulated_figures(loaded, image, served)
        figures = {"bundle": str(bundle), "simulator": simulator, **found}
        serving.report(output, loaded, figures)
        if trace is not None:
            serving.write_trace(trace, image, served)
        output.result(figures)
        comparison.check(figures, cycles=not pauses)
        return
    runs = comparison.run_clips(
        output, loaded, image, spread(loaded, clips), simulator=simulator, pauses=pauses, waves=waves
    )
    figures = {"bundle": str(bundle), "simulator": simulator, **comparison.figures(loaded, image, runs)}
    comparison.report(output, loaded, figures)
    if trace is not None:
        comparison.write_trace(trace, loaded, image, runs)
    output.result(figures)
    comparison.check(figures, cycles=not pauses)
