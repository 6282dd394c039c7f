"""Where an engine has registers: a description from which gateware and cycle model derive their latencies."""

from dataclasses import dataclass
from typing import ClassVar

from fdht.spec.errors import SpecError
from fdht.spec.gate_schedule import DIRECT, MULTIPLY, REGISTERED, GateSchedule
from fdht.spec.record import Checked


@dataclass(frozen=True)
class Pipeline(Checked):
    """The registers of an engine, stage by stage. All are numbers of registers if nothing else is said.

    The defaults are those of small and slow parts: nothing is registered that need not be.

    Attributes:
        row_hop: from a row of the array to the next. 0: all rows see their operands at once. 2: each two cycles after
            the row above; its sum, which moves down a row per cycle, is then finished just when that one has passed.
        column_hop: from a column of the array to the next, at least 1.
        sums_inside: sums stay inside the multiplier blocks, which rest a cycle between two of them.
        multiply: operands at a multiplier to product, at least 2: inputs and output. More are in the multiplier and
            behind it.
        request: in front of each of the scratchpad's memories, 0 to 3.
        bank: 1 if each of them has an output register. answer: 1 if there is another one behind it.
        factors: address to word of the factor memory itself: 1, 2 with an output register, 3 with another one behind
            it, 4 also with one in front. The rest of `read` is in front.
        hidden: 1 if the memory of h has an output register.
        program: 1 if program memories have one.
        result_read: 1 if what is added to is registered. result_sum: 1 if the sum is, before it is clipped.
        result_copy: the gate unit reads a copy of the result memory, which is written a cycle later.
        requantise: in front of the requantisers, 0 or 1.
        shift: parts in which an accumulator is shifted, 1 to 3.
        saturate: 1 if it is clipped in a cycle, 2 if what is clipped is registered first.
        address: in the address generators of array and loader: 0, or 2 (the level that stepped, its jump).
        write_request, write_port: 1 if there is one in front of the address generator of results, and behind it.
        load: in front of the loader's address generator.
        begin: between the start of a run and its programs.
        tokens: in front of the counters of tokens, 0 to 2.
        prefetch: an instruction is fetched while the one before runs, and may be chained to it. The decision to start
            and the start itself are then registered.
        fill: in front of every memory that an image fills.
        ports: 1 if the engine's streams and its `busy` are registered where they leave and enter.
        gate: the gate unit's schedule.

    Raises:
        SpecError: a value outside its range, or h too late for a word of factors.
    """

    row_hop: int = 0
    column_hop: int = 1
    sums_inside: bool = True
    multiply: int = MULTIPLY
    request: int = 0
    bank: int = 0
    answer: int = 0
    factors: int = 1
    hidden: int = 0
    program: int = 0
    result_read: int = 0
    result_sum: int = 0
    result_copy: bool = False
    requantise: int = 0
    shift: int = 1
    saturate: int = 1
    address: int = 0
    write_request: int = 0
    write_port: int = 0
    load: int = 0
    begin: int = 0
    tokens: int = 0
    prefetch: bool = False
    fill: int = 0
    ports: int = 0
    gate: GateSchedule = DIRECT

    _RANGES: ClassVar[dict[str, tuple[int, ...]]] = {
        "row_hop": (0, 2),
        "column_hop": (1, 2, 3, 4),
        "multiply": (2, 3, 4, 5, 6),
        "request": (0, 1, 2, 3),
        "factors": (1, 2, 3, 4),
        "shift": (1, 2, 3),
        "saturate": (1, 2),
        "address": (0, 2),
        "load": (0, 1, 2, 3, 4),
        "begin": (0, 1, 2, 3, 4),
        "tokens": (0, 1, 2),
        "fill": (0, 1, 2, 3, 4),
        **dict.fromkeys(
            ("bank", "answer", "hidden", "program", "result_read", "result_sum", "requantise", "write_request"), (0, 1)
        ),
        **dict.fromkeys(("write_port", "ports"), (0, 1)),
    }

    def __post_init__(self):
        for name, values in self._RANGES.items():
            if getattr(self, name) not in values:
                raise SpecError(f"a pipeline with {name} = {getattr(self, name)}; choose {', '.join(map(str, values))}")
        if self.before_factors < 0:
            raise SpecError(
                f"a word of factors comes after {self.factors + 1} cycles, of data after {self.read}; choose a lower "
                "`factors`, or more registers around the scratchpad"
            )
        if self.hidden + 1 > self.factors:
            raise SpecError(
                f"h comes {self.hidden + 1} cycles after its address, a word of factors after {self.factors}; choose a "
                "lower `hidden` or a higher `factors`"
            )

    @property
    def read(self) -> int:
        """Address of a scratchpad or factor word to operand at the array's edge: registers on the way, the memory's
        own, and that of the choice between banks.
        """
        return self.request + 1 + self.bank + self.answer + 1

    @property
    def before_factors(self) -> int:
        """Registers in front of the factor memory; behind it is one more, where h may take a factor's place."""
        return self.read - 1 - self.factors

    @property
    def loading(self) -> int:
        """Registers on an input's way to the scratchpad's write register, beside its address's."""
        return self.load + self.address


COMPACT = Pipeline()
"""For small and slow parts: all rows at once, sums inside the multiplier blocks, no registers that need not be."""

PIPELINED = Pipeline(
    row_hop=2,
    column_hop=2,
    sums_inside=False,
    multiply=4,
    request=3,
    bank=1,
    answer=1,
    factors=4,
    hidden=1,
    program=1,
    result_read=1,
    result_sum=1,
    result_copy=True,
    requantise=1,
    shift=3,
    saturate=2,
    address=2,
    write_request=1,
    write_port=1,
    load=2,
    begin=1,
    tokens=2,
    prefetch=True,
    fill=1,
    ports=1,
    gate=REGISTERED,
)
"""For large parts and fast clocks: skewed rows, sums behind the multipliers, registers wherever wires are long."""
