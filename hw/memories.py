"""The memories around the array: scratchpad, factor memory, and the small ones of results and biases."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.component import Component
from hw.technology import BankMemory, block_rams
from spec.program import Widths, bits_for
from spec.target import Target


class Scratchpad(Component):
    """Banks of data words. The upper bits of a word address are the bank.

    The array reads one word and writes one word per cycle; the gate unit and the loader write single lanes. The
    compiler keeps array and gate unit out of each other's banks; only the loader may be refused, and waits.

    Members:
        read_enable, read_address (In), read_data (Out): a word for the array, timing.READ cycles later.
        array_valid, array_address, array_data (In): a word from the array.
        gate_valid, gate_address, gate_mask, gate_data (In): one value for some lanes from the gate unit.
        loader_valid, loader_address, loader_mask, loader_data (In), loader_ready (Out): lanes from the loader.
        collision (Out): a bank was asked for more than it can do; never, with a correct program.

    Costs: banks × lanes memories.
    """

    def __init__(self, target: Target):
        self._target = target
        address = Widths(target).address
        lane = signed(target.data_width)
        word = data.ArrayLayout(lane, target.columns)
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(address),
                "read_data": Out(word),
                "array_valid": In(1),
                "array_address": In(address),
                "array_data": In(word),
                "gate_valid": In(1),
                "gate_address": In(address),
                "gate_mask": In(target.columns),
                "gate_data": In(lane),
                "loader_valid": In(1),
                "loader_ready": Out(1),
                "loader_address": In(address),
                "loader_mask": In(target.columns),
                "loader_data": In(lane),
                "collision": Out(1),
            }
        )
        self._banks = [
            BankMemory(target.data_width, target.columns, target.bank_words, target.single_port, target.technology)
            for _ in range(target.banks)
        ]

    @property
    def block_rams(self) -> int:
        return sum(bank.block_rams for bank in self._banks)

    @property
    def sprams(self) -> int:
        return sum(bank.sprams for bank in self._banks)

    def elaborate(self, platform):
        m = Module()
        offset = bits_for(self._target.bank_words)
        collisions = []
        words = data.ArrayLayout(self.read_data.shape(), len(self._banks))
        read = Signal(words)
        read_bank = Signal(range(len(self._banks)))
        m.d.sync += [read_bank.eq(self.read_address[offset:]), self.read_data.eq(read[read_bank])]

        gate_word, loader_word = Signal(self.read_data.shape()), Signal(self.read_data.shape())
        for lane in range(self._target.columns):
            m.d.comb += [gate_word[lane].eq(self.gate_data), loader_word[lane].eq(self.loader_data)]
        refused = Signal()
        m.d.comb += self.loader_ready.eq(~refused)
        for number, bank in enumerate(self._banks):
            m.submodules[f"bank_{number}"] = bank
            asks = {
                name: valid & (address[offset:] == number)
                for name, valid, address in (
                    ("read", self.read_enable, self.read_address),
                    ("array", self.array_valid, self.array_address),
                    ("gate", self.gate_valid, self.gate_address),
                    ("loader", self.loader_valid, self.loader_address),
                )
            }
            busy = asks["array"] | asks["gate"]
            blocked = busy | asks["read"] if self._target.single_port else busy
            grant = Signal(name=f"grant_{number}")
            m.d.comb += [
                grant.eq(asks["loader"] & ~blocked),
                bank.read_enable.eq(asks["read"]),
                bank.read_address.eq(self.read_address[:offset]),
                read[number].eq(bank.read_data),
                bank.write_enable.eq(busy | grant),
            ]
            with m.If(asks["loader"] & blocked):
                m.d.comb += refused.eq(1)
            with m.If(asks["array"]):
                m.d.comb += [
                    bank.write_address.eq(self.array_address[:offset]),
                    bank.write_mask.eq(Const(1).replicate(self._target.columns)),
                    bank.write_data.eq(self.array_data),
                ]
            with m.Elif(asks["gate"]):
                m.d.comb += [
                    bank.write_address.eq(self.gate_address[:offset]),
                    bank.write_mask.eq(self.gate_mask),
                    bank.write_data.eq(gate_word),
                ]
            with m.Else():
                m.d.comb += [
                    bank.write_address.eq(self.loader_address[:offset]),
                    bank.write_mask.eq(self.loader_mask),
                    bank.write_data.eq(loader_word),
                ]
            collisions.append(bank.collision | (asks["array"] & asks["gate"]))
        m.d.comb += self.collision.eq(Cat(collisions).any())
        return m


class WordMemory(Component):
    """A memory with one write port and one read port of whole words, in block RAM.

    Reading an address in the cycle it is written is never needed here, and its result is undefined.

    Members:
        write_enable, write_address, write_data (In).
        read_address (In), read_data (Out): one cycle later.

    Costs: latency 1; `block_rams`.
    """

    def __init__(self, target: Target, shape, depth: int):
        self._target = target
        self._depth = depth
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(bits_for(depth)),
                "write_data": In(shape),
                "read_address": In(bits_for(depth)),
                "read_data": Out(shape),
            }
        )

    @property
    def block_rams(self) -> int:
        return block_rams(self._target.technology, self._depth, Cat(self.write_data).shape().width)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=self.write_data.shape(), depth=self._depth, init=[], attrs={"ram_style": "block"}
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
        ]
        return m


class FactorMemory(Component):
    """Words of P factors, read like the scratchpad: timing.READ cycles.

    Members:
        write_enable, write_address, write_data (In): loading.
        read_address (In), read_data (Out).

    Costs: one WordMemory.
    """

    def __init__(self, target: Target):
        self._target = target
        word = data.ArrayLayout(signed(target.factor_width), target.rows)
        address = Widths(target).factor
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(address),
                "write_data": In(word),
                "read_address": In(address),
                "read_data": Out(word),
            }
        )
        self._memory = WordMemory(target, word, target.factor_words)

    @property
    def block_rams(self) -> int:
        return self._memory.block_rams

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self._memory
        m.d.comb += [
            memory.write_enable.eq(self.write_enable),
            memory.write_address.eq(self.write_address),
            memory.write_data.eq(self.write_data),
            memory.read_address.eq(self.read_address),
        ]
        m.d.sync += self.read_data.eq(memory.read_data)
        return m
