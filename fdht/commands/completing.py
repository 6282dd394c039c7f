"""What the Tab key offers for values: names there are, and files by the ending that a parameter takes.

A shell asks `fdht` itself, once for each key, so nothing here imports torch: names come from the rooms that need none.
What cannot be found is not offered; completing never fails.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from fdht.spec.errors import FdhtError

Names = Callable[[], Iterable[str]]
Completer = Callable[[str], list[str]]


def presets() -> Iterable[str]:
    from fdht.model.presets import PRESETS

    return PRESETS


def data_sets() -> Iterable[str]:
    from fdht.model.data import DATA_SETS, FOLDERS

    return [*DATA_SETS, *FOLDERS]


def targets() -> Iterable[str]:
    from fdht.spec.target import named

    return named()


def boards() -> Iterable[str]:
    from fdht.boards.catalogue import BOARDS, installed

    return [*BOARDS, *installed()]


def parts() -> Iterable[str]:
    from fdht.boards.parts import CLOSED

    return CLOSED


def schedules() -> Iterable[str]:
    from fdht.model.presets import SCHEDULES

    return SCHEDULES


def rates() -> Iterable[str]:
    from fdht.model.presets import RATES

    return RATES


def simulators() -> Iterable[str]:
    from fdht.sim.build import SIMULATORS

    return SIMULATORS


def technologies() -> Iterable[str]:
    from fdht.spec.target import Technology

    return [each.value for each in Technology]


def formats() -> Iterable[str]:
    from fdht.spec.choose import FORMATS

    return FORMATS


def taken() -> Iterable[str]:
    from fdht.spec.scaling import TAKEN

    return TAKEN


def formats_compared() -> Iterable[str]:
    from fdht.studies.accuracy import FORMATS

    return FORMATS


def bench_parts() -> Iterable[str]:
    from fdht.studies.measurements import PARTS

    return PARTS


def ports() -> Iterable[str]:
    """Serial ports of this machine."""
    from serial.tools.list_ports import comports

    return sorted(port.device for port in comports())


def files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Paths that begin so: files with one of the endings, and folders, written as the user has begun to.

    Of a folder that is the only way on, what lies in it is offered, so that no shell ends the word behind it.

    Args:
        endings: as `.bundle`; `""` takes every file, and none at all only folders.
    """
    before, _, begun = incomplete.rpartition("/")
    folder = f"{before}/" if "/" in incomplete else ""
    try:
        inside = sorted(Path(folder or ".").expanduser().iterdir())
    except OSError:
        return []
    inside = [path for path in inside if path.name.startswith(begun) and (begun[:1] == "." or path.name[0] != ".")]
    found = [folder + path.name for path in inside if not path.is_dir() and path.name.endswith(endings)]
    folders = [f"{folder}{path.name}/" for path in inside if path.is_dir()]
    if found or len(folders) != 1:
        return found + folders
    return files(folders[0], endings) or folders


def completer(known: Names | None = None, endings: tuple[str, ...] | None = None) -> Completer:
    """What offers names, files, or both.

    Args:
        known: the names there are. endings: of files, as for `files`; None where a file means nothing.
    """

    def complete(incomplete: str) -> list[str]:
        try:
            found = [name for name in known() if name.startswith(incomplete)] if known is not None else []
        except (ImportError, FdhtError, OSError):  # an extra is not installed, a package's board is broken
            found = []
        there = files(incomplete, endings) if endings is not None else []
        if known is not None and not incomplete:
            there = [path for path in there if not path.endswith("/")]  # names first; folders once one is begun
        return found + there

    return complete


def data(known: Names, *more: str) -> Completer:
    """What offers names and files of data, and files of more endings."""

    def complete(incomplete: str) -> list[str]:
        try:
            from fdht.model.data.files import ENDINGS
        except ImportError:
            return []
        return completer(known, (*ENDINGS, *more))(incomplete)

    return complete


MODELS, PROJECTS = (".checkpoint", ".bundle"), (".toml", ".json")
ANY_FILE, ONLY_FOLDERS = completer(endings=("",)), completer(endings=())

BY_PARAMETER: dict[str, Completer] = {
    "preset": completer(presets, PROJECTS),
    "data": data(data_sets),
    "data_folder": ONLY_FOLDERS,
    "target": completer(targets, (".json",)),
    "board": completer(boards),
    "part": completer(parts),
    "bundle": completer(endings=(".bundle",)),
    "bundles": completer(endings=(".bundle",)),
    "start": completer(endings=(".checkpoint",)),
    "schedule": completer(schedules),
    "rates": completer(rates),
    "simulator": completer(simulators),
    "technology": completer(technologies),
    "port": completer(ports),
    "out": ANY_FILE,
    "output": ANY_FILE,
    "results": completer(endings=(".json",)),
    "waves": completer(endings=(".vcd",)),
    "image": completer(endings=(".image",)),
    "dense": completer(endings=(".checkpoint",)),
    "c": completer(endings=(".bundle",)),
    "web": completer(presets, (".bundle",)),
    "trace": completer(endings=(".json",)),
    "bitstream": ANY_FILE,
    "take": completer(endings=PROJECTS),
}
"""By the name of a parameter, which means the same in every command; `OF_COMMAND` has the exceptions."""

OF_COMMAND: dict[tuple[str, str], Completer | None] = {
    ("baselines", "data"): data(presets, ".toml"),
    ("baselines", "format"): completer(formats_compared),
    ("bench", "format"): completer(formats),
    ("bench", "part"): completer(bench_parts),
    ("compile", "model"): completer(endings=(".checkpoint",)),
    ("compress", "file"): completer(endings=(".pt", ".pth", ".safetensors")),
    ("compress", "inputs"): completer(taken),
    ("data", "name"): data(data_sets),
    ("demo", "preset"): completer(presets),
    ("explore", "take"): None,  # the number of a trial
    ("fit", "model"): completer(presets, (*MODELS, ".toml")),
    ("info", "file"): completer(endings=(*MODELS, ".image")),
    ("precision", "preset"): completer(presets, PROJECTS),
}


def of(command: str, parameter: str) -> Completer | None:
    """What completes a parameter of a command; None where there is nothing to offer."""
    return OF_COMMAND.get((command, parameter), BY_PARAMETER.get(parameter))
