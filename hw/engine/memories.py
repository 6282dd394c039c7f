"""The memories around the array: scratchpad, factor memory, and the small ones of results and biases."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.signatures import image_write
from fdht.hw.technology import BankMemory, RegisteredMemory
from fdht.spec import costs, timing
from fdht.spec.instructions import WORD, Widths, bits_for, words_for
from fdht.spec.target import Target, Technology


class Scratchpad(Component):
    """Banks of data words. The upper bits of a word address are the bank.

    The array reads one word and writes one word per cycle, the loader writes lanes of one. The compiler keeps them out
    of each other's banks.

    Args:
        target: of the engine.

    Members:
        read_enable, read_address (In), read_data (Out): a word for the array, timing.read() cycles later.
        array_valid, array_address, array_data (In): a word from the array.
        loader_valid, loader_address, loader_mask, loader_data (In): lanes from the loader.
        collision (Out): a bank was asked for more than it can do; never, with a correct program.

    Costs: latency timing.read() of a read; a read and a write per cycle; banks × lanes memories, or half as many where
    two lanes share one (fdht.spec.costs.scratchpad).
    """

    def __init__(self, target: Target):
        self._target = target
        self._together = costs.lanes_together(target)
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
            [
                BankMemory(
                    target.data_width,
                    self._together,
                    target.bank_words,
                    target.single_port,
                    target.build.technology,
                    target.pipeline.bank > 0,
                )
                for _ in range(target.columns // self._together)
            ]
            for _ in range(target.banks)
        ]
        offset = bits_for(target.bank_words)
        access = {"read_enable": 1, "read_address": offset, "write_enable": 1, "write_address": offset}
        self._access = data.StructLayout(access | {"write_mask": target.columns, "write_data": word})
        lanes = data.ArrayLayout(signed(target.data_width), self._together)
        self._lane_access = data.StructLayout(access | {"write_data": lanes})

    @property
    def block_rams(self) -> int:
        return costs.scratchpad(self._target).block_rams

    @property
    def sprams(self) -> int:
        return costs.scratchpad(self._target).sprams

    def elaborate(self, platform):
        m = Module()
        offset = bits_for(self._target.bank_words)
        collisions = []
        words = data.ArrayLayout(self.read_data.shape(), len(self._banks))
        read = Signal(words)
        # Banks of large parts lie far apart. A request may wait in registers of its bank, before and behind the choice
        # between array and loader, then in one of each lane; the answer in the memory's own register and another. Which
        # bank answers is known all the while, and needed two cycles before the end: to select, and to register.
        lanes, pipeline = self._target.columns, self._target.pipeline
        asking, choosing, reaching = (int(pipeline.request > k) for k in range(3))
        spread = pipeline.request > 0
        read_bank = delay(m, self.read_address[offset:], timing.read(self._target) - 2, "read_bank")
        for lane in range(lanes):
            select = delay(m, read_bank, 1, f"select_{lane}", keep=spread)
            chosen = Array(read[k][lane] for k in range(len(self._banks)))[select]
            m.d.comb += self.read_data[lane].eq(delay(m, chosen, 1, f"read_data_{lane}"))
        for number, bank in enumerate(self._banks):

            def asks(valid, address, number=number):
                return valid & (address[offset:] == number)

            def own_copy(value, name, number=number):
                return delay(m, value, asking, f"{name}_{number}", keep=spread)

            array_asks = own_copy(asks(self.array_valid, self.array_address), "array_asks")
            loader_asks = own_copy(asks(self.loader_valid, self.loader_address), "loader_asks")
            array_address, loader_address, read_address = (
                own_copy(address[:offset], name)
                for name, address in (
                    ("array_address", self.array_address),
                    ("loader_address", self.loader_address),
                    ("read_address", self.read_address),
                )
            )
            array_data, loader_data = own_copy(self.array_data, "array_data"), own_copy(self.loader_data, "loader_data")
            access: Any = Signal(self._access, name=f"access_{number}")
            m.d.comb += [
                access.read_enable.eq(own_copy(asks(self.read_enable, self.read_address), "read_asks")),
                access.read_address.eq(read_address),
                access.write_enable.eq(array_asks | loader_asks),
                access.write_address.eq(Mux(array_asks, array_address, loader_address)),
                access.write_mask.eq(Mux(array_asks, ~0, own_copy(self.loader_mask, "loader_mask"))),
                access.write_data.eq(Mux(array_asks, array_data, loader_data)),
            ]
            access = delay(m, access, choosing, f"access_{number}", keep=spread)
            for lane, memory in zip(range(0, lanes, self._together), bank, strict=True):
                m.submodules[f"bank_{number}_{lane}"] = memory
                own: Any = Signal(self._lane_access, name=f"access_{number}_{lane}")
                mask = access.write_mask[lane : lane + self._together]
                m.d.comb += [
                    own.read_enable.eq(access.read_enable),
                    own.read_address.eq(access.read_address),
                    own.write_enable.eq(access.write_enable & mask.any()),
                    own.write_address.eq(access.write_address),
                ]
                m.d.comb += [own.write_data[k].eq(access.write_data[lane + k]) for k in range(self._together)]
                own = delay(m, own, reaching, f"access_{number}_{lane}", keep=spread)
                m.d.comb += [
                    memory.read_enable.eq(own.read_enable),
                    memory.read_address.eq(own.read_address),
                    memory.write_enable.eq(own.write_enable),
                    memory.write_address.eq(own.write_address),
                    memory.write_mask.eq(mask if self._together > 1 else 1),  # nothing is late where lanes share
                    memory.write_data.eq(own.write_data),
                ]
                answer = delay(m, memory.read_data, pipeline.answer, f"read_{number}_{lane}")
                m.d.comb += [read[number][lane + k].eq(answer[k]) for k in range(self._together)]
                collisions.append(
                    delay(m, memory.collision, int(spread), f"collision_{number}_{lane}", reset_less=False)
                )
            collisions.append(array_asks & loader_asks)
        m.d.comb += self.collision.eq(Cat(collisions).any())
        return m


class ResultMemory(Component):
    """z and logits, in block RAM: words are stored, or added to what is there, saturated.

    Nothing is read while words are added, nor an address in the cycle in which it is stored. If the pipeline says
    `result_copy`, reads are served by a copy, which may lie near the reader and is written a cycle later.

    Args:
        target: of the engine.

    Members:
        write_valid, write_add, write_address, write_data (In): a word to store, or to add.
        stored_valid, stored_address, stored_data (Out): what is stored, timing.store() later.
        saturated (Out): lanes of it that a sum clipped.
        read_address (In), read_data (Out): one cycle later.

    Costs: latency timing.store() of a write, 1 of a read; one of each per cycle; block RAM as
    fdht.spec.costs.result_memory.
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
        return costs.result_memory(self._target).block_rams

    def elaborate(self, platform):
        m = Module()
        target, number = self._target, self._target.data
        m.submodules.memory = memory = Memory(
            shape=self.write_data.shape(), depth=target.result_words, init=[], attrs={"ram_style": "block"}
        )
        write, read = memory.write_port(), memory.read_port()
        late = timing.store(target)
        registered, summed = target.pipeline.result_read, target.pipeline.result_sum
        adding = delay(m, self.write_add, 1 + registered, "adding")
        new = delay(m, self.write_data, 1 + registered, "new")
        old = delay(m, read.data, registered, "old")
        m.d.comb += [
            self.stored_valid.eq(delay(m, self.write_valid, late, "stored_valid", reset_less=False)),
            self.stored_address.eq(delay(m, self.write_address, late, "stored_address")),
        ]
        for lane in range(target.columns):
            total = delay(m, new[lane] + Mux(adding, old[lane], 0), summed, f"total_{lane}")
            clipped = total[-1] ^ total[-2]
            m.d.comb += [
                self.saturated[lane].eq(self.stored_valid & clipped),
                self.stored_data[lane].eq(Mux(clipped, Mux(total[-1], number.min, number.max), total)),
            ]
        m.d.comb += [
            write.en.eq(self.stored_valid),
            write.addr.eq(self.stored_address),
            write.data.eq(self.stored_data),
        ]
        if not target.pipeline.result_copy:
            m.d.comb += [
                read.addr.eq(Mux(self.write_valid & self.write_add, self.write_address, self.read_address)),
                self.read_data.eq(read.data),
            ]
            return m
        m.submodules.copy = copy = Memory(
            shape=self.write_data.shape(), depth=target.result_words, init=[], attrs={"ram_style": "block"}
        )
        copy_write, copy_read = copy.write_port(), copy.read_port()
        m.d.comb += [
            read.addr.eq(self.write_address),
            copy_write.en.eq(delay(m, self.stored_valid, 1, "copy_valid", reset_less=False)),
            copy_write.addr.eq(delay(m, self.stored_address, 1, "copy_address")),
            copy_write.data.eq(delay(m, self.stored_data, 1, "copy_data")),
            copy_read.addr.eq(self.read_address),
            self.read_data.eq(copy_read.data),
        ]
        return m


class ImageMemory(Component):
    """A memory that an image fills, in block RAM; read as whole words.

    Args:
        technology: of the part. shape: of a word. depth: words.
        latency: 1; 2: every 16 bits have a RegisteredMemory of their own; 3: also registers behind it; 4: also in
            front.

    Members:
        fill (In): see fdht.hw.engine.signatures.image_write.
        read_enable (In): reads go on; in a cycle without, what has been read so far stays where it is. With a latency
            above 2 it must always be high.
        read_address (In), read_data (Out): `latency` cycles later, of those with `read_enable`.

    Costs: latency as given; a read and 16 bits of a write per cycle; block RAM as fdht.spec.costs.image_memory.
    """

    def __init__(self, technology: Technology, shape: ShapeLike, depth: int, latency: int = 1):
        width = Shape.cast(shape).width
        self._depth = depth
        self._blocks = costs.image_memory(technology, width, depth, registered=latency > 1)
        self._parts = words_for(width)
        self._latency = latency
        self._registered = [RegisteredMemory(WORD, depth, technology) for _ in range(self._parts if latency > 1 else 0)]
        super().__init__(
            {
                "fill": In(image_write(depth, width)),
                "read_enable": In(1),
                "read_address": In(bits_for(depth)),
                "read_data": Out(shape),
            }
        )

    @property
    def block_rams(self) -> int:
        return self._blocks.block_rams

    def elaborate(self, platform):
        m = Module()
        if self._registered:
            self._elaborate_registered(m)
            return m
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

    def _elaborate_registered(self, m: Module) -> None:
        words = []
        behind, before = (int(self._latency > least) for least in (2, 3))
        for part, memory in enumerate(self._registered):
            m.submodules[f"memory_{part}"] = memory
            enable = self.fill.enable & (self.fill.part == part)
            m.d.comb += [
                memory.write_enable.eq(delay(m, enable, before, f"write_enable_{part}")),
                memory.write_address.eq(delay(m, self.fill.address, before, f"write_address_{part}", keep=True)),
                memory.write_data.eq(delay(m, self.fill.data, before, f"write_data_{part}", keep=True)),
                memory.read_address.eq(delay(m, self.read_address, before, f"read_address_{part}", keep=True)),
            ]
            m.d.comb += memory.enable.eq(1 if behind else self.read_enable)
            words.append(delay(m, memory.read_data, behind, f"word_{part}"))
        m.d.comb += Value.cast(self.read_data).eq(Cat(words))


class FactorMemory(Component):
    """Words of P factors, read as late as words of the scratchpad.

    Args:
        target: of the engine.

    Members:
        fill (In): see fdht.hw.engine.signatures.image_write.
        read_address (In), read_data (Out): a word, timing.read() cycles later.
        hidden (In): the address is the number of a unit, whose h takes the place of the last factor.
        h_asked, h_address (Out), h_data (In): h of a unit from the gate unit, timing.hidden() cycles later.
        hidden_lane (In), h_lane (Out): with several gates: of which of their lanes.

    Costs: latency timing.read(); a word per cycle; block RAM as fdht.spec.costs.factor_memory.
    """

    def __init__(self, target: Target):
        self._target = target
        w = Widths(target)
        word = data.ArrayLayout(signed(target.factor_width), target.rows)
        self._memory = ImageMemory(target.build.technology, word, target.factor_words, target.pipeline.factors)
        super().__init__(
            {
                "fill": In(image_write(target.factor_words, target.rows * target.factor_width)),
                "read_address": In(w.factor),
                "read_data": Out(data.ArrayLayout(signed(w.operand), target.rows)),
                "hidden": In(1),
                "h_asked": Out(1),
                "h_address": Out(w.unit),
                "h_data": In(signed(target.data_width)),
            }
            | ({"hidden_lane": In(range(target.gates)), "h_lane": Out(range(target.gates))} if target.gates > 1 else {})
        )

    @property
    def block_rams(self) -> int:
        return costs.factor_memory(self._target).block_rams

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self._memory
        wiring.connect(m, wiring.flipped(self.fill), memory.fill)
        early = self._target.pipeline.before_factors
        address = delay(m, self.read_address, early, "address")
        asked = delay(m, self.hidden, early, "asked", reset_less=False)
        late = timing.read(self._target) - 1 - early
        hidden, h = delay(m, asked, late, "hidden"), delay(m, self.h_data, late - timing.hidden(self._target), "h")
        m.d.comb += [
            memory.read_enable.eq(1),
            memory.read_address.eq(address),
            self.h_asked.eq(asked),
            self.h_address.eq(address),
        ]
        if self._target.gates > 1:
            m.d.comb += self.h_lane.eq(delay(m, self.hidden_lane, early, "hidden_lane"))
        word = Signal.like(self.read_data, reset_less=True)
        m.d.sync += [to.eq(factor) for to, factor in zip(word, memory.read_data, strict=True)]
        with m.If(hidden):
            m.d.sync += word[-1].eq(h)
        m.d.comb += self.read_data.eq(word)
        return m
