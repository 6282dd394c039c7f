"""A board in simulation: the whole system at its pins, behind a TCP port that takes and gives the bytes of its line."""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from fdht.sim.build import Announcement, Simulator, ToolError, build_verilog, convert
from fdht.sim.simulate import run_module
from fdht.spec.flash import FlashPlan
from fdht.spec.target import Target, Technology

START_SECONDS = 600
"""Longest wait for a simulator that runs to open its ports; on a busy machine a large engine takes minutes."""


@dataclass(frozen=True)
class Pins:
    """Where a design takes its bytes. All that are given serve hosts, one host at a time.

    Attributes:
        divisor: clock cycles per bit of a serial port; None: the design has none, but takes bytes as they are.
        spi_mhz, clock_mhz: of an SPI port's clock and of the design's; only their ratio counts.
        flash: from which the design loads itself; None: a host loads it.
        start_cycles: to wait after the reset until somebody may connect: a board's own reset may take as long, and
            loading itself longer.
    """

    divisor: int | None = 4
    spi_mhz: float | None = None
    clock_mhz: float = 1.0
    flash: FlashPlan | None = None
    start_cycles: int = 1 << 11


@contextmanager
def announced() -> Iterator[None]:
    """Says on stderr that a simulator is being compiled."""
    print("compiling the simulator of the board, once for each engine: minutes ...", file=sys.stderr, flush=True)
    yield


def build_system(target: Target, pins: Pins, build_id: int = 0, *, compiling: Announcement = announced) -> Simulator:
    """Compiles an engine behind its host link, on generic primitives, or finds it compiled.

    Args:
        compiling: what is open while it is compiled; by default a line on stderr says so.

    Raises:
        ToolError: a tool is missing or failed.
    """
    from fdht.hw.shell.system import LinkedEngine

    if pins.divisor is None:
        generic = target.made_of(Technology.GENERIC)
        what = generic.to_json().encode() + f"{build_id} {pins.flash}".encode()
        return build_verilog(
            "engine",
            what,
            lambda: convert(LinkedEngine(generic, build_id, pins.flash), "engine"),
            compiling=compiling,
        )
    return build_verilog("system", *system_verilog(target, pins, build_id), compiling=compiling)


def system_verilog(target: Target, pins: Pins, build_id: int = 0) -> tuple[bytes, Callable[[], str]]:
    """What `build_verilog` wants to know of the module `system`: what it depends on, and its text."""
    from fdht.hw.shell.system import System

    generic, spi, divisor = target.made_of(Technology.GENERIC), pins.spi_mhz is not None, pins.divisor
    assert divisor is not None
    what = generic.to_json().encode() + f"{divisor} {build_id} {spi} {pins.flash}".encode()
    return what, lambda: convert(System(generic, divisor, build_id, spi, pins.flash), "system")


class SimulatedBoard:
    """A running simulation of a system that serves one host after another. A context manager.

    Args:
        built: the system (build_system), or another design with its pins.
        pins: as it was built.
        files: what lies in the folder in which it runs, by name; a model of a memory may read it.

    Attributes:
        url, spi_url: what pyserial's `serial_for_url` opens; bytes go through the serial port (or as they are), and
            through SPI.

    Raises:
        ToolError: the simulator does not start.
    """

    def __init__(self, built: Simulator, pins: Pins, files: Mapping[str, str] | None = None):
        self._built, self._pins, self._files = built, pins, files or {}
        self._folder = tempfile.TemporaryDirectory(prefix="fdht-")
        self._errors: list[ToolError] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = self.spi_url = ""

    def __enter__(self) -> "SimulatedBoard":
        work = Path(self._folder.name)
        for name, text in self._files.items():
            (work / name).write_text(text)
        (work / "pins.json").write_text(TypeAdapter(Pins).dump_json(self._pins).decode())
        self._thread.start()
        deadline, ports = time.monotonic() + START_SECONDS, work / "ports.json"
        while not ports.exists():
            ended, late = not self._thread.is_alive(), time.monotonic() > deadline
            if (ended and not ports.exists()) or late:
                self.close()
                if self._errors:
                    raise self._errors[0]
                what = "ended" if ended else f"ran for {START_SECONDS} s"
                busy = "" if ended else "; on a busy machine try again when there is less to do"
                raise ToolError(f"the simulator in {self._built.directory} {what} and opened no port{busy}")
            time.sleep(0.01)
        self.url, self.spi_url = (f"socket://127.0.0.1:{port}" for port in json.loads(ports.read_text()))
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation, as pulling the cable would."""
        (Path(self._folder.name) / "stop").touch()
        self._thread.join()
        self._folder.cleanup()

    def _run(self) -> None:
        work = Path(self._folder.name)
        try:
            run_module(self._built, "fdht.sim.board_bench", work, {"FDHT_SYSTEM": str(work)})
        except ToolError as error:
            self._errors.append(error)
