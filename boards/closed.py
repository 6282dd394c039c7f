"""Parts whose bitstreams only their makers' tools make: what the generic block takes of one, predicted and by Yosys.

The block has AXI around the engine, as fdht export writes it, and instantiates nothing: the tools infer multipliers and
memories. Which ones Yosys infers is predicted, multipliers and block RAM exactly; LUTs and flip-flops are not.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fdht.boards import tools
from fdht.boards.fitting import nearest_changes
from fdht.boards.fullness import KINDS, Ground, available
from fdht.boards.parts import Part, find_closed
from fdht.boards.synthesis import CACHE, Netlist
from fdht.spec import costs
from fdht.spec.costs import Inferred, Resources
from fdht.spec.errors import CapacityError
from fdht.spec.target import PART_TARGETS, Target, Technology, find_target

PRUDENT = {"luts": 0.7, "ffs": 0.7, "multipliers": 0.75, "block_rams": 0.75}
"""Of each kind the largest share of a part that is proposed: nothing was routed there, and there is more in a design
than this block."""


@dataclass(frozen=True)
class Synthesis:
    """How Yosys synthesises for a family, and how it calls what it infers.

    Attributes:
        command: with {top} for the module.
        multipliers, block_rams, luts: cells, and how many each counts as. ffs: how names of flip-flops begin.
    """

    command: str
    multipliers: Mapping[str, int]
    block_rams: Mapping[str, int]
    luts: Mapping[str, int]
    ffs: str

    def count(self, cells: Mapping[str, int]) -> Netlist:
        """What a netlist takes, from its number of cells by type."""
        multipliers, block_rams, luts = (
            sum(each * cells.get(kind, 0) for kind, each in kinds.items())
            for kinds in (self.multipliers, self.block_rams, self.luts)
        )
        ffs = sum(n for kind, n in cells.items() if kind.startswith(self.ffs))
        return Netlist(Resources(multipliers, block_rams), luts, ffs)


SYNTHESES = {
    Inferred.XC7: Synthesis(
        "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}",
        multipliers={"DSP48E1": 1},
        block_rams={"RAMB18E1": 1, "RAMB36E1": 2},
        luts={
            **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
            **dict.fromkeys(("INV", "SRL16E", "SRLC16E", "SRLC32E", "RAM32X1S", "RAM64X1S"), 1),
            **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1S"), 2),
            **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), 4),
        },
        ffs="FD",
    ),
    Inferred.CYCLONE_V: Synthesis(
        "synth_intel_alm -family cyclonev -noiopad -noclkbuf -top {top}",
        multipliers={"MISTRAL_MUL9X9": 1, "MISTRAL_MUL18X18": 1, "MISTRAL_MUL27X27": 2},
        block_rams={"MISTRAL_M10K": 1},
        luts={
            "MISTRAL_ALUT6": 2,  # a whole ALM
            **{f"MISTRAL_ALUT{inputs}": 1 for inputs in range(2, 6)},
            **dict.fromkeys(("MISTRAL_ALUT_ARITH", "MISTRAL_NOT", "MISTRAL_MLAB"), 1),
        },
        ffs="MISTRAL_FF",
    ),
}


def resources(part: Part, engine: Target) -> Resources:
    """The blocks that the generic block takes of a part, as predicted; AXI takes none."""
    return costs.engine(engine.made_of(Technology.GENERIC), part.family)


def ground(name: str) -> Ground:
    """A part by name, with its own engine.

    Raises:
        SpecError: no such part.
    """
    part = find_closed(name)
    return Ground(
        name=name.lower(),
        own="the part's own",
        engine=PART_TARGETS[name.lower()],
        part=part,
        where=f"the {part.name}",
        shares=PRUDENT,
        why="are given away at most",
        clock_mhz=None,
        blocks=lambda engine: resources(part, engine),
        logic=lambda _: {},
    )


def engine_in(name: str, target: str | None = None) -> tuple[Part, Target]:
    """A part by name and an engine for it, which instantiates nothing.

    Args:
        target: name or file of another engine than the part's own.

    Raises:
        SpecError: no such part or target.
        FileError: no target in the file.
        CapacityError: the part has too little of something; says what would fit.
    """
    part = find_closed(name)
    engine = (PART_TARGETS[name.lower()] if target is None else find_target(target)).made_of(Technology.GENERIC)
    takes = resources(part, engine)
    for kind, (resource, plural) in KINDS.items():
        needed, there = asdict(takes).get(kind, 0), available(part)[kind]
        if needed > there:
            way_out = nearest_changes(engine, part, takes, blocks=lambda each: resources(part, each))
            raise CapacityError(resource, needed, there, way_out, f"{plural} of the {part.name}")
    return part, engine


def measure(part: Part, verilog: str, top: str) -> Netlist:
    """What a block takes of a part, by Yosys's own synthesis for its family.

    Args:
        verilog: of the block. top: its module.

    Raises:
        ToolError: Yosys is missing or failed.
    """
    assert part.family is not None
    synthesis = SYNTHESES[part.family]
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{part.name}-", dir=CACHE) as scratch:
        folder = Path(scratch)
        (folder / "block.v").write_text(verilog)
        commands = ("read_verilog block.v", synthesis.command.format(top=top), "tee -q -o stat.json stat -json")
        (folder / "block.ys").write_text("\n".join((*commands, "")))
        tools.call("yosys", ["-q", "-l", "yosys.log", "block.ys"], folder, folder / "yosys.out")
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return synthesis.count(cells)


def check(part: Part, made: Netlist) -> None:
    """Compares a netlist with the part.

    Raises:
        CapacityError: more of something than there is.
    """
    takes = {"luts": made.luts, "ffs": made.ffs, **asdict(made.blocks)}
    for kind, (resource, name) in KINDS.items():
        if takes[kind] > available(part)[kind]:
            way_out = "choose fewer rows, columns or features, or a larger part (docs/engines.md)"
            raise CapacityError(
                resource, takes[kind], available(part)[kind], way_out, f"{name} of the {part.name}, by Yosys"
            )
