"""Multipliers, accumulators and memories, each made of a part's own blocks or, in a generic version, of none.

Both versions have the same contract, and a test drives both with the same stimulus, the blocks being the vendors'
simulation models. The blocks themselves are described in fdht.hw.primitives.
"""

from typing import Any

from amaranth.hdl import Assert, C, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.primitives import ecp5, gowin, ice40
from fdht.spec import costs
from fdht.spec.errors import SpecError
from fdht.spec.gate_schedule import MULTIPLY
from fdht.spec.instructions import bits_for
from fdht.spec.target import MULTIPLIERS, Technology


def multiplier_site(platform: Any, columns: int, row: int, column: int) -> str:
    """Where the multiplier of an element of an array is to lie: nextpnr's name of a place, "" for any.

    A platform whose part has a floor plan has a function `multiplier_site` of the array's columns, the row and the
    column.
    """
    plan = getattr(platform, "multiplier_site", None)
    return "" if plan is None else plan(columns, row, column)


class Multiplier(Component):
    """Signed product, exact, with a register before and one or more behind the multiplier.

    Registers are neither reset nor stopped; the first `latency` products after power-up are undefined.

    Args:
        a_width, b_width: bits of the operands.
        latency: at least 2.
        technology: ECP5 makes it a MULT18X18D: with a latency of 3 or more, three of the registers are inside, else
            those of the operands. GOWIN makes it a MULT18X18 with two or three registers inside.
        site: nextpnr's name of the place that the MULT18X18D must take; "" for any.

    Members:
        a, b (In): operands. o (Out): their product.

    Costs: latency as given; a product per cycle; 1 multiplier.
    """

    def __init__(
        self,
        a_width: int,
        b_width: int,
        latency: int = MULTIPLY,
        technology: Technology = Technology.GENERIC,
        site: str = "",
    ):
        super().__init__({"a": In(signed(a_width)), "b": In(signed(b_width)), "o": Out(signed(a_width + b_width))})
        self._latency = latency
        self._technology = technology
        self._site = site

    @property
    def multipliers(self) -> int:
        return 1

    def elaborate(self, platform):
        m = Module()
        product = Signal.like(self.o, reset_less=True)
        if self._technology is Technology.ECP5:
            inside = ecp5.MULT18_STAGES if self._latency >= ecp5.MULT18_STAGES else 1
            m.submodules.block = ecp5.mult18x18d(self.a, self.b, product, inside, self._site)
            left = self._latency - inside
        elif self._technology is Technology.GOWIN:
            inside = min(self._latency, gowin.MULT18_STAGES)
            gowin.mult18x18(m, self.a, self.b, product, inside)
            left = self._latency - inside
        else:
            a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
            m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
            left = self._latency - 2
        for k in range(left):
            late = Signal.like(self.o, name=f"product_{k}", reset_less=True)
            m.d.sync += late.eq(product)
            product = late
        m.d.comb += self.o.eq(product)
        return m


class LutMultiplier(Component):
    """A Multiplier without a multiplier block: a tree of ripple-carry adders.

    Above its lowest bit, every two bits of b become a digit of -1, 0, 1 or 2, which makes a row of ~a, 0, a or 2a: a
    single LUT4 for each of its bits. The 1 by which ~a differs from -a enters as the carry of the adder whose upper
    operand the row is. The lowest row is the upper operand of none; it is 0 or a.

    Args:
        width: bits of either operand.

    Members:
        a, b (In): operands. o (Out): their product.

    Costs: latency gate_schedule.MULTIPLY; a product per cycle; LUTs: 16 × 16 bits take 334 LUT4 of an iCE40, less than
    half of what synthesis makes of the operator alone (777).
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__({"a": In(signed(width)), "b": In(signed(width)), "o": Out(signed(2 * width))})

    def elaborate(self, platform):
        m = Module()
        a = Signal.like(self.a, reset_less=True)
        lowest = Signal(reset_less=True)
        m.d.sync += [a.eq(self.a), lowest.eq(self.b[0])]

        # Rows: weight, value, and what is still to be added at that weight.
        rows: list[tuple[int, Value, Value]] = [(0, Mux(lowest, a, 0).as_signed(), C(0, 1))]
        b = Cat(self.b, self.b[-1].replicate(2))
        carry = C(0, 1)
        for weight in range(1, self._width + 1, 2):  # as far as the first repeated sign bit
            low, high = b[weight], b[weight + 1]
            digit = Signal(2, name=f"digit_{weight}", reset_less=True)  # 3 is -1
            m.d.sync += digit.eq(Cat(low ^ carry, high ^ (low & carry)))
            carry = high & (low | carry)
            row = Signal(signed(self._width + 1), name=f"row_{weight}")
            with m.Switch(digit):
                with m.Case(1):
                    m.d.comb += row.eq(a)
                with m.Case(2):
                    m.d.comb += row.eq(a << 1)
                with m.Case(3):
                    m.d.comb += row.eq(~a)
            rows.append((weight, row, digit.all()))
        while len(rows) > 1:
            rows = [
                _add_rows(m, rows[k], rows[k + 1]) if k + 1 < len(rows) else rows[k] for k in range(0, len(rows), 2)
            ]
        o = Signal.like(self.o, reset_less=True)
        m.d.sync += o.eq(rows[0][1])
        m.d.comb += self.o.eq(o)
        return m


def _add_rows(m: Module, lower: tuple[int, Value, Value], upper: tuple[int, Value, Value]) -> tuple[int, Value, Value]:
    """The sum of two rows of LutMultiplier, with the 1 that the upper one may lack; below the upper one's lowest bit,
    the lower one's bits pass by the adder.
    """
    (weight, a, lack), (above, b, carry) = lower, upper
    apart = above - weight
    total = Signal(signed(max(len(a) - apart, len(b)) + 2), name=f"sum_{weight}_{above}")
    m.d.comb += total.eq(Cat(C(1, 1), a[apart:]).as_signed() + Cat(carry, b).as_signed())
    return weight, Cat(a[:apart], total[1:]).as_signed(), lack


class MultiplyAccumulate(Component):
    """Sums of products.

    Args:
        a_width, b_width, width: bits of the operands and of the sum, which wraps.
        latency: operands to product, at least 2.
        inside: the sum is registered and stays inside the multiplier block; two sums must be a cycle apart.
        technology: ICE40 (`inside` and with a latency of 2 only) makes it one SB_MAC16 with all registers inside; the
            others: see Multiplier.
        site: see Multiplier.

    Members:
        a, b (In): operands, taken while `valid` (In), a sum's in consecutive cycles. last (In): they are a sum's last.
        o (Out): the sum while `finished` (Out).

    Costs: latency as given from a sum's last operands, one more if `inside`; a product per cycle, and if `inside` a
    cycle of rest between sums; 1 multiplier.

    Raises:
        SpecError: operands or sums wider than the primitive's.
    """

    def __init__(
        self,
        a_width: int,
        b_width: int,
        width: int,
        latency: int = MULTIPLY,
        inside: bool = False,
        technology: Technology = Technology.GENERIC,
        site: str = "",
    ):
        limit, _ = MULTIPLIERS.get(technology, (None, None))
        if limit is not None and max(a_width, b_width) > limit:
            raise SpecError(
                f"a multiplier of {a_width} x {b_width} bits does not fit {technology.value}'s {limit} x {limit};"
                " choose narrower data or factors"
            )
        if technology is Technology.ICE40 and (width > ice40.MAC16_SUM or (latency, inside) != (MULTIPLY, True)):
            raise SpecError(
                f"multipliers of {technology.value} sum inside, up to {ice40.MAC16_SUM} bits, {MULTIPLY} cycles after "
                f"their operands; choose narrower accumulators than {width} bits, and a pipeline like COMPACT"
            )
        super().__init__(
            {
                "a": In(signed(a_width)),
                "b": In(signed(b_width)),
                "valid": In(1),
                "last": In(1),
                "o": Out(signed(width)),
                "finished": Out(1),
            }
        )
        self._latency, self._inside = latency, inside
        self._technology = technology
        self._site = site

    @property
    def multipliers(self) -> int:
        return 1

    def elaborate(self, platform):
        m = Module()
        if not self._inside:
            self._elaborate_behind(m)
            return m
        valid, last = Signal(self._latency), Signal(self._latency)
        m.d.sync += [valid.eq(Cat(self.valid, valid)), last.eq(Cat(self.valid & self.last, last))]
        if self._technology is Technology.ICE40:
            total = Signal(signed(ice40.MAC16_SUM))
            m.submodules.mac = ice40.sb_mac16(self.a, self.b, valid[-1], total)
            m.d.sync += self.finished.eq(last[-1])
            m.d.comb += self.o.eq(total)
            return m

        m.submodules.multiplier = multiplier = Multiplier(
            len(self.a), len(self.b), self._latency, self._technology, self._site
        )
        total = Signal.like(self.o)
        m.d.sync += [total.eq(Mux(valid[-1], total + multiplier.o, 0)), self.finished.eq(last[-1])]
        m.d.comb += [multiplier.a.eq(self.a), multiplier.b.eq(self.b), self.o.eq(total)]
        return m

    def _elaborate_behind(self, m: Module) -> None:
        """Registers are not reset: without operands, the sum is cleared."""
        latency = self._latency
        m.submodules.multiplier = multiplier = Multiplier(
            len(self.a), len(self.b), latency, self._technology, self._site
        )
        clear = Signal(latency, reset_less=True, attrs={"keep": 1})
        finished = Signal(latency, reset_less=True, attrs={"keep": 1})
        total = Signal.like(self.o, reset_less=True)
        add = (total + multiplier.o)[: len(total)].as_signed()
        m.d.sync += [
            clear.eq(Cat(~self.valid | self.last, clear)),
            finished.eq(Cat(self.valid & self.last, finished)),
            total.eq(Mux(clear[-1], 0, add)),
        ]
        m.d.comb += [
            multiplier.a.eq(self.a),
            multiplier.b.eq(self.b),
            self.o.eq(add),
            self.finished.eq(finished[-1]),
        ]


class RegisteredMemory(Component):
    """Words in block RAM, read through an output register.

    A DP16KD has that register inside, whose clock-to-output delay is a third of the memory's own.

    Args:
        width: bits of a word.
        depth: words.
        technology: ECP5 makes it DP16KDs with their output registers, GENERIC and the others what synthesis infers.

    Members:
        write_enable, write_address, write_data (In): a write.
        read_address (In), read_data (Out): a word, two cycles later; undefined if it was written in the cycle of the
            address.
        enable (In): memory and register go on; in a cycle without, what has been read so far stays where it is. High
            if it is not connected.

    Costs: latency 2; a read and a write per cycle; block RAM as fdht.spec.costs.registered_block_rams.
    """

    def __init__(self, width: int, depth: int, technology: Technology = Technology.GENERIC):
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(bits_for(depth)),
                "write_data": In(width),
                "read_address": In(bits_for(depth)),
                "read_data": Out(width),
                "enable": In(1, init=1),  # pyright: ignore[reportCallIssue]  # the stubs lack init
            }
        )
        self._width, self._depth = width, depth
        self._technology = technology

    @property
    def block_rams(self) -> int:
        return costs.registered_block_rams(self._technology, self._depth, self._width)

    def elaborate(self, platform):
        m = Module()
        width, bits = self._width, costs.dp16k_width(self._technology, self._depth)
        if bits:
            for k, first in enumerate(range(0, width, bits)):
                part = slice(first, min(first + bits, width))
                m.submodules[f"block_{k}"] = ecp5.dp16kd(self, bits, self.write_data[part], self.read_data[part])
            return m
        m.submodules.memory = store = memory.Memory(
            shape=width, depth=self._depth, init=[], attrs={"ram_style": "block"}
        )
        write, read = store.write_port(), store.read_port()
        late = Signal.like(self.read_data, reset_less=True)
        with m.If(self.enable):
            m.d.sync += late.eq(read.data)
        m.d.comb += [
            read.en.eq(self.enable),
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
            self.read_data.eq(late),
        ]
        return m


class BankMemory(Component):
    """A scratchpad bank: words of several lanes, written lane by lane.

    A read and a write of one address in one cycle (with `single_port`: of any two addresses) collide: what is read is
    undefined, and with `single_port` what is written too. A correct program never makes them; `collision` tells, and an
    assertion stops the simulation.

    Args:
        width: bits of a lane.
        lanes: lanes of a word.
        depth: words.
        single_port: read and write never happen in one cycle.
        technology: ICE40 with `single_port` makes it SB_SPRAM256KAs (contents undefined after power-up, `depth` a
            multiple of 16,384, `width` at most 16); all else is block RAM.
        registered: a read comes through a register, see RegisteredMemory.

    Members:
        read_enable, read_address (In): a read.
        read_data (Out): its word, one cycle later, or two if `registered`; undefined after a cycle without a read.
        write_enable, write_address, write_mask, write_data (In): a write of the lanes whose mask bit is set.
        collision (Out): this cycle's accesses collide or, if `registered`, the last cycle's did.

    Costs: latency 1, or 2 if `registered`; a read and a write per cycle (`single_port`: one of them); block RAM or
    SPRAM as fdht.spec.costs.bank.

    Raises:
        SpecError: a shape that SPRAM does not have.
    """

    def __init__(
        self,
        width: int,
        lanes: int,
        depth: int,
        single_port: bool = False,
        technology: Technology = Technology.GENERIC,
        registered: bool = False,
    ):
        self._word = data.ArrayLayout(signed(width), lanes)
        self._depth = depth
        self._blocks = costs.bank(technology, width, lanes, depth, single_port, registered)
        self._single_port = single_port
        self._technology = technology
        self._lanes = [RegisteredMemory(width, depth, technology) for _ in range(lanes)] if registered else []
        if self._spram and (depth % costs.SPRAM_WORDS or width > costs.SPRAM_WIDTH):
            raise SpecError(
                f"a single-port bank of {depth} words of {width}-bit lanes is not made of SPRAMs:"
                f" take a multiple of {costs.SPRAM_WORDS} words and at most {costs.SPRAM_WIDTH} bits"
            )
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(bits_for(depth)),
                "read_data": Out(self._word),
                "write_enable": In(1),
                "write_address": In(bits_for(depth)),
                "write_mask": In(lanes),
                "write_data": In(self._word),
                "collision": Out(1),
            }
        )

    @property
    def _spram(self) -> bool:
        return self._technology is Technology.ICE40 and self._single_port

    @property
    def sprams(self) -> int:
        return self._blocks.sprams

    @property
    def block_rams(self) -> int:
        return self._blocks.block_rams

    def elaborate(self, platform):
        m = Module()
        both = self.read_enable & self.write_enable
        differs = Const(0, 1) if self._single_port else self.read_address ^ self.write_address
        if self._lanes:  # compared nibble by nibble, then in the next cycle as a whole
            both = delay(m, both, 1, "both", reset_less=False)
            nibbles = [differs[k : k + 4].any() for k in range(0, len(differs), 4)]
            differs = delay(m, Cat(nibbles), 1, "differs")
        m.d.comb += self.collision.eq(both & ~differs.any())
        if platform is None:
            m.d.sync += Assert(~self.collision, "two accesses collide in a scratchpad bank")
        if self._lanes:
            self._elaborate_registered(m)
        elif self._spram:
            self._elaborate_spram(m)
        else:
            self._elaborate_block_ram(m)
        return m

    def _elaborate_registered(self, m: Module) -> None:
        for k, lane in enumerate(self._lanes):
            m.submodules[f"lane_{k}"] = lane
            m.d.comb += [
                lane.write_enable.eq(self.write_enable & self.write_mask[k]),
                lane.write_address.eq(self.write_address),
                lane.write_data.eq(self.write_data[k]),
                lane.read_address.eq(self.read_address),
                self.read_data[k].eq(lane.read_data),
            ]

    def _elaborate_block_ram(self, m: Module) -> None:
        m.submodules.memory = store = memory.Memory(
            shape=self._word, depth=self._depth, init=[], attrs={"ram_style": "block"}
        )
        write, read = store.write_port(granularity=1), store.read_port()
        m.d.comb += [
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
            write.en.eq(Mux(self.write_enable, self.write_mask, 0)),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]

    def _elaborate_spram(self, m: Module) -> None:
        address = Signal(range(self._depth))
        m.d.comb += address.eq(Mux(self.write_enable, self.write_address, self.read_address))
        low, high = address[: bits_for(costs.SPRAM_WORDS)], address[bits_for(costs.SPRAM_WORDS) :]
        read_block = Signal(len(high), reset_less=True)
        m.d.sync += read_block.eq(high)
        blocks = self._depth // costs.SPRAM_WORDS
        words = data.ArrayLayout(self._word, blocks)
        read = Signal(words)
        m.d.comb += self.read_data.eq(read[read_block] if blocks > 1 else read[0])
        for block in range(blocks):
            selected = high == block if blocks > 1 else Const(1)
            for lane in range(self._word.length):
                out = Signal(costs.SPRAM_WIDTH, name=f"out_{block}_{lane}")
                m.submodules[f"spram_{block}_{lane}"] = ice40.sb_spram256ka(
                    low,
                    selected & (self.read_enable | (self.write_enable & self.write_mask[lane])),
                    self.write_enable,
                    self.write_data[lane],
                    out,
                )
                m.d.comb += read[block][lane].eq(out)
