"""The memories around the array: scratchpad, factor memory, and the small ones of results and biases."""

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.component import Component
from hw.signatures import image_write
from hw.technology import BankMemory, block_rams
from spec.program import WORD, Widths, bits_for, words_for
from spec.target import Target, Technology


class Scratchpad(Component):
    """Banks of data words. The upper bits of a word address are the bank.

    The array reads one word and writes one word per cycle, the loader writes lanes of one. The compiler keeps them out
    of each other's banks.

    Members:
        read_enable, read_address (In), read_data (Out): a word for the array, timing.READ cycles later.
        array_valid, array_address, array_data (In): a word from the array.
        loader_valid, loader_address, loader_mask, loader_data (In): lanes from the loader.
        collision (Out): a bank was asked for more than it can do; never, with a correct program.

    Costs: banks × lanes memories.
    """

    def __init__(self, target: Target):
        self._target = target
        address = Widths(target).address
        word = data.ArrayLayout(signed(target.data_width), target.columns)
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(address),
                "read_data": Out(word),
                "array_valid": In(1),
                "array_address": In(address),
                "array_data": In(word),
                "loader_valid": In(1),
                "loader_address": In(address),
                "loader_mask": In(target.columns),
                "loader_data": In(word),
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
        for number, bank in enumerate(self._banks):
            m.submodules[f"bank_{number}"] = bank

            def asks(valid, address, number=number):
                return valid & (address[offset:] == number)

            array_asks = asks(self.array_valid, self.array_address)
            loader_asks = asks(self.loader_valid, self.loader_address)
            m.d.comb += [
                bank.read_enable.eq(asks(self.read_enable, self.read_address)),
                bank.read_address.eq(self.read_address[:offset]),
                read[number].eq(bank.read_data),
                bank.write_enable.eq(array_asks | loader_asks),
            ]
            with m.If(array_asks):
                m.d.comb += [
                    bank.write_address.eq(self.array_address[:offset]),
                    bank.write_mask.eq(~0),
                    bank.write_data.eq(self.array_data),
                ]
            with m.Else():
                m.d.comb += [
                    bank.write_address.eq(self.loader_address[:offset]),
                    bank.write_mask.eq(self.loader_mask),
                    bank.write_data.eq(self.loader_data),
                ]
            collisions.append(bank.collision | (array_asks & loader_asks))
        m.d.comb += self.collision.eq(Cat(collisions).any())
        return m


class ResultMemory(Component):
    """z and logits, in block RAM: words are stored, or added to what is there, saturated.

    Nobody reads while words are added, and no address in the cycle it is stored.

    Members:
        write_valid, write_add, write_address, write_data (In): a word to store, or to add.
        stored_valid, stored_address, stored_data (Out): what is stored, timing.STORE later.
        saturated (Out): lanes of it that a sum clipped.
        read_address (In), read_data (Out): one cycle later.

    Costs: latency 1 either way; `block_rams`.
    """

    def __init__(self, target: Target):
        self._target = target
        word = data.ArrayLayout(signed(target.data_width), target.columns)
        address = Widths(target).result
        super().__init__(
            {
                "write_valid": In(1),
                "write_add": In(1),
                "write_address": In(address),
                "write_data": In(word),
                "stored_valid": Out(1),
                "stored_address": Out(address),
                "stored_data": Out(word),
                "saturated": Out(target.columns),
                "read_address": In(address),
                "read_data": Out(word),
            }
        )

    @property
    def block_rams(self) -> int:
        target = self._target
        return block_rams(target.technology, target.result_words, target.columns * target.data_width)

    def elaborate(self, platform):
        m = Module()
        target, number = self._target, self._target.data
        m.submodules.memory = memory = Memory(
            shape=self.write_data.shape(), depth=target.result_words, init=[], attrs={"ram_style": "block"}
        )
        write, read = memory.write_port(), memory.read_port()
        adding = Signal()
        new = Signal(self.write_data.shape(), reset_less=True)
        m.d.sync += [
            self.stored_valid.eq(self.write_valid),
            self.stored_address.eq(self.write_address),
            adding.eq(self.write_add),
            new.eq(self.write_data),
        ]
        for lane in range(target.columns):
            total = Signal(signed(number.width + 1), name=f"total_{lane}")
            clipped = total[-1] ^ total[-2]
            m.d.comb += [
                total.eq(new[lane] + Mux(adding, read.data[lane], 0)),
                self.saturated[lane].eq(self.stored_valid & clipped),
                self.stored_data[lane].eq(Mux(clipped, Mux(total[-1], number.min, number.max), total)),
            ]
        m.d.comb += [
            write.en.eq(self.stored_valid),
            write.addr.eq(self.stored_address),
            write.data.eq(self.stored_data),
            read.addr.eq(Mux(self.write_valid & self.write_add, self.write_address, self.read_address)),
            self.read_data.eq(read.data),
        ]
        return m


class ImageMemory(Component):
    """A memory that an image fills, in block RAM; read as whole words.

    Args:
        technology: whose block RAM is counted. shape, depth: of its words.

    Members:
        fill (In): see hw.signatures.image_write.
        read_enable (In), read_address (In), read_data (Out): one cycle later; held without `read_enable`.

    Costs: latency 1; `block_rams`.
    """

    def __init__(self, technology: Technology, shape: ShapeLike, depth: int):
        self._technology = technology
        self._depth = depth
        self._parts = words_for(Shape.cast(shape).width)
        super().__init__(
            {
                "fill": In(image_write(depth, Shape.cast(shape).width)),
                "read_enable": In(1),
                "read_address": In(bits_for(depth)),
                "read_data": Out(shape),
            }
        )

    @property
    def block_rams(self) -> int:
        return block_rams(self._technology, self._depth, WORD, self._parts)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=data.ArrayLayout(WORD, self._parts), depth=self._depth, init=[], attrs={"ram_style": "block"}
        )
        write, read = memory.write_port(granularity=1), memory.read_port()
        m.d.comb += [
            write.en.eq(Mux(self.fill.enable, 1 << self.fill.part, 0)),
            write.addr.eq(self.fill.address),
            write.data.eq(self.fill.data.replicate(self._parts)),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            Value.cast(self.read_data).eq(Value.cast(read.data)),
        ]
        return m


class FactorMemory(Component):
    """Words of P factors, read like the scratchpad: timing.READ cycles.

    Members:
        fill (In): see hw.signatures.image_write.
        read_address (In), read_data (Out).

    Costs: one ImageMemory.
    """

    def __init__(self, target: Target):
        word = data.ArrayLayout(signed(target.factor_width), target.rows)
        self._memory = ImageMemory(target.technology, word, target.factor_words)
        super().__init__(
            {
                "fill": In(image_write(target.factor_words, target.rows * target.factor_width)),
                "read_address": In(Widths(target).factor),
                "read_data": Out(word),
            }
        )

    @property
    def block_rams(self) -> int:
        return self._memory.block_rams

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self._memory
        wiring.connect(m, wiring.flipped(self.fill), memory.fill)
        m.d.comb += [memory.read_enable.eq(1), memory.read_address.eq(self.read_address)]
        m.d.sync += self.read_data.eq(memory.read_data)
        return m
