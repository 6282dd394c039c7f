"""A board in simulation: the whole system at its pins, behind a TCP port that takes and gives the bytes of its line."""

import json
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from sim.build import Simulator, ToolError, build_verilog, convert, environment, toolchain_environment
from spec.target import Target, Technology

TOP = "system"
START_SECONDS = 60
"""Longest wait for a simulator to start."""


@dataclass(frozen=True)
class Line:
    """How bytes get to the system.

    Attributes:
        divisor: clock cycles per bit of the serial port.
        spi_mhz, clock_mhz: of the SPI port and of the system; bytes go there if the first is given.
    """

    divisor: int = 4
    spi_mhz: float | None = None
    clock_mhz: float = 1.0


def build_system(target: Target, line: Line, build_id: int = 0) -> Simulator:
    """Compiles a system with the engine of a target on generic primitives, or finds it compiled.

    Raises:
        ToolError: a tool is missing or failed.
    """
    from hw.system import System

    spi = line.spi_mhz is not None
    generic = replace(target, technology=Technology.GENERIC, pinned=False)
    what = TypeAdapter(Target).dump_json(generic) + f"{line.divisor} {build_id} {spi}".encode()
    return build_verilog(TOP, what, lambda: convert(System(generic, line.divisor, build_id, spi), TOP))


class SimulatedBoard:
    """A running simulation of a system that serves one host after another. A context manager.

    Args:
        built: the system (build_system), or another design with its pins.
        line: as it was built.

    Attributes:
        url: what pyserial's `serial_for_url` opens.

    Raises:
        ToolError: the simulator does not start.
    """

    def __init__(self, built: Simulator, line: Line):
        self._built, self._line = built, line
        self._folder = tempfile.TemporaryDirectory(prefix="fdht-")
        self._errors: list[ToolError] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = ""

    def __enter__(self) -> "SimulatedBoard":
        work = Path(self._folder.name)
        (work / "line.json").write_text(TypeAdapter(Line).dump_json(self._line).decode())
        self._thread.start()
        deadline, port = time.monotonic() + START_SECONDS, work / "port"
        while not port.exists():
            if self._errors or not self._thread.is_alive() or time.monotonic() > deadline:
                self.close()
                raise self._errors[0] if self._errors else ToolError("the simulator did not start; try again")
            time.sleep(0.01)
        self.url = f"socket://127.0.0.1:{json.loads(port.read_text())}"
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation, as pulling the cable would."""
        (Path(self._folder.name) / "stop").touch()
        self._thread.join()
        self._folder.cleanup()

    def _run(self) -> None:
        from cocotb_tools.runner import get_runner

        work = Path(self._folder.name)
        log = work / "simulation.log"
        root = str(Path(__file__).resolve().parent.parent)
        with environment(toolchain_environment()):
            try:
                get_runner(self._built.name).test(
                    test_module="sim.system_bench",
                    hdl_toplevel=self._built.top,
                    hdl_toplevel_lang="verilog",
                    build_dir=self._built.directory / "sim",
                    test_dir=work,
                    results_xml=str(work / "results.xml"),
                    extra_env={"FDHT_SYSTEM": str(work), "PYTHONPATH": root, "COCOTB_LOG_LEVEL": "WARNING"},
                    timescale=("1ns", "1ps"),
                    log_file=log,
                )
            except (Exception, SystemExit) as error:
                tail = "\n".join(log.read_text().splitlines()[-15:]) if log.exists() else ""
                self._errors.append(ToolError(f"the simulated board failed ({error}):\n{tail}"))
