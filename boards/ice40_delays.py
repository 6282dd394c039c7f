"""Delays of an iCE40 UltraPlus that nextpnr-ice40 leaves out or counts too short, and icetime's word where it is there.

The numbers are those of icestorm's icefuzz/timings_up5k.txt, in the worst case and of the slower edge, by which icetime
reckons. nextpnr takes its own from the same file, but

- its router swaps a LUT's inputs, and the delay stays that of the input before;
- every set-up time but a LUT's is 0.1 ns, and so is the time from the clock to an SB_MAC16's output;
- the wire that leaves a cell costs as much as one between wires, and some of the way into global nets costs nothing;
- a clock reaches all registers at one time, where icetime leaves it 0.1 ns.
"""

import re
from pathlib import Path

from fdht.boards import tools
from fdht.boards.static_timing import Pin, Setup, TimingGraph, top_module

PART = "--up5k"
"""nextpnr's option of the part whose delays are here."""

SKEW = 0.1
"""How much earlier than at another register a clock may be at one (icetime's GLOBAL_CLK_DIST_JITTER)."""

LUT = (1.28472, 1.23174, 1.20525, 0.874139)
"""LogicCell40: IOPATH in0, in1, in2, in3 to lcout."""

LUT_SETUP = (1.23174, 1.05956, 0.980096, 0.72845)
"""LogicCell40: SETUP in0, in1, in2, in3, through the LUT to the flip-flop."""

CLOCK_TO_OUTPUT = {
    "ICESTORM_LC": 1.39068,
    "ICESTORM_RAM": 1.17876,
    "ICESTORM_SPRAM": 1.82112,
    "ICESTORM_DSP": 1.97943,
}
"""IOPATH of LogicCell40 (clk to lcout), SB_RAM40_4K, SB_SPRAM256KA and SB_MAC16_MAC_U_16X16_ALL_PIPELINE (CLK to O)."""

SETUP = {
    "ICESTORM_LC": {"CEN": 0.0, "SR": 0.529781},
    "ICESTORM_RAM": {
        "RADDR": 0.384092,
        "RCLKE": 0.503292,
        "RE": 0.185424,
        "WADDR": 0.423825,
        "WCLKE": 0.503292,
        "WDATA": 0.304624,
        "WE": 0.251646,
        "MASK": 0.516537,
    },
    "ICESTORM_SPRAM": {
        "ADDRESS": 0.26754,
        "DATAIN": 0.143041,
        "MASKWREN": 0.143041,
        "WREN": 0.288731,
        "CHIPSELECT": 0.403958,
        "STANDBY": 1.71517,
        "SLEEP": 41.5057,
    },
    "ICESTORM_DSP": {
        "A": 0.0141028,
        "B": 0.00650174,
        "AHOLD": 0.377657,
        "BHOLD": 0.350195,
        "CHOLD": 0.260365,
        "DHOLD": 0.318338,
        "OLOADTOP": 0.391656,
        "OLOADBOT": 0.453884,
        "OHOLDTOP": 0.293099,
        "OHOLDBOT": 0.431383,
        "ADDSUBTOP": 1.88191,
        "ADDSUBBOT": 2.63635,
        "IRSTTOP": 1.1247,
        "IRSTBOT": 1.05655,
        "ORSTTOP": 0.939622,
        "ORSTBOT": 0.815777,
    },
}
"""SETUP, of resets RECOVERY where that is longer, of the same cells; of a bus that of its slowest bit."""

MAC16_REGISTERS = {
    "A_REG": 1,
    "B_REG": 1,
    "PIPELINE_16x16_MULT_REG2": 1,
    "TOPOUTPUT_SELECT": 1,
    "BOTOUTPUT_SELECT": 1,
}
"""Parameters of an SB_MAC16 whose delays are those above: registers at the operands, the product and the sum."""

ODRV4, SPAN4_H = 0.648982, 0.543026
"""Odrv4, from a cell to a wire of span 4, and Span4Mux_h4, which nextpnr counts in its place if that is horizontal."""

IO_IN_MUX, GLB2LOCAL, GLOBAL_MUX = 0.662227, 0.58276, 0.278135
"""IoInMux, Glb2LocalMux and GlobalMux, on the way into global nets and out of them again; nextpnr counts 0."""

ROUNDING = 0.001
"""What nextpnr may lose in every switch: it drops what is less than a picosecond."""

_LUT_INPUT = re.compile(r"I(\d)$")


def refine(graph: TimingGraph, design: dict, part: tuple[str, ...]) -> None:
    """Corrects the delays of a routed design; see fdht.boards.static_timing.Refine. No delay but a LUT's gets shorter.

    Raises:
        ToolError: another part, or an SB_MAC16 without the registers in it.
    """
    if PART not in part:
        raise tools.ToolError(
            f"boards/ice40_delays.py has the delays of {PART[2:]} and not of {' '.join(part)};"
            " add those of icestorm's timings for this part"
        )
    module = top_module(design)
    routes = _Routes(module)
    for cell, arcs in graph.arcs.items():
        kind = graph.types[cell]
        clocks = {clock for _, clock in graph.setups.get(cell, ())}
        for (source, sink), ns in arcs.items():
            if source in clocks or source in ("CLK", "RCLK", "CLOCK"):
                arcs[source, sink] = max(ns, CLOCK_TO_OUTPUT.get(kind, 0)) + SKEW
            elif kind == "ICESTORM_LC" and sink == "O" and (lut := _LUT_INPUT.match(source)):
                arcs[source, sink] = LUT[routes.input_of(cell, int(lut[1]))]
    for cell, setups in graph.setups.items():
        kind = graph.types[cell]
        if kind == "ICESTORM_DSP":
            _check_registers(cell, module["cells"][cell]["parameters"])
        for (port, clock), setup in setups.items():
            if kind == "ICESTORM_LC" and (lut := _LUT_INPUT.match(port)):
                ns = LUT_SETUP[routes.input_of(cell, int(lut[1]))]
            else:
                ns = max(setup.ns, SETUP.get(kind, {}).get(re.sub(r"_\d+$", "", port), 0))
            setups[port, clock] = Setup(ns, setup.falling)
    for sink, (driver, ns) in graph.wires.items():
        graph.wires[sink] = driver, ns + routes.missing(driver, sink)


def _check_registers(cell: str, parameters: dict) -> None:
    for name, value in MAC16_REGISTERS.items():
        if int(parameters.get(name, "0"), 2) != value:
            raise tools.ToolError(
                f"{name} of the SB_MAC16 {cell} is not {value}, and boards/ice40_delays.py has only the delays of one"
                " with registers at operands, product and sum; add those of icestorm's cell for this mode"
            )


class _Routes:
    """How the wires of a design run.

    Args:
        module: cells and nets, as nextpnr's JSON has them; of a net `ROUTING` is a list of wires, each with the switch
            ("pip") that leads to it, "X5/Y24/5.24.lutff_4:out.->.5.24.local_g3_4".
    """

    def __init__(self, module: dict):
        self._cells = module["cells"]
        self._swapped: dict[tuple[str, int], int] = {}
        self._before: dict[str, str] = {}  # of a wire, by the switch that leads to it
        self._missing: dict[int, float] = {}  # of a net, at most
        for net in module["netnames"].values():
            route = net["attributes"].get("ROUTING", "").split(";")
            longest = 0.0
            for wire, switch in zip(route[0::3], route[1::3], strict=False):
                if switch:
                    source, target = switch.split("/", 2)[2].split(".->.")
                    self._before[wire] = _wire(source)
                    longest = max(longest, _extra(source, target))
                    self._note_swap(wire, source)
            for bit in net["bits"]:
                self._missing[bit] = longest

    def _note_swap(self, wire: str, source: str) -> None:
        lut = re.match(r"(X\d+/Y\d+)/lutff_(\d):in_(\d)_lut$", wire)
        if lut:
            self._swapped[f"{lut[1]}/lc{lut[2]}", int(lut[3])] = int(source[-1])

    def input_of(self, cell: str, before: int) -> int:
        """The input of a LUT that a signal comes in at, which was to come in at `before`."""
        return self._swapped.get((self._site(cell), before), before)

    def missing(self, driver: Pin, sink: Pin) -> float:
        """The ns that nextpnr leaves out of the way from an output to an input."""
        extra = GLOBAL_MUX if driver[1] == "GLOBAL_BUFFER_OUTPUT" else 0.0
        wire = self._wire_at(sink)
        if wire is None:  # of a net, not of this way
            bits = self._cells[driver[0]]["connections"][driver[1]]
            return extra + self._missing.get(bits[0], 0.0)
        while wire in self._before:
            source = self._before[wire]
            extra += _extra(_dotted(source), _dotted(wire))
            wire = source
        return extra

    def _wire_at(self, sink: Pin) -> str | None:
        """The wire that ends at an input; None if that is not known here."""
        cell, port = sink
        site = re.match(r"X(\d+)/Y(\d+)/(lc|ram)(\d*)$", self._site(cell))
        if site is None:
            return None
        x, y, kind, number = site.groups()
        if kind == "lc":
            place = {"CEN": "lutff_global:cen", "SR": "lutff_global:s_r", "CLK": "lutff_global:clk"}.get(port)
            if lut := _LUT_INPUT.match(port):
                place = f"lutff_{number}:in_{lut[1]}_lut"
            wires = [f"X{x}/Y{y}/{place}"]
        else:
            wires = [f"X{x}/Y{row}/ram:{port}" for row in (int(y), int(y) + 1)]  # a block RAM is two tiles high
        return next((wire for wire in wires if wire in self._before), None)

    def _site(self, cell: str) -> str:
        return self._cells[cell]["attributes"].get("NEXTPNR_BEL", "")


def _wire(dotted: str) -> str:
    """ "5.24.lutff_4:out" as the name of a wire: "X5/Y24/lutff_4:out"."""
    x, y, name = dotted.split(".", 2)
    return f"X{x}/Y{y}/{name}"


def _dotted(wire: str) -> str:
    x, y, name = wire.split("/", 2)
    return f"{x[1:]}.{y[1:]}.{name}"


def _extra(source: str, target: str) -> float:
    """The ns that nextpnr leaves out of a switch between two wires."""
    source, target = source.split(".", 2)[2], target.split(".", 2)[2]
    if target.startswith("sp4_h") and not re.match(r"sp(an)?(4|12)_", source):
        return ODRV4 - SPAN4_H + ROUNDING
    if target == "fabout":
        return IO_IN_MUX
    if target.startswith("glb2local"):
        return GLB2LOCAL
    return ROUNDING


def icetime(part: tuple[str, ...], routed: Path) -> float | None:
    """The clock in MHz that icestorm's own analysis finds for a routed design, of the longest path that is not at a
    pad, whichever clock it has; None if it is not installed, which it is on no system by pip alone.

    Raises:
        ToolError: it failed, or said something else.
    """
    if not tools.is_there("icetime"):
        return None
    report = routed.with_suffix(".icetime")
    # -m: of a wire across several tiles its whole length, which is more careful and what nextpnr does
    try:
        tools.call("icetime", ["-d", part[0][2:], "-i", "-m", "-t", routed.name], routed.parent, report)
    except tools.ToolError as error:
        raise tools.ToolError(
            f"{error}; give it its chip data base (Debian: fpga-icestorm-chipdb), or take it off the path"
        ) from error
    found = re.search(r"\((\d+\.\d+) MHz\)", report.read_text(errors="replace"))
    if found is None:
        raise tools.ToolError(
            f"icetime gives no clock for {routed.name}; look for its version, or take it off the path"
        )
    return float(found[1])
