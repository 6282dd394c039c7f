"""A board in simulation: the whole system at its pins, behind a TCP port that takes and gives the bytes of its line."""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from fdht.sim.build import Announcement, Simulator, ToolError, build_verilog, convert
from fdht.sim.simulate import run_module
from fdht.spec.flash import FlashPlan
from fdht.spec.target import Target, Technology

START_SECONDS = 60
"""Longest wait for a simulator to start."""


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


def build_system(target: Target, pins: Pins, build_id: int = 0, *, compiling: Announcement = nullcontext) -> Simulator:
    """Compiles an engine behind its host link, on generic primitives, or finds it compiled.

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
            if self._errors or not self._thread.is_alive() or time.monotonic() > deadline:
                self.close()
                raise self._errors[0] if self._errors else ToolError("the simulator did not start; try again")
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
