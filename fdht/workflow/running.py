"""`fdht run`: clips of a bundle on a board, or on a board in simulation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fdht.boards.board import Board
from fdht.boards.catalogue import find_board
from fdht.boards.top import build_id
from fdht.compiler.clipping import with_clipping
from fdht.compiler.image import compile_bundle
from fdht.console import Output
from fdht.host.device import BAUD, Device, Result
from fdht.sim.build import Announcement, Simulator
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.protocol import target_id
from fdht.spec.target import Target, find_target, named
from fdht.workflow.golden_vectors import (
    SHOWN_MISMATCHES,
    Disagreement,
    against_vectors,
    float_class,
    noted,
    own,
    said,
    shown,
    spread,
    true_class,
    truth,
    what,
)

SIMULATED_TIMEOUT = 120.0
"""Seconds: a simulated board takes up to a thousand times as long."""


@dataclass(frozen=True)
class Place:
    """Where to run.

    Attributes:
        port: of a board. None: in simulation.
        board: its name; None: any that answers.
        spi: in simulation, through its SPI port.
        target: name or file of the engine that it has; None: its own, or one of fdht's.
        clock_mhz: of a slower clock that it has; None: its own.
    """

    port: str | None
    board: str | None
    spi: bool = False
    target: str | None = None
    clock_mhz: float | None = None

    def find_board(self) -> Board | None:
        """The board, if one is named, with the engine that it has."""
        return None if self.board is None else find_board(self.board, self.target, self.clock_mhz)

    def engines(self) -> list[Target]:
        """Those that may be there, the most likely first."""
        board = self.find_board()
        asked = [find_target(self.target)] if self.target is not None else []
        return [*asked, *([] if board is None else [board.engine]), *named().values()]


@contextmanager
def opened(output: Output, place: Place) -> Iterator[Device]:
    """The device at a place.

    Raises:
        SpecError: unknown board, or a port that it does not have.
        ToolError: the simulator cannot be built or run.
        DeviceError: nothing there, or not what is wanted.
    """
    board = place.find_board()
    if board is None and place.clock_mhz is not None:
        raise SpecError("--clock is of a board, which says its rates of the link, too; name it with --board")
    if place.port is not None:
        if place.spi:
            raise SpecError("--spi is for --simulate; a board's SPI port is not a serial port")
        baud, build = (BAUD, None) if board is None else (board.baud, build_id(board))
        with Device(place.port, baud=baud, build=build) as device:
            yield device
        return
    if board is None:
        raise SpecError("to simulate a board, name it with --board")
    if place.spi and board.spi_mhz is None:
        raise SpecError(f"{board.name} has no SPI port; leave --spi out")
    built, pins = simulator(board, output.building(board.name))
    with (
        SimulatedBoard(built, pins) as simulated,
        Device(
            simulated.spi_url if place.spi else simulated.url, timeout=SIMULATED_TIMEOUT, build=build_id(board)
        ) as device,
    ):
        yield device


def simulator(board: Board, compiling: Announcement = nullcontext) -> tuple[Simulator, Pins]:
    """A board's system in simulation, its serial port at the fastest rate there is."""
    pins = Pins(spi_mhz=board.spi_mhz, clock_mhz=board.clock_mhz)
    return build_system(board.engine, pins, build_id(board), compiling=compiling), pins


@dataclass(frozen=True, eq=False)
class Run:
    """What a device made of some clips.

    Attributes:
        target: of the engine.
        loaded: whether the image had to be loaded.
        clips: their numbers in the bundle. results: of each.
        seconds: from the first frame to the last result.
    """

    target: str
    loaded: bool
    clips: list[int]
    results: list[Result]
    seconds: float


def run(output: Output, path: Path, place: Place, count: int | None) -> tuple[Bundle, Run]:
    """Runs clips of a bundle, spread over all it has.

    Raises:
        SpecError, FileError, CapacityError: no readable bundle, or one that does not fit the board.
        ToolError, DeviceError: see `opened`.
    """
    bundle = Bundle.load(path)
    clips = spread(bundle, count)
    with opened(output, place) as device:
        target = target_of(device, place)
        with output.progress(f"compiling {path} for {target.name}"):
            image = with_clipping(compile_bundle(bundle, target, container.hash_of(path)), bundle)
        with output.progress("loading the image") as advance:
            loaded = device.load(image, lambda done, total: advance(done, total))
        results, begin = [], time.monotonic()
        with output.progress("running clips", len(clips)) as advance:
            for result in device.run([bundle.clip(clip) for clip in clips]):
                results.append(result)
                advance(len(results))
        return bundle, Run(target.name, loaded, clips, results, time.monotonic() - begin)


def target_of(device: Device, place: Place) -> Target:
    """The engine of a device, by what it says.

    Raises:
        SpecError: it is none that is known.
    """
    built = device.status().target
    for target in place.engines():
        if target_id(target) == built:
            return target
    raise SpecError(
        f"the board is built for target {built:08x}, which this fdht does not know; name its file with --target, or "
        "load a bitstream of fdht's own with: fdht program --board NAME"
    )


def figures(bundle: Bundle, made: Run, clock_mhz: float | None, compare: bool) -> dict:
    """The figures for `--json`.

    Args:
        clock_mhz: of a simulated board: rates are then those of its own time, not of the simulator's.
        compare: hold everything against the golden model's vectors in the bundle.
    """
    frames = sum(len(bundle.clip(clip)) for clip in made.clips)
    cycles = sum(result.status.cycles for result in made.results)
    seconds = made.seconds if clock_mhz is None else cycles / (1e6 * clock_mhz)
    texts = [
        text
        for clip, result in zip(made.clips, made.results, strict=True)
        for text in against_vectors(bundle, clip, result.logits, result.hidden)
    ]
    return {
        "target": made.target,
        "image_loaded": made.loaded,
        "frames": frames,
        "seconds": seconds,
        "simulated_time": clock_mhz is not None,
        "frames_per_s": frames / seconds,
        "cycles": cycles,
        "stalls": sum(result.status.stalls for result in made.results),
        "saturations": sum(result.status.saturations for result in made.results),
        "link_errors": made.results[-1].status.errors,
        "clips": [
            {
                "clip": clip,
                "label": truth(bundle, clip),
                "float": float_class(bundle, clip),
                "golden": said(bundle, own(bundle, clip, bundle.logits)),
                "device": said(bundle, result.logits),
                "cycles": result.status.cycles,
            }
            for clip, result in zip(made.clips, made.results, strict=True)
        ],
    } | ({"mismatches": len(texts), "first_mismatches": texts[:SHOWN_MISMATCHES]} if compare else {})


def report(output: Output, bundle: Bundle, figures: dict) -> None:
    """The tables of a run."""
    said_by = [name for name in ("float", "golden", "device") if name != "float" or noted(figures)]
    columns = ["clip", "true", *("board" if name == "device" else name for name in said_by), "cycles"]
    rows = [
        (
            clip["clip"],
            true_class(bundle, clip["label"]),
            *(shown(bundle, clip["clip"], clip[name]) for name in said_by),
            clip["cycles"],
        )
        for clip in figures["clips"]
    ]
    output.table(f"{what(bundle).capitalize()} on {figures['target']}", columns, rows)
    whose = "the board's own time, simulated" if figures["simulated_time"] else "link included"
    facts = {
        "frames per second": f"{figures['frames_per_s']:,.1f} ({whose})",
        "frames": figures["frames"],
        "cycles, of these waiting for the host": f"{figures['cycles']:,}, {figures['stalls']:,}",
        "clipped words": figures["saturations"],
        "errors on the link": figures["link_errors"],
    }
    if "mismatches" in figures:
        facts["words that differ from the golden model"] = figures["mismatches"]
    output.facts("Run", facts)
    for text in figures.get("first_mismatches", ()):
        output.text(f"  {text}")


def check(figures: dict) -> None:
    """Raises if words differ.

    Raises:
        Disagreement: they do.
    """
    if figures.get("mismatches"):
        raise Disagreement(
            f"{figures['mismatches']} words of the board differ from the golden model; the first: "
            f"{figures['first_mismatches'][0]}"
        )


def rate(place: Place) -> float | None:
    """The clock of a simulated board, MHz."""
    board = place.find_board() if place.port is None else None
    return None if board is None else board.clock_mhz
