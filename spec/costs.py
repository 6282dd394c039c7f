"""What engines and their memories take of a part: multiplier blocks, block RAMs, SPRAMs exactly; LUTs and flip-flops
nearly.

Boxes of the gateware say these numbers of themselves, a search of engines asks for them without building one, and every
netlist is held against them.
"""

from dataclasses import dataclass
from enum import Enum, unique

from fdht.spec import timing
from fdht.spec.activation import SEGMENTS, table_width
from fdht.spec.instructions import UNITS, WORD, Widths, bits_for, words_for
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.tallies import TALLY_BITS, instruction_tallies
from fdht.spec.target import LARGEST_MEMORY, Target, Technology

SPRAM_WORDS, SPRAM_WIDTH = 16384, 16
"""Shape of one SB_SPRAM256KA."""

DP16K_WIDTH = 18
"""Bits of a DP16KD's word at most, with a port to read and another to write."""


@unique
class Inferred(str, Enum):
    """Families of parts of which nothing is instantiated: synthesis makes their blocks of a generic engine."""

    XC7 = "xc7"
    CYCLONE_V = "cyclonev"


Blocks = Technology | Inferred
"""Whose blocks are counted."""


def _each(cost: float, *shapes: tuple[int, int, int], count: int = 1) -> tuple[tuple[int, int, int, float, int], ...]:
    """Shapes of a block RAM that costs so much and counts as so many."""
    return tuple((*shape, cost, count) for shape in shapes)


_18_KBIT = ((16384, 1, 1), (8192, 2, 2), (4096, 4, 4), (2048, 9, 9), (1024, 18, 9), (512, 36, 9))
_36_KBIT = (*((2 * words, bits, enable) for words, bits, enable in _18_KBIT), (512, 72, 9))
_BLOCK_RAM_SHAPES: dict[Blocks, tuple[tuple[int, int, int, float, int], ...]] = {
    Technology.GENERIC: (),
    Technology.ECP5: _each(128, *_18_KBIT),
    Technology.ICE40: _each(64, (2048, 2, 1), (1024, 4, 1), (512, 8, 1), (256, 16, 1)),
    Technology.GOWIN: _each(128, *_18_KBIT),
    Inferred.XC7: (*_each(129, *_18_KBIT), *_each(257, *_36_KBIT, count=2)),
    Inferred.CYCLONE_V: (
        *_each(8192, (8192, 1, 1), (4096, 2, 2)),
        *_each(10240, (2048, 5, 5), (1024, 10, 10), (512, 20, 20), (256, 40, 40)),
    ),
}
"""Depth, width and bits per write enable of one block RAM (DP16KD, SB_RAM40_4K, SDPB or SDPX9B; RAMB18E1 or RAMB36E1,
which counts as two; M10K) in each configuration, in the order in which Yosys tries them, with what Yosys takes it to
cost (memory_libmap; of M10K, which memory_bram chooses, its bits) and how many it counts as."""

_SELECTION_COST = 0.5
"""What memory_libmap takes a bit or a write enable to cost that is selected from several block RAMs."""


@dataclass(frozen=True)
class Resources:
    """Blocks of a part.

    Attributes:
        multipliers, block_rams, sprams: how many of each kind of block.
    """

    multipliers: int = 0
    block_rams: int = 0
    sprams: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.multipliers + other.multipliers, self.block_rams + other.block_rams, self.sprams + other.sprams
        )


def block_rams(technology: Blocks, depth: int, width: int, groups: int = 1, unread: int = 0) -> int:
    """Block RAMs of a memory with one read and one write port, in the configuration that Yosys chooses for it.

    It chooses the cheapest, not the one of the fewest: several block RAMs on top of each other need multiplexers. Block
    RAMs of which nothing is read are left out afterwards.

    Args:
        technology: whose block RAM; a generic one counts 0, since nothing is known about it.
        depth: words.
        width: bits that are written together.
        groups: how many of them, each with a write enable of its own, a word has.
        unread: the last so many bits of a word are written only.
    """
    best, count = None, 0
    selection = 0 if technology is Inferred.CYCLONE_V else _SELECTION_COST
    for words, bits, enable, price, each in _BLOCK_RAM_SHAPES[technology]:
        group = -(-width // enable) * enable
        ranges, word = -(-depth // words), group * groups
        selected = (ranges - 1) * width * groups + (ranges * groups if ranges > 1 else 0)
        cost = price * -(-ranges * word // bits) + selection * selected
        if best is None or cost < best:
            best = cost
            read = [k * group + bit for k in range(groups) for bit in range(width)][: width * groups - unread]
            count = each * len({(n * word + bit) // bits for n in range(ranges) for bit in read})
    return count


def dp16k_width(technology: Blocks, depth: int) -> int:
    """Bits of a word of the DP16KDs that a memory with a register behind it is made of; 0 if it is not made of these.

    Args:
        depth: words.
    """
    shapes = _BLOCK_RAM_SHAPES[technology] if technology is Technology.ECP5 else ()
    return max((bits for words, bits, *_ in shapes if words >= depth and bits <= DP16K_WIDTH), default=0)


def deepest(technology: Blocks) -> int:
    """Words of the deepest memory that is no block RAMs on top of each other, on parts whose block RAM has the register
    that a memory is read through; LARGEST_MEMORY on others. Between several block RAMs and a register of its own a
    deeper memory has multiplexers, in paths that are built to have none.
    """
    shapes = _BLOCK_RAM_SHAPES[technology] if technology is Technology.ECP5 else ()
    return max((words for words, *_ in shapes), default=LARGEST_MEMORY)


def registered_block_rams(technology: Blocks, depth: int, width: int, unread: int = 0) -> int:
    """Block RAMs of a memory with a register behind it (fdht.hw.technology.RegisteredMemory).

    Args:
        depth: words. width: bits of a word. unread: the last so many are written only.
    """
    bits = dp16k_width(technology, depth)
    return -(-(width - unread) // bits) if bits else block_rams(technology, depth, width, unread=unread)


def bank(technology: Blocks, width: int, lanes: int, depth: int, single_port: bool, registered: bool) -> Resources:
    """A bank of the scratchpad; its arguments are those of fdht.hw.technology.BankMemory."""
    if technology is Technology.ICE40 and single_port:
        return Resources(sprams=lanes * (depth // SPRAM_WORDS))
    if registered:
        return Resources(block_rams=lanes * registered_block_rams(technology, depth, width))
    return Resources(block_rams=block_rams(technology, depth, width, lanes))


def image_memory(technology: Blocks, width: int, depth: int, registered: bool) -> Resources:
    """A memory that an image fills 16 bits at a time (fdht.hw.engine.memories.ImageMemory).

    Args:
        width: bits of a word. depth: words. registered: there is a register behind it.
    """
    parts = words_for(width)
    unread = parts * WORD - width
    if registered:
        each = registered_block_rams(technology, depth, WORD)
        return Resources(block_rams=(parts - 1) * each + registered_block_rams(technology, depth, WORD, unread))
    return Resources(block_rams=block_rams(technology, depth, WORD, parts, unread))


def lanes_together(target: Target) -> int:
    """Lanes of the scratchpad that share a memory.

    Without registers around the memories two do where that takes fewer block RAMs, as in banks of 512 words of 16 bits
    on Gowin's parts.
    """
    technology, registered = target.build.technology, target.pipeline.request or target.pipeline.bank
    alone, pair = (block_rams(technology, target.bank_words, target.data_width, lanes) for lanes in (1, 2))
    return 2 if not registered and target.columns % 2 == 0 and pair < 2 * alone else 1


def scratchpad(target: Target, blocks: Blocks | None = None) -> Resources:
    """Banks × lanes memories, or half as many where two lanes share one."""
    technology = blocks or target.build.technology
    together, registered = lanes_together(target), target.pipeline.bank > 0
    memory = bank(technology, target.data_width, together, target.bank_words, target.single_port, registered)
    memories = target.banks * (target.columns // together)
    return Resources(block_rams=memories * memory.block_rams, sprams=memories * memory.sprams)


def factor_memory(target: Target, blocks: Blocks | None = None) -> Resources:
    """Words of P factors."""
    technology, registered = blocks or target.build.technology, target.pipeline.factors > 1
    return image_memory(technology, target.rows * target.factor_width, target.factor_words, registered=registered)


def result_memory(target: Target, blocks: Blocks | None = None) -> Resources:
    """Words of Q lanes; if the gate unit reads a copy, that too."""
    technology = blocks or target.build.technology
    one = block_rams(technology, target.result_words, target.columns * target.data_width)
    return Resources(block_rams=2 * one if target.pipeline.result_copy else one)


def bias_memory(target: Target, blocks: Blocks | None = None) -> Resources:
    """Words of Q biases."""
    technology, registered = blocks or target.build.technology, timing.bias(target) > 1
    return image_memory(technology, target.columns * target.data_width, target.bias_words, registered=registered)


def program_memory(target: Target, blocks: Blocks | None = None) -> Resources:
    """The program of one of the three units."""
    technology, registered = blocks or target.build.technology, target.pipeline.program > 0
    return image_memory(technology, WORD, target.program_words, registered=registered)


def gate_unit(target: Target, blocks: Blocks | None = None) -> Resources:
    """Per gate computed side by side a multiplier (of LUTs on iCE40, whose multipliers the array needs), the tables,
    and memories of c and of h; of several streams two of h, one for each of its readers.
    """
    technology, width, pipeline = blocks or target.build.technology, target.data_width, target.pipeline
    tables = image_memory(technology, table_width(width), 2 * SEGMENTS, registered=pipeline.gate.tables > 0)
    units, readers = target.hidden // target.gates, 2 if target.streams > 1 else 1
    cells = block_rams(technology, units, width)
    hidden = registered_block_rams(technology, units, width) if pipeline.hidden else cells
    lane = tables + Resources(0 if technology is Technology.ICE40 else 1, cells + readers * hidden)
    return sum([lane] * target.gates, Resources())


def tallies(target: Target) -> Resources:
    """What is counted of each array instruction, if it is."""
    if not target.build.features.tallies:
        return Resources()
    depth = instruction_tallies(target)
    return Resources(block_rams=registered_block_rams(target.build.technology, depth, TALLY_BITS))


def engine(target: Target, blocks: Blocks | None = None) -> Resources:
    """All that an engine takes, without what surrounds it.

    Args:
        blocks: whose blocks are counted, if not those of the engine's technology: those that synthesis infers.
    """
    programs = program_memory(target, blocks)
    return sum(
        (
            Resources(multipliers=target.multipliers),
            *(part(target, blocks) for part in (scratchpad, factor_memory, result_memory, bias_memory, gate_unit)),
            tallies(target),
            *(programs, programs, programs),
        ),
        Resources(),
    )


@dataclass(frozen=True)
class Logic:
    """What is made of a part's logic.

    Attributes:
        luts, ffs: LUTs of four inputs and flip-flops, as `fdht.boards.synthesis.Netlist` counts them.
    """

    luts: int
    ffs: int


@dataclass(frozen=True)
class Prices:
    """LUTs, or flip-flops, of a family's engines: each coefficient times what its name counts; see `counts`.

    Attributes:
        fixed: a design whatever its engine: host link, serial port, and what of the engine has one size.
        instruction: a bit of the three units' instructions: registers, and the address generators that walk them.
        element: a bit of an accumulator, in every element of the array.
        hop: a bit of a register that only passes on an operand, a product or a sum, in the array and at its edges.
        row: a bit of a word of factors.
        lane: a bit of an accumulator and of a data word: what every column has once, requantiser and ways to and from
            memories.
        bank: a bit of a word of every bank of the scratchpad. port: a bit of an address in every bank.
        transposer: a bit of each of the Q² words of a transposer.
        gate: a bit of the gate unit's product (the square of the data width).
        counters, initial_state, collision: these features.
        spi: an SPI port.
    """

    fixed: float = 0.0
    instruction: float = 0.0
    element: float = 0.0
    hop: float = 0.0
    row: float = 0.0
    lane: float = 0.0
    bank: float = 0.0
    port: float = 0.0
    transposer: float = 0.0
    gate: float = 0.0
    counters: float = 0.0
    initial_state: float = 0.0
    collision: float = 0.0
    spi: float = 0.0


INSIDE = 3
"""Registers that a multiplier block has inside at most; those of longer pipelines are beside it."""


def hops(target: Target) -> int:
    """Bits of the registers between the elements of an array, in front of it, behind it and behind its multipliers, as
    fdht.hw.engine.array and fdht.hw.technology have them.
    """
    rows, columns, factor = target.rows, target.columns, Widths(target).operand
    rows_late, columns_late = (
        sum(late(target, k) for k in range(count))
        for late, count in ((timing.row_skew, rows), (timing.column_skew, columns))
    )
    factors = rows_late + rows * timing.column_skew(target, columns - 1)
    data = columns_late + columns * timing.row_skew(target, rows - 1)
    products = target.multipliers * max(0, target.pipeline.multiply - INSIDE)
    return (
        factors * factor
        + data * target.data_width
        + products * (factor + target.data_width)
        + columns_late * target.accumulator_width
    )


def counts(target: Target, spi: bool = False) -> dict[str, float]:
    """How much an engine has of what LUTs and flip-flops are predicted from, by the names of `Prices`.

    Args:
        spi: there is an SPI port beside it.
    """
    columns, features = target.columns, target.build.features
    return {
        "fixed": 1,
        "instruction": sum(record(target).bits for record in UNITS.values()),
        "element": target.multipliers * target.accumulator_width,
        "hop": hops(target),
        "row": target.rows * Widths(target).operand,
        "lane": columns * (target.accumulator_width + target.data_width),
        "bank": target.banks * columns * target.data_width,
        "port": target.banks * bits_for(target.bank_words),
        "transposer": columns**2 * target.data_width if columns > 1 else 0,
        "gate": target.data_width**2,
        "counters": features.counters,
        "initial_state": features.initial_state,
        "collision": features.collision,
        "spi": spi,
    }


@dataclass(frozen=True)
class Family:
    """Engines of one technology and pipeline, as far as they were measured.

    Attributes:
        luts, ffs: coefficients, fitted by docs/logic.py.
        columns: most columns of an engine that was measured.
    """

    luts: Prices
    ffs: Prices
    columns: int


_LOGIC = {
    (Technology.ICE40, COMPACT): Family(
        Prices(
            fixed=1209.0,
            instruction=1.641,
            hop=3.144,
            row=1.914,
            lane=5.692,
            port=4.414,
            gate=1.441,
            counters=157.0,
            spi=47.26,
        ),
        Prices(
            fixed=443.4,
            instruction=1.442,
            element=1.363,
            lane=4.837,
            bank=3.72,
            port=0.9764,
            transposer=1.659,
            gate=0.05211,
            counters=144.0,
            initial_state=0.1088,
            collision=0.1088,
            spi=36.09,
        ),
        columns=2,
    ),
    (Technology.ECP5, PIPELINED): Family(
        Prices(
            fixed=653.1,
            instruction=2.166,
            element=2.088,
            lane=7.84,
            bank=2.725,
            port=2.054,
            transposer=0.9319,
            gate=0.07234,
            counters=84.17,
            initial_state=84.17,
            collision=84.17,
        ),
        Prices(
            fixed=672.6,
            instruction=3.248,
            element=2.302,
            hop=1.022,
            row=4.092,
            lane=9.355,
            bank=6.867,
            port=5.57,
            transposer=1.922,
            gate=0.7133,
            counters=56.31,
            initial_state=56.31,
            collision=56.31,
        ),
        columns=8,
    ),
    (Technology.GOWIN, COMPACT): Family(
        Prices(
            fixed=933.1,
            instruction=1.809,
            element=2.088,
            lane=8.485,
            bank=2.899,
            port=10.66,
            transposer=1.698,
            counters=75.55,
            initial_state=75.55,
            collision=75.55,
        ),
        Prices(
            fixed=467.8,
            instruction=1.708,
            element=2.031,
            hop=0.7354,
            row=1.342,
            lane=3.174,
            bank=0.138,
            transposer=2.42,
            gate=0.07579,
            counters=23.73,
            initial_state=23.73,
            collision=23.73,
        ),
        columns=8,
    ),
}
"""What LUTs and flip-flops are predicted for; of engines of other kinds too few were measured."""


def logic(target: Target, spi: bool = False) -> Logic | None:
    """LUTs and flip-flops of a board's whole design with an engine; None where no engines like it were measured.

    Args:
        spi: the board has an SPI port.
    """
    family = _LOGIC.get((target.build.technology, target.pipeline))
    if family is None or target.columns > family.columns or target.streams > 1:  # of which none were measured
        return None
    parts = counts(target, spi)
    luts, ffs = (
        round(sum(parts[name] * price for name, price in vars(each).items())) for each in (family.luts, family.ffs)
    )
    return Logic(luts, ffs)
