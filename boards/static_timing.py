"""Static timing analysis of a routed design: nextpnr's delays, with what it leaves out or counts too short put right.

nextpnr writes every delay that it reckons with as SDF (Standard Delay Format). As long as these are unchanged, the
analysis here finds the very clocks that nextpnr reports, and is held against them; then a family's `refine` corrects
the delays and the analysis is done again.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fdht.boards.tools import ToolError

Pin = tuple[str, str]
"""A cell and one of its ports."""

Refine = Callable[["TimingGraph", dict, tuple[str, ...]], None]
"""Corrects a graph in place, given the routed design as nextpnr's JSON and the options that name the part."""

AGREEMENT = 1e-3
"""By how much of a clock the analysis may differ from nextpnr's before anything is corrected; SDF has whole ps."""

_NAME = r"((?:\\.|[^\s()\\])+)"
_DELAY = r"\([-\d]*:[-\d]*:([-\d]+)\)"  # least, typical, most
_CELL_TYPE = re.compile(r'\s*\(CELLTYPE "(.*)"\)')
_INSTANCE = re.compile(rf"\s*\(INSTANCE {_NAME}\)")
_DELAYS = re.compile(rf"\s*\((INTERCONNECT|IOPATH) {_NAME} {_NAME} {_DELAY} {_DELAY}\)")
_SETUP = re.compile(rf"\s*\(SETUPHOLD \(\w+ {_NAME}\) \((\w+) {_NAME}\) {_DELAY}")


@dataclass(frozen=True)
class Setup:
    """For how many ns before a clock's edge an input must be steady."""

    ns: float
    falling: bool = False


@dataclass
class TimingGraph:
    """The delays of a routed design in ns, at their longest.

    Attributes:
        types: of the cells, by name.
        wires: of each input that is connected: the output that drives it, and the delay from there.
        arcs: of each cell: the delay from an input to an output; from a clock it is that from the edge to the output.
        setups: of each cell: by an input and its clock.
        assumed: types of cells whose own delays are known to nobody and are counted as 0.
    """

    types: dict[str, str] = field(default_factory=dict)
    wires: dict[Pin, tuple[Pin, float]] = field(default_factory=dict)
    arcs: dict[str, dict[tuple[str, str], float]] = field(default_factory=lambda: defaultdict(dict))
    setups: dict[str, dict[tuple[str, str], Setup]] = field(default_factory=lambda: defaultdict(dict))
    assumed: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class CriticalPath:
    """The path that limits a clock.

    Attributes:
        period: the least that it allows, in ns: the delay from edge to edge, twice that if the edges are a rising and
            a falling one.
        outputs: on the way, a register's first, with the ns from the edge until each is steady.
        end: the register's input.
    """

    period: float
    outputs: tuple[tuple[Pin, float], ...]
    end: Pin

    @property
    def mhz(self) -> float:
        return 1e3 / self.period


def read_sdf(path: Path) -> TimingGraph:
    """The delays that nextpnr has written with `--sdf`.

    Raises:
        ToolError: there are none.
    """
    graph = TimingGraph()
    cell = kind = ""
    with open(path, errors="replace") as lines:
        for line in lines:
            if found := _DELAYS.match(line):
                what, source, sink, *delays = found.groups()
                ns = max(map(float, delays)) / 1e3
                if what == "INTERCONNECT":
                    graph.wires[_pin(sink)] = _pin(source), ns
                else:
                    graph.arcs[cell][_unescaped(source), _unescaped(sink)] = ns
            elif found := _SETUP.match(line):
                port, edge, clock, ps = found.groups()
                setup = Setup(float(ps) / 1e3, edge == "negedge")
                graph.setups[cell][_unescaped(port), _unescaped(clock)] = setup
            elif found := _CELL_TYPE.match(line):
                kind = found[1]
            elif found := _INSTANCE.match(line):
                cell = _unescaped(found[1])
                graph.types[cell] = kind
    if not graph.wires or not graph.setups:
        raise ToolError(f"{path.name} has no delays of a routed design; look for nextpnr's version")
    return graph


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _pin(name: str) -> Pin:
    cell, port = name.rsplit("/", 1)
    return _unescaped(cell), _unescaped(port)


def critical_paths(graph: TimingGraph) -> dict[Pin, CriticalPath]:
    """The longest path within each clock domain; domains are named by the output that clocks their registers.

    Paths from one domain to another, and those from or to pads, limit no clock and are left out.

    Raises:
        ToolError: the design has a combinational loop.
    """
    analysis = _Analysis(graph)
    limits: dict[Pin, CriticalPath] = {}
    for cell, setups in graph.setups.items():
        for (port, clock_port), setup in setups.items():
            if (cell, port) not in graph.wires or (cell, clock_port) not in graph.wires:
                continue
            driver, wire = graph.wires[cell, port]
            clock = graph.wires[cell, clock_port][0]
            for edge, ns in analysis.arrivals[driver].items():
                if edge[0] != clock:
                    continue
                period = (ns + wire + setup.ns) * (1 if edge[1] == setup.falling else 2)
                if clock not in limits or period > limits[clock].period:
                    limits[clock] = CriticalPath(period, analysis.way(driver, edge), (cell, port))
    return limits


_Edge = tuple[Pin, bool]
"""A clock's pin, and whether the edge falls."""


class _Analysis:
    """When each output is steady after an edge of each clock, at the latest.

    Attributes:
        arrivals: of each output, the ns after each edge that it depends on.
    """

    def __init__(self, graph: TimingGraph):
        self.arrivals: dict[Pin, dict[_Edge, float]] = defaultdict(dict)
        self._before: dict[tuple[Pin, _Edge], Pin] = {}
        clock_ports = {
            (cell, clock): setup.falling
            for cell, setups in graph.setups.items()
            for (_, clock), setup in setups.items()
        }
        clocks = {graph.wires[pin][0] for pin in clock_ports if pin in graph.wires}
        inputs: dict[Pin, list[tuple[Pin, float]]] = defaultdict(list)
        for cell, arcs in graph.arcs.items():
            for (source, sink), ns in arcs.items():
                if (cell, source) not in graph.wires:
                    continue
                driver, wire = graph.wires[cell, source]
                if driver in clocks:
                    edge = driver, clock_ports.get((cell, source), False)
                    at = self.arrivals[cell, sink]
                    at[edge] = max(at.get(edge, 0), ns)
                else:
                    inputs[cell, sink].append((driver, wire + ns))
        for output in _in_order(inputs):
            for driver, ns in inputs[output]:
                for edge, at in self.arrivals[driver].items():
                    if at + ns > self.arrivals[output].get(edge, 0):
                        self.arrivals[output][edge] = at + ns
                        self._before[output, edge] = driver

    def way(self, output: Pin, edge: _Edge) -> tuple[tuple[Pin, float], ...]:
        """The latest way to an output from an edge."""
        steps = []
        here: Pin | None = output
        while here is not None:
            steps.append((here, self.arrivals[here][edge]))
            here = self._before.get((here, edge))
        return tuple(reversed(steps))


def _in_order(inputs: Mapping[Pin, Iterable[tuple[Pin, float]]]) -> list[Pin]:
    """Outputs of logic, each after all that drive it."""
    order: list[Pin] = []
    done: dict[Pin, bool] = {}  # False: on the way to it
    for start in inputs:
        stack = [start]
        while stack:
            output = stack[-1]
            if output in done:
                stack.pop()
                if not done[output]:
                    done[output] = True
                    order.append(output)
                continue
            done[output] = False
            for driver, _ in inputs[output]:
                if driver not in inputs:
                    continue
                if driver not in done:
                    stack.append(driver)
                elif not done[driver]:
                    raise ToolError(f"the delays of {driver[0]} lead back to it; the design has a combinational loop")
    return order


@dataclass(frozen=True)
class Timing:
    """What a routed design's clocks are, and by whose word.

    Attributes:
        clocks: nextpnr's report of them, `achieved` the more careful of its figure and the one found here.
        nextpnr: that report as it was.
        source: NEXTPNR, or CORRECTED if its delays were corrected first.
        uncovered: whose delays are in neither figure; see the function of this name.
    """

    clocks: dict[str, dict]
    nextpnr: dict[str, dict]
    source: str
    uncovered: dict[str, dict]


NEXTPNR = "nextpnr"
CORRECTED = "nextpnr, its delays corrected"


def examine(
    clocks: dict[str, dict],
    sdf: Path,
    design: Path | None,
    refine: Refine | None,
    part: tuple[str, ...],
    outside: Iterable[str],
) -> Timing:
    """Times a routed design again, with corrected delays if its family's are known to need that.

    Args:
        clocks: nextpnr's report of them, `achieved` and `constraint` of each in MHz. sdf: its delays.
        design: what it has routed, as its JSON; needed to refine.
        refine: corrects the delays; None if they are good as they are.
        part: nextpnr's options that name the part. outside: see `uncovered`.

    Raises:
        ToolError: the files are not what they should be, or the analysis does not agree with nextpnr's own.
    """
    graph = read_sdf(sdf)
    if refine is None:
        return Timing(clocks, clocks, NEXTPNR, uncovered(graph, outside))
    assert design is not None
    module = json.loads(design.read_text())
    before = critical_paths(graph)
    names = clocks_by_name(module, before, clocks)
    agree({name: before[clock] for name, clock in names.items()}, clocks)
    refine(graph, module, part)
    after = critical_paths(graph)
    careful = {
        name: {**clock, "achieved": min(clock["achieved"], after[names[name]].mhz)} for name, clock in clocks.items()
    }
    missing = uncovered(graph, outside)
    wanted = {names[name]: 1e3 / clock["constraint"] for name, clock in clocks.items()}
    for kind in graph.assumed & missing.keys():
        missing[kind]["room_ns"] = round(room(graph, kind, wanted), 2)
    return Timing(careful, clocks, CORRECTED, missing)


def clocks_by_name(design: dict, clocks: Iterable[Pin], names: Iterable[str]) -> dict[str, Pin]:
    """Which of nextpnr's clocks is which.

    Args:
        design: the routed design, as nextpnr's JSON.
        clocks: outputs that clock registers.
        names: nextpnr's, which are those of nets.

    Raises:
        ToolError: one of the names is that of no clock.
    """
    module = top_module(design)
    outputs = {}
    for clock in clocks:
        outputs[module["cells"][clock[0]]["connections"][clock[1]][0]] = clock
    found = {}
    for name in names:
        bits = module["netnames"].get(name, {"bits": []})["bits"]
        if not bits or bits[0] not in outputs:
            raise ToolError(f"nextpnr reports a clock {name} that clocks nothing in its delays; look for its version")
        found[name] = outputs[bits[0]]
    return found


def top_module(design: dict) -> dict:
    """Cells and nets of a routed design, as nextpnr's JSON has them."""
    (module,) = (each for each in design["modules"].values() if "top" in each["attributes"])
    return module


def agree(paths: Mapping[str, CriticalPath], clocks: Mapping[str, dict]) -> None:
    """Holds the analysis, with nothing corrected, against nextpnr's own.

    Args:
        paths: by nextpnr's name of the clock. clocks: those of its report.

    Raises:
        ToolError: they differ, so that one of them cannot be relied upon.
    """
    for name, clock in clocks.items():
        if name not in paths or abs(paths[name].mhz / clock["achieved"] - 1) > AGREEMENT:
            here = f"{paths[name].mhz:.2f} MHz" if name in paths else "no path"
            raise ToolError(
                f"nextpnr says {clock['achieved']:.2f} MHz of clock {name} and its delays add up to {here};"
                " look for its version"
            )


def uncovered(graph: TimingGraph, outside: Iterable[str]) -> dict[str, dict]:
    """Whose delays are in no path, so that a clock's figure says nothing about them.

    Args:
        outside: types of cells at the edge of every clock's domain: pads and PLLs.

    Returns:
        By type of cell: `cells`, how many there are, and `pins`, without their numbers, that have no delay in any of
        them. A pin that has one in another cell of its type is a constant where it has none. `examine` adds `room_ns`
        of those whose wires do count.
    """
    outside = set(outside)
    clocks = {(cell, clock) for cell, setups in graph.setups.items() for _, clock in setups}
    drivers = {graph.wires[pin][0] for pin in clocks if pin in graph.wires}
    used: dict[str, set[str]] = defaultdict(set)
    known: dict[str, set[str]] = defaultdict(set)
    varying = {cell for cell, _ in graph.wires}  # what has no input is a constant
    for sink, (driver, _) in graph.wires.items():
        if driver in drivers or driver[0] not in varying or {graph.types[sink[0]], graph.types[driver[0]]} & outside:
            continue
        for cell, port in (sink, driver):
            used[graph.types[cell]].add(_bus(port))
    for delays in (graph.arcs, graph.setups):
        for cell, ports in delays.items():
            if graph.types[cell] not in graph.assumed:
                known[graph.types[cell]] |= {_bus(port) for pair in ports for port in pair}
    missing = {kind: sorted(ports - known[kind]) for kind, ports in used.items() if ports - known[kind]}
    kinds = list(graph.types.values())
    return {kind: {"cells": kinds.count(kind), "pins": missing[kind]} for kind in sorted(missing)}


def room(graph: TimingGraph, kind: str, wanted: Mapping[Pin, float]) -> float:
    """How many ns the set-up time, or the clock-to-output time, of cells whose delays are unknown and counted as 0 may
    be before a path from or to them takes longer than its clock allows. Below 0, the wires alone take longer.

    Args:
        kind: type of the cells, which have registers at all pins.
        wanted: periods of clocks in ns.
    """
    cells = {cell for cell, each in graph.types.items() if each == kind}
    clocks = {(cell, clock) for cell, setups in graph.setups.items() for _, clock in setups}

    def starts(cell: str, source: str) -> bool:
        return cell in cells or (cell, source) not in clocks

    arcs = {cell: {arc: ns for arc, ns in each.items() if starts(cell, arc[0])} for cell, each in graph.arcs.items()}
    away = critical_paths(TimingGraph(graph.types, graph.wires, arcs, graph.setups))
    ends = {cell: setups for cell, setups in graph.setups.items() if cell in cells}
    towards = critical_paths(TimingGraph(graph.types, graph.wires, graph.arcs, ends))
    return min(period - paths[c].period for paths in (away, towards) for c, period in wanted.items() if c in paths)


def _bus(port: str) -> str:
    return re.sub(r"_?\d+$", "", port)
