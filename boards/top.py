"""The top of a board's design: the engine behind the host link on a serial port."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import C, ClockDomain, ClockSignal, DomainRenamer, Elaboratable, Module, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import hw
import spec
from boards.board import Board
from hw.accelerator import Accelerator
from hw.component import Component
from hw.link import HostLink
from hw.loader import InputPacker
from hw.uart import UARTReceiver, UARTTransmitter, divisor


@dataclass(frozen=True)
class Resources:
    """What a design takes of a part's blocks."""

    multipliers: int
    block_rams: int
    sprams: int


def build_id(board: Board) -> int:
    """32 bits that identify what a bitstream was made of: board, target and the sources of the gateware."""
    digest = hashlib.sha256(repr((board.name, board.engine, board.clock_hz, board.baud)).encode())
    for package in (spec, hw):
        for source in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(source.read_bytes())
    return int.from_bytes(digest.digest()[:4], "little")


class StreamBuffer(Component):
    """A register between two streams, so that neither waits for the other's logic.

    Members:
        i (In), o (Out): payloads of a shape.

    Costs: latency 1; a word every other cycle.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.valid):
            m.d.sync += self.o.valid.eq(~self.o.ready)
        with m.Else():
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class BoardTop(Elaboratable):
    """Engine, host link and serial port.

    The link's reset request resets the engine alone, so that the host can always end a run.
    """

    def __init__(self, board: Board):
        self.board = board
        self._accelerator = Accelerator(board.engine)
        self._link = HostLink(board.engine, build=build_id(board))

    @property
    def resources(self) -> Resources:
        """What the specification predicts; synthesis is held against it."""
        engine = self._accelerator
        return Resources(engine.multipliers, engine.block_rams + self._link.block_rams, engine.sprams)

    def elaborate(self, platform):
        m = Module()
        cycles = divisor(self.board.clock_hz, self.board.baud)
        m.domains += ClockDomain("sync")
        m.submodules.clock = self.board.clock()
        m.submodules.link = link = self._link
        m.submodules.receiver = receiver = UARTReceiver(cycles)
        m.submodules.transmitter = transmitter = UARTTransmitter(cycles)
        engine = self._accelerator
        # The link resets the engine at the very start too. One register, not logic, drives so many flip-flops.
        m.domains += ClockDomain("engine")
        packer = InputPacker(self.board.engine)
        m.submodules.engine = DomainRenamer("engine")(engine)
        m.submodules.packer = DomainRenamer("engine")(packer)
        reset = Signal(init=1)
        m.d.sync += reset.eq(link.reset)
        m.d.comb += [ClockSignal("engine").eq(ClockSignal("sync")), ResetSignal("engine").eq(reset)]

        uart = platform.request("uart", 0)
        m.d.comb += [receiver.pin.eq(uart.rx.i), uart.tx.o.eq(transmitter.pin), link.lost.eq(receiver.overrun)]
        wiring.connect(m, receiver.bytes, link.rx)
        wiring.connect(m, link.tx, transmitter.bytes)
        wiring.connect(m, link.image, engine.image)
        wiring.connect(m, link.x, packer.i)
        waiting: Value = C(0, 1)  # a word that has left the engine
        for name, source, sink in (
            ("x", packer.o, engine.x),
            ("state", link.state, engine.state),
            ("out", engine.out, link.out),
        ):
            if not self.board.engine.compact:
                buffer = StreamBuffer(source.payload.shape())
                m.submodules[f"{name}_buffer"] = DomainRenamer("engine")(buffer)
                wiring.connect(m, source, buffer.i)
                source = buffer.o
                waiting = source.valid  # of the last one, `out`
            wiring.connect(m, source, sink)
        for name in ("start", "steps", "use_state", "every_h", "keep"):
            m.d.comb += getattr(engine, name).eq(getattr(link, name))
        m.d.comb += link.busy.eq(engine.busy | waiting)
        for name in ("cycles", "stalls", "saturations", "collision"):
            m.d.comb += getattr(link, name).eq(getattr(engine, name))
        return m
