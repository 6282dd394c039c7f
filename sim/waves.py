"""Waves for people: a trace with names that viewers find, and layouts for GTKWave and Surfer that show the units.

Beside `digits.vcd` come `digits.gtkw` and `digits.sucl`; names of operations and tokens in `.surfer/mappings`, where
Surfer looks in the folder it is started in. GTKWave is told where they are.
"""

import io
import math
import mmap
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO

from vcd import gtkw

from fdht.spec.container import write_whole
from fdht.spec.instructions import Condition, GateOp, LoaderOp, Token
from fdht.spec.protocol import OutputKind

BESIDE = ".gtkw", ".sucl"
"""Endings of what lies beside waves under their name: how GTKWave and Surfer show them."""

NAMES = Path(".surfer/mappings")
"""Where names of values are, beside the trace."""

_SEQUENCER = ("start", "done", "take", "give")

GROUPS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "run": (("", ("clk", "rst", "start", "busy", "running", "steps", "cycles", "stalls", "saturations")),),
    "streams": (
        ("", ("x__valid", "x__ready", "x__payload", "out__valid", "out__ready")),
        ("", ("out__payload_kind", "out__payload_value", "out__payload_last")),
    ),
    "loader": (
        ("loader_program", _SEQUENCER),
        ("loader", ("instruction_op", "instruction_count", "instruction_stream", "starved")),
        ("loader", ("write_valid", "write_address", "write_mask", "write_data")),
    ),
    "array": (
        ("array_program", ("start", "issued", *_SEQUENCER[1:])),
        ("contraction", ("instruction_rows", "instruction_condition", "instruction_to_results")),
        ("contraction", ("data_enable", "data_address", "factor_address", "write_valid", "write_address")),
    ),
    "gate_unit": (
        ("gate_program", _SEQUENCER),
        ("gate", ("instruction_op", "instruction_condition", "instruction_first", "instruction_last", "stalled")),
        ("gate", ("result_address", "cell_valid", "cell_address", "cell_data")),
        ("gate", ("hidden_valid", "hidden_address", "hidden_data")),
    ),
    "memories": (
        ("scratchpad", ("read_enable", "read_address", "array_valid", "array_address", "loader_valid")),
        ("results", ("write_valid", "write_address", "read_address")),
    ),
    "tokens": (("tokens", ("available",)),),
}
"""What a layout shows: by group, places below the engine and signals there. An engine may have fewer."""

_TOKENS = {"take", "give", "available"}

_ENUMS: dict[tuple[str, str], type[IntEnum]] = {
    ("loader", "instruction_op"): LoaderOp,
    ("gate", "instruction_op"): GateOp,
    ("gate", "instruction_condition"): Condition,
    ("contraction", "instruction_condition"): Condition,
    ("", "out__payload_kind"): OutputKind,
}

_COUNTS = {"steps", "cycles", "stalls", "saturations", "instruction_count", "instruction_rows"}
"""What people count; GTKWave shows it in decimal, and all else in hexadecimal."""

_WINDOW, SHOWN = (1280, 800), 700
"""Of GTKWave: the window, and how much of its width is left for waves."""

FRAME = 200
"""GTKWave's zoom z shows 2 ** -z units of time on so many pixels."""

_FIELD = re.compile(rb"^(\s*\$var \w+ \d+ \S+ )(\S+)( .*)$")

_PLAIN = re.compile(rb"[A-Za-z_]\w*")
"""A name that needs no backslash."""

_SIGNS = bytes.maketrans(b".:", b"__")
"""In names: at a dot Surfer looks for another level, and GTKWave opens no trace that has a colon, as Yosys's own do."""


@dataclass(frozen=True)
class Signal:
    """A signal of a layout: where, what, its bits, the range behind its name in the trace, and who names its values."""

    place: str
    name: str
    size: int
    range: str
    names: str | None


def copy(trace: IO[bytes], file: IO[bytes]) -> None:
    """Copies a VCD. Names go without the signs that viewers take for their own, and plain ones without the backslash
    that Icarus writes in front.
    """
    for line in trace:
        if match := _FIELD.match(line):
            name = match[2].translate(_SIGNS)
            plain = name.removeprefix(b"\\")
            line = match[1] + (plain if _PLAIN.fullmatch(plain) else name) + match[3] + b"\n"
        file.write(line)
        if line.lstrip().startswith(b"$enddefinitions"):
            break
    shutil.copyfileobj(trace, file)


def lay_out(waves: Path, top: str) -> list[Path]:
    """Writes layouts beside a trace of an engine; returns the files.

    Args:
        top: the module of the engine.

    Raises:
        FileError: a file cannot be written.
    """
    groups = signals(waves, top)
    ours = _gtkwave(waves, top, groups), _surfer(top, groups)
    texts = {waves.with_suffix(suffix): text for suffix, text in zip(BESIDE, ours, strict=True)}
    for signal in (each for group in groups.values() for each in group):
        if signal.names is not None:
            texts[waves.parent / NAMES / signal.names] = names_of(signal)
    (waves.parent / NAMES).mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        write_whole(path, text.encode())
    return list(texts)


def signals(waves: Path, top: str) -> dict[str, list[Signal]]:
    """The signals of `GROUPS` that a trace has."""
    there = dict(_variables(waves))
    result: dict[str, list[Signal]] = {}
    for group, parts in GROUPS.items():
        result[group] = []
        for place, names in parts:
            for name in names:
                found = there.get(_path(top, place, name))
                if found is not None:
                    size, bits, _ = found
                    enum = f"tokens_{size}" if name in _TOKENS else _named(place, name, size)
                    result[group].append(Signal(place, name, size, bits, enum and f"fdht_{enum}"))
    return result


def names_of(signal: Signal) -> str:
    """What the values of a signal are called, a line each; both viewers read it."""
    if signal.name in _TOKENS:
        sets = [[token.name for token in Token if value >> token & 1] for value in range(1 << signal.size)]
        values = dict(enumerate("+".join(each) or "-" for each in sets))
    else:
        values = {each.value: each.name for each in _ENUMS[signal.place, signal.name] if each < 1 << signal.size}
    return "\n".join([f"Bits = {signal.size}", *(f"{value} {name}" for value, name in values.items()), ""])


def _named(place: str, name: str, size: int) -> str | None:
    enum = _ENUMS.get((place, name))
    return None if enum is None else f"{enum.__name__}_{size}"


def _path(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _variables(waves: Path) -> Iterator[tuple[str, tuple[int, str, bytes]]]:
    """Every variable of a trace by its path: its size, its range as the trace has it, and its sign in what follows."""
    places = list[str]()
    with waves.open("rb") as file:  # by hand: pyvcd's reader refuses names that begin with $, as Verilator's do
        for words in map(bytes.split, file):
            match words:
                case [b"$scope", _, name, *_]:
                    places.append(name.decode())
                case [b"$upscope", *_]:
                    places.pop()
                case [b"$var", _, size, sign, name, *bits, b"$end"]:
                    yield _path(*places, name.decode()), (int(size), b"".join(bits).decode(), sign)
                case [b"$enddefinitions", *_]:
                    return


def run_of(waves: Path, top: str) -> tuple[int, int]:
    """When the first run begins, before which the image is loaded, and when the trace ends, in its unit of time."""
    busy = dict(_variables(waves)).get(_path(top, "busy"))
    with waves.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as trace:
        begun = -1 if busy is None else trace.find(b"\n1" + busy[2] + b"\n")

        def time(before: int) -> int:
            at = trace.rfind(b"\n#", 0, before)
            return 0 if at < 0 else int(trace[at + 2 : trace.find(b"\n", at + 1)])

        return 0 if begun < 0 else time(begun), time(len(trace))


def _gtkwave(waves: Path, top: str, groups: dict[str, list[Signal]]) -> str:
    text = io.StringIO()
    save = gtkw.GTKWSave(text)
    save.dumpfile(str(waves.resolve()))
    begin, end = run_of(waves, top)
    save.size(*_WINDOW)
    save.zoom_markers(-math.log2(max(end, 1) * FRAME / SHOWN), marker=begin)
    save.treeopen(f"{top}.")
    save.signals_width(260)
    for group, shown in groups.items():
        with save.group(group.replace("_", " ")):
            for signal in shown:
                names = None if signal.names is None else str((waves.parent / NAMES / signal.names).resolve())
                save.trace(
                    _path(top, signal.place, signal.name) + signal.range,
                    alias=_path(signal.place, signal.name),
                    datafmt="dec" if names is not None or signal.name in _COUNTS else "hex",
                    translate_filter_file=names,
                )
    return text.getvalue()


def _surfer(top: str, groups: dict[str, list[Signal]]) -> str:
    """Commands; the name of a divider is one word."""
    lines = list[str]()
    for group, shown in groups.items():
        lines.append(f"divider_add {group}")
        for signal in shown:
            lines.append(f"variable_add {_path(top, signal.place, signal.name)}")
            if signal.names is not None:
                lines.append(f"item_set_format {signal.names}")
    return "\n".join([*lines, "zoom_fit", ""])
