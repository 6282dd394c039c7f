"""A design that is placed and routed in seconds, on every family of parts."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal, unsigned

from fdht.boards import find_board
from fdht.boards.board import Board
from fdht.boards.top import buffers
from fdht.hw.component import ask
from fdht.hw.shell.uart import UARTReceiver, UARTTransmitter, divisor
from fdht.hw.technology import BankMemory, MultiplyAccumulate
from fdht.spec.costs import Resources

BOARD = find_board("icebreaker")


@dataclass(eq=False)
class Tiny(Elaboratable):
    """A byte comes in, is squared and looked up in a memory, and goes out."""

    predicted_multipliers: int = 1
    board: Board = BOARD

    @property
    def resources(self):
        return Resources(self.predicted_multipliers, ask(self.bank()).block_rams, 0)

    def bank(self):
        return BankMemory(8, 1, 512, technology=self.board.engine.build.technology)

    def elaborate(self, platform):
        m = Module()
        cycles, engine = divisor(self.board.clock_hz, self.board.baud), self.board.engine
        m.domains += ClockDomain("sync")
        m.submodules.clock = self.board.clock()
        m.submodules.receiver = receiver = UARTReceiver(cycles)
        m.submodules.transmitter = transmitter = UARTTransmitter(cycles)
        m.submodules.multiplier = multiplier = MultiplyAccumulate(
            8, 8, 16, engine.pipeline.multiply, engine.pipeline.sums_inside, engine.build.technology
        )
        m.submodules.bank = bank = self.bank()
        uart = buffers(m, platform, "uart", "rx", "tx")
        byte = Signal(8)
        with m.If(receiver.bytes.valid):
            m.d.sync += byte.eq(receiver.bytes.payload)
        product = Signal(unsigned(16))
        m.d.sync += product.eq(multiplier.o)
        m.d.comb += multiplier.valid.eq(receiver.bytes.valid)
        m.d.comb += [
            receiver.pin.eq(uart["rx"].i),
            receiver.bytes.ready.eq(1),
            uart["tx"].o.eq(transmitter.pin),
            multiplier.a.eq(byte),
            multiplier.b.eq(byte),
            bank.write_enable.eq(byte[0]),
            bank.write_mask.eq(1),
            bank.write_address.eq(product),
            bank.write_data[0].eq(byte),
            bank.read_enable.eq(1),
            bank.read_address.eq(product >> 7),
            transmitter.bytes.payload.eq(bank.read_data[0]),
            transmitter.bytes.valid.eq(receiver.bytes.valid),
        ]
        return m
