"""The seam to the parts: one component per primitive, with a generic version that works everywhere.

A vendor primitive and its generic version have the same contract, and a test drives both with the same
stimulus against the vendor's simulation model.
"""

from amaranth.hdl import Assert, Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.spec.errors import SpecError
from fdht.spec.instructions import bits_for
from fdht.spec.target import MULTIPLIERS, Technology
from fdht.spec.timing import MULTIPLY, multiply

SPRAM_WORDS, SPRAM_WIDTH = 16384, 16
"""Shape of one SB_SPRAM256KA."""

MAC16_WIDTH, MAC16_SUM = MULTIPLIERS[Technology.ICE40]
MULT18_WIDTH, _ = MULTIPLIERS[Technology.ECP5]
MULT18_STAGES = 3
"""Registers on the way through an MULT18X18D (ECP5) or MULT18X18 (Gowin), both 18 bits wide."""

DP16K_WIDTH = 18
"""Bits of a DP16KD's word at most, with a port to read and another to write."""

_18_KBIT = ((512, 36, 9), (1024, 18, 9), (2048, 9, 9), (4096, 4, 4), (8192, 2, 2), (16384, 1, 1))
_BLOCK_RAM_SHAPES = {
    Technology.GENERIC: (),
    Technology.ECP5: _18_KBIT,
    Technology.ICE40: ((256, 16, 1), (512, 8, 1), (1024, 4, 1), (2048, 2, 1)),
    Technology.GOWIN: _18_KBIT,
}
"""Depth, width and bits per write enable of one block RAM (DP16KD, SB_RAM40_4K, SDPB or SDPX9B) in each
configuration."""


def block_rams(technology: Technology, depth: int, width: int, groups: int = 1) -> int:
    """Block RAMs of a memory with one read and one write port.

    Args:
        technology: whose block RAM; a generic one counts 0, since nothing is known about it.
        depth: words.
        width: bits that are written together.
        groups: how many of them, each with a write enable of its own, a word has.
    """
    counts = []
    for words, bits, enable in _BLOCK_RAM_SHAPES[technology]:
        enables = -(-width // enable) * groups
        counts.append(-(-depth // words) * -(-enables * enable // bits))
    return min(counts, default=0)


class Multiplier(Component):
    """Signed product, exact, with a register before and one or more behind the multiplier.

    Registers are neither reset nor stopped; the first `latency` products after power-up are undefined. Of technology
    ECP5 it is a MULT18X18D: with a latency of 3 or more, three registers are inside it, else those of the operands.
    Of technology GOWIN it is a MULT18X18 with two or three registers inside.

    Args:
        a_width, b_width: bits of the operands.
        latency: at least 2.
        technology: ECP5 and GOWIN are described above.
        site: nextpnr's name of the place that the MULT18X18D must take; "" for any.

    Members:
        a, b (In): operands.
        o (Out): their product.

    Costs: latency as given, a product per cycle; one multiplier.
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
            inside = MULT18_STAGES if self._latency >= MULT18_STAGES else 1
            m.submodules.block = _mult18(self.a, self.b, product, inside, self._site)
            left = self._latency - inside
        elif self._technology is Technology.GOWIN:
            inside = min(self._latency, MULT18_STAGES)
            _gowin_mult18(m, self.a, self.b, product, inside)
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


def mult18_site(columns: int, row: int, column: int) -> str:
    """nextpnr's name of the place of an array's multiplier in an LFE5U-85F, for at most 16 × 9.

    The part has three rows of 52 MULT18X18D (nextpnr-ecp5 --write names them for a placed design); the array's rows
    lie along them, a third of its columns on each.
    """
    each = -(-columns // 3)
    index = each * row + column % each
    block, number = divmod(index, 4)
    x = 4 + 9 * block + 2 * (block >= 7) + (0, 1, 4, 5)[number]
    return f"X{x}/Y{(10, 34, 58)[column // each]}/MULT18_{(0, 1, 4, 5)[number]}"


def _mult18(a: Value, b: Value, product: Value, stages: int, site: str) -> Instance:
    """MULT18X18D as a signed multiplier with registers at its inputs or (`stages` = 3) also in its middle and at its
    output.

    Parameters after Lattice's simulation model of it. CLK0_DIV stays at its default, ENABLED, which is one step per
    rising edge. Never two registers, because nextpnr-ecp5 only knows the timing of a block with none, with those at
    the inputs or the output, or with all.
    """
    deep = "CLK0" if stages == MULT18_STAGES else "NONE"
    pins = {}
    for name, operand in (("A", a), ("B", b)):
        for k in range(MULT18_WIDTH):
            pins[f"i_{name}{k}"] = operand[min(k, len(operand) - 1)]
    return Instance(
        "MULT18X18D",
        p_REG_INPUTA_CLK="CLK0",
        p_REG_INPUTB_CLK="CLK0",
        p_REG_PIPELINE_CLK=deep,
        p_REG_OUTPUT_CLK=deep,
        i_CLK0=ClockSignal(),
        i_CE0=Const(1),
        i_RST0=Const(0),
        i_SIGNEDA=Const(1),
        i_SIGNEDB=Const(1),
        i_SOURCEA=Const(0),
        i_SOURCEB=Const(0),
        **pins,
        **{f"o_P{k}": product[k] for k in range(len(product))},
        **({"a_BEL": site} if site else {}),
    )


def _gowin_mult18(m: Module, a: Value, b: Value, product: Signal, stages: int) -> None:
    """MULT18X18 as a signed multiplier with registers at its inputs and its output and (`stages` = 3) in its middle.

    Parameters after Gowin's UG287E, "Gowin Digital Signal Processing", MULT18X18. ASIGN and BSIGN are constant, so they
    need no registers.
    """
    dout = Signal(2 * MULT18_WIDTH)
    m.d.comb += product.eq(dout)
    m.submodules.block = Instance(
        "MULT18X18",
        p_AREG=Const(1, 1),
        p_BREG=Const(1, 1),
        p_PIPE_REG=Const(stages == MULT18_STAGES, 1),
        p_OUT_REG=Const(1, 1),
        i_CLK=ClockSignal(),
        i_CE=Const(1),
        i_RESET=Const(0),
        i_A=_extend(a, MULT18_WIDTH),
        i_B=_extend(b, MULT18_WIDTH),
        i_ASIGN=Const(1),
        i_BSIGN=Const(1),
        i_ASEL=Const(0),  # operands from A and B, not from the neighbour
        i_BSEL=Const(0),
        i_SIA=Const(0, MULT18_WIDTH),
        i_SIB=Const(0, MULT18_WIDTH),
        o_DOUT=dout,
    )


class MultiplyAccumulate(Component):
    """Sums of products.

    Args:
        a_width, b_width, width: bits of the operands and of the sum, which wraps.
        compact: the sum is registered and stays inside the multiplier block; two sums must be a cycle apart.
        technology: ICE40 (compact only) is one SB_MAC16 with all registers inside it.
        site: see Multiplier.

    Members:
        a, b (In): operands, taken while `valid` (In), a sum's in consecutive cycles. last (In): they are a sum's last.
        o (Out): the sum while `finished` (Out).

    Costs: last operands to sum fdht.spec.timing.accumulate() cycles; one multiplier (`multipliers`).

    Raises:
        SpecError: operands or sums wider than the primitive's.
    """

    def __init__(
        self,
        a_width: int,
        b_width: int,
        width: int,
        compact: bool = False,
        technology: Technology = Technology.GENERIC,
        site: str = "",
    ):
        limit, _ = MULTIPLIERS.get(technology, (None, None))
        if limit is not None and max(a_width, b_width) > limit:
            raise SpecError(
                f"a multiplier of {a_width} x {b_width} bits does not fit {technology.value}'s {limit} x {limit};"
                " choose narrower data or factors"
            )
        if technology is Technology.ICE40 and (width > MAC16_SUM or not compact):
            raise SpecError(
                f"{technology.value} sums up to {MAC16_SUM} bits in its multipliers, not {width}, and compactly;"
                " choose a compact array with narrower accumulators"
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
        self._compact = compact
        self._technology = technology
        self._site = site

    @property
    def multipliers(self) -> int:
        return 1

    def elaborate(self, platform):
        m = Module()
        if not self._compact:
            self._elaborate_pipelined(m)
            return m
        valid, last = Signal(MULTIPLY), Signal(MULTIPLY)
        m.d.sync += [valid.eq(Cat(self.valid, valid)), last.eq(Cat(self.valid & self.last, last))]
        if self._technology is Technology.ICE40:
            total = Signal(signed(MAC16_SUM))
            m.submodules.mac = _mac16(self.a, self.b, valid[-1], total)
            m.d.sync += self.finished.eq(last[-1])
            m.d.comb += self.o.eq(total)
            return m

        m.submodules.multiplier = multiplier = Multiplier(
            len(self.a), len(self.b), multiply(self._compact), self._technology, self._site
        )
        total = Signal.like(self.o)
        m.d.sync += [total.eq(Mux(valid[-1], total + multiplier.o, 0)), self.finished.eq(last[-1])]
        m.d.comb += [multiplier.a.eq(self.a), multiplier.b.eq(self.b), self.o.eq(total)]
        return m

    def _elaborate_pipelined(self, m: Module) -> None:
        """Registers are not reset: without operands, the sum is cleared."""
        latency = multiply(compact=False)
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


def _mac16(a: Value, b: Value, valid: Value, total: Value) -> Instance:
    """SB_MAC16 as a signed 16 × 16 multiplier and a 32-bit accumulator: registers at its inputs, behind the
    multiplier and behind the adder. Without `valid` (which comes with the product) the accumulator is loaded with 0.

    Parameters after Lattice's iCE40 Technology Library, "MAC16 configurations".
    """
    low = ("CI", "ACCUMCI", "SIGNEXTIN", "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP")
    low += ("ORSTBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT")
    product, carry, registered = Const(2, 2), Const(3, 2), Const(1, 2)
    return Instance(
        "SB_MAC16",
        p_A_REG=Const(1, 1),
        p_B_REG=Const(1, 1),
        p_PIPELINE_16x16_MULT_REG2=Const(1, 1),
        p_TOPADDSUB_LOWERINPUT=product,
        p_BOTADDSUB_LOWERINPUT=product,
        p_TOPADDSUB_CARRYSELECT=carry,
        p_TOPOUTPUT_SELECT=registered,
        p_BOTOUTPUT_SELECT=registered,
        p_A_SIGNED=Const(1, 1),
        p_B_SIGNED=Const(1, 1),
        i_CLK=ClockSignal(),
        i_CE=Const(1),
        i_A=_extend(a, MAC16_WIDTH),
        i_B=_extend(b, MAC16_WIDTH),
        i_C=Const(0, MAC16_WIDTH),
        i_D=Const(0, MAC16_WIDTH),
        i_OLOADTOP=~valid,
        i_OLOADBOT=~valid,
        o_O=total,
        **{f"i_{pin}": Const(0) for pin in low},
    )


def _extend(operand: Value, width: int) -> Value:
    """An operand sign-extended to the width of the primitive's."""
    return Cat(operand, operand[-1].replicate(width - len(operand)))


class RegisteredMemory(Component):
    """Words in block RAM, read through a register that a block of ECP5 has inside: its own output is three times as
    late as that of the register.

    Args:
        width: bits of a word.
        depth: words.
        technology: ECP5 is DP16KDs with output registers, as many as `block_rams` says.

    Members:
        write_enable, write_address, write_data (In): a write.
        read_address (In), read_data (Out): two cycles later; undefined if the word was written in the cycle of the
            address. enable (In): memory and register move on; else what was read stays where it is. High if left alone.

    Costs: latency 2, one read and one write per cycle; `block_rams`.
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
    def _bits(self) -> int:
        """Bits of a DP16KD's word; 0 if the memory is not made of these."""
        shapes = _BLOCK_RAM_SHAPES[Technology.ECP5] if self._technology is Technology.ECP5 else ()
        return next((bits for words, bits, _ in shapes if words >= self._depth and bits <= DP16K_WIDTH), 0)

    @property
    def block_rams(self) -> int:
        return -(-self._width // self._bits) if self._bits else block_rams(self._technology, self._depth, self._width)

    def elaborate(self, platform):
        m = Module()
        width, bits = self._width, self._bits
        if bits:
            for k, first in enumerate(range(0, width, bits)):
                part = slice(first, min(first + bits, width))
                m.submodules[f"block_{k}"] = _dp16k(self, bits, self.write_data[part], self.read_data[part])
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


def _dp16k(ports: RegisteredMemory, bits: int, write_data: Value, read_data: Value) -> Instance:
    """DP16KD of `bits` per word, written through port A and read through port B and its output register.

    Parameters and pins after the way in which Yosys maps memories to it (lattice/brams_map_16kd.v): addresses begin
    above those of the bits in a word; 18 bits have two byte enables in the lowest two.
    """
    low = {1: 0, 2: 1, 4: 2, 9: 3, 18: 4}[bits]
    enables = Cat(Const(3, 2), Const(0, 2)) if bits == DP16K_WIDTH else Const(0, low)
    pins = {}
    for port, address in (("A", ports.write_address), ("B", ports.read_address)):
        whole = Cat(enables, address)
        for k in range(14):
            pins[f"i_AD{port}{k}"] = whole[k] if k < len(whole) else Const(0)
        for k in range(3):
            pins[f"i_CS{port}{k}"] = Const(0)
        pins |= {
            f"p_DATA_WIDTH_{port}": bits,
            f"p_CSDECODE_{port}": "0b000",
            f"p_WRITEMODE_{port}": "NORMAL",
            f"i_CLK{port}": ClockSignal(),
            f"i_RST{port}": Const(0),
        }
    return Instance(
        "DP16KD",
        p_REGMODE_A="NOREG",
        p_REGMODE_B="OUTREG",
        p_RESETMODE="SYNC",
        p_GSR="AUTO",
        i_CEA=ports.write_enable,
        i_WEA=ports.write_enable,
        i_CEB=ports.enable,
        i_OCEA=Const(1),
        i_OCEB=ports.enable,
        i_WEB=Const(0),
        **pins,
        **{f"i_DIA{k}": write_data[k] for k in range(len(write_data))},
        **{f"o_DOB{k}": read_data[k] for k in range(len(read_data))},
    )


class BankMemory(Component):
    """A scratchpad bank: words of several lanes, written lane by lane.

    A cycle with both a read and a write at the same address (with `single_port`: at any addresses) is a
    collision: what is read is undefined, and with `single_port` what is written too. It never happens in a
    correct program; `collision` tells, and an assertion stops the simulation.

    Args:
        width: bits of a lane.
        lanes: lanes of a word.
        depth: words.
        single_port: read and write never happen in one cycle.
        registered: what is read comes through a register, see RegisteredMemory.
        technology: ICE40 with `single_port` is SB_SPRAM256KA (contents undefined after power-up, `depth` a
            multiple of 16,384, `width` at most 16); all else is block RAM.

    Members:
        read_enable, read_address (In): a read.
        read_data (Out): its word, in the next cycle or, if `registered`, the one after; undefined after a cycle without
            a read.
        write_enable, write_address, write_mask, write_data (In): a write of the lanes whose mask bit is set.
        collision (Out): this cycle's accesses collide or, if `registered`, the last cycle's do.

    Costs: latency 1 or 2, one read and one write per cycle (`single_port`: one of them); `block_rams` or `sprams`.

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
        self._single_port = single_port
        self._technology = technology
        self._lanes = [RegisteredMemory(width, depth, technology) for _ in range(lanes)] if registered else []
        if self._spram and (depth % SPRAM_WORDS or width > SPRAM_WIDTH):
            raise SpecError(
                f"a single-port bank of {depth} words of {width}-bit lanes is not made of SPRAMs:"
                f" take a multiple of {SPRAM_WORDS} words and at most {SPRAM_WIDTH} bits"
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
        return self._word.length * (self._depth // SPRAM_WORDS) if self._spram else 0

    @property
    def block_rams(self) -> int:
        if self._spram:
            return 0
        if self._lanes:
            return sum(lane.block_rams for lane in self._lanes)
        width = Value.cast(self.write_data).shape().width // self._word.length
        return block_rams(self._technology, self._depth, width, self._word.length)

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
        low, high = address[: bits_for(SPRAM_WORDS)], address[bits_for(SPRAM_WORDS) :]
        read_block = Signal(len(high), reset_less=True)
        m.d.sync += read_block.eq(high)
        blocks = self._depth // SPRAM_WORDS
        words = data.ArrayLayout(self._word, blocks)
        read = Signal(words)
        m.d.comb += self.read_data.eq(read[read_block] if blocks > 1 else read[0])
        for block in range(blocks):
            selected = high == block if blocks > 1 else Const(1)
            for lane in range(self._word.length):
                out = Signal(SPRAM_WIDTH, name=f"out_{block}_{lane}")
                m.submodules[f"spram_{block}_{lane}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(),
                    i_CHIPSELECT=selected & (self.read_enable | (self.write_enable & self.write_mask[lane])),
                    i_WREN=self.write_enable,
                    i_MASKWREN=Const(0b1111, 4),
                    i_ADDRESS=low,
                    i_DATAIN=Cat(self.write_data[lane], Const(0, SPRAM_WIDTH))[:SPRAM_WIDTH],
                    i_STANDBY=Const(0),
                    i_SLEEP=Const(0),
                    i_POWEROFF=Const(1),  # active low
                    o_DATAOUT=out,
                )
                m.d.comb += read[block][lane].eq(out)
