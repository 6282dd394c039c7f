"""The bench that runs inside the simulator of a system: a TCP port whose bytes go through the system's pins."""

import json
import os
import select
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, Timer
from cocotbext.uart import UartSink, UartSource
from pydantic import TypeAdapter

from fdht.sim.simulated_board import Pins
from fdht.spec.protocol import FLAG

PERIOD = 10_000
"""Picoseconds of a clock cycle; any would do."""

IDLE_TURNS, IDLE_SECONDS = 1000, 0.002
"""After so many turns without a byte, each turn waits a little for one, so as not to keep a processor busy."""


class Wire(Protocol):
    """Pins that carry bytes."""

    def put(self, data: bytes) -> None:
        """Sends bytes, later."""

    async def turn(self) -> bytes:
        """Lets about a byte's time pass; what was received."""
        ...


class SerialWire:
    """The serial port, under cocotbext-uart."""

    def __init__(self, dut, divisor: int):
        bit = divisor * PERIOD // 1000  # nanoseconds
        baud = 10**9 // bit
        self._source, self._sink = UartSource(dut.rx, baud), UartSink(dut.tx, baud)
        self._byte = Timer(10 * bit, "ns")

    def put(self, data: bytes) -> None:
        self._source.write_nowait(data)

    async def turn(self) -> bytes:
        await self._byte
        return bytes(self._sink.read_nowait())


class SPIWire:
    """SPI in mode 0, high bit first; flags where there is nothing to send, and of those received only the first."""

    def __init__(self, dut, ratio: float):
        self._dut = dut
        self._half = Timer(round(PERIOD / ratio / 2), "ps")
        self._queue: deque[int] = deque()
        self._last = FLAG
        for pin in (dut.spi_clock, dut.spi_select, dut.spi_copi):
            pin.value = 0

    def put(self, data: bytes) -> None:
        self._queue.extend(data)

    async def turn(self) -> bytes:
        dut, received = self._dut, 0
        sent = self._queue.popleft() if self._queue else FLAG
        dut.spi_select.value = 1
        for bit in reversed(range(8)):
            dut.spi_copi.value = sent >> bit & 1
            await self._half
            received = received << 1 | int(dut.spi_cipo.value)
            dut.spi_clock.value = 1
            await self._half
            dut.spi_clock.value = 0
        if not self._queue:
            dut.spi_select.value = 0
        before, self._last = self._last, received
        return b"" if received == before == FLAG else bytes([received])


class ByteWire:
    """The byte streams of an engine without a port: a byte every `GAP` cycles."""

    GAP = 4

    def __init__(self, dut):
        self._dut = dut
        self._queue: deque[int] = deque()
        dut.lost.value = dut.rx__valid.value = 0
        dut.tx__ready.value = 1

    def put(self, data: bytes) -> None:
        self._queue.extend(data)

    async def turn(self) -> bytes:
        dut, received = self._dut, bytearray()
        if self._queue:
            dut.rx__payload.value = self._queue.popleft()
            dut.rx__valid.value = 1
        for _ in range(self.GAP):
            if int(dut.tx__valid.value):
                received.append(int(dut.tx__payload.value))
            await FallingEdge(dut.clk)
            dut.rx__valid.value = 0
        return bytes(received)


@cocotb.test()
async def run(dut) -> None:
    """Serves hosts until the file `stop` appears or the process that started this is gone."""
    work = Path(os.environ["FDHT_SYSTEM"])
    pins = TypeAdapter(Pins).validate_json((work / "pins.json").read_text())
    cocotb.start_soon(Clock(dut.clk, PERIOD, unit="ps").start())
    wires: list[Wire] = [ByteWire(dut) if pins.divisor is None else SerialWire(dut, pins.divisor)]
    if pins.spi_mhz is not None:
        wires.append(SPIWire(dut, pins.spi_mhz / pins.clock_mhz))
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, pins.start_cycles)
    await FallingEdge(dut.clk)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as other:
        (work / "new").write_text(json.dumps([each.getsockname()[1] for each in (listener, other)]))
        (work / "new").rename(work / "ports.json")
        for host, at_spi in hosts([listener, other][: len(wires)], work / "stop"):
            with host:
                await serve(host, wires[at_spi], work / "stop")


def hosts(listeners: list[socket.socket], stop: Path) -> Iterator[tuple[socket.socket, int]]:
    """Whoever connects, one after the other, and to which of the ports. Time stands still in between."""
    parent = os.getppid()
    while not stop.exists() and os.getppid() == parent:
        for listener in select.select(listeners, [], [], 0.05)[0]:
            yield listener.accept()[0], listeners.index(listener)


async def serve(host: socket.socket, wire: Wire, stop: Path) -> None:
    """Carries bytes between a host and the pins until it hangs up."""
    parent, idle = os.getppid(), 0
    host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        idle += 1
        if select.select([host], [], [], 0 if idle < IDLE_TURNS else IDLE_SECONDS)[0]:
            try:
                data = host.recv(4096)
            except ConnectionError:
                return
            if not data:
                return
            wire.put(data)
            idle = 0
        elif idle % IDLE_TURNS == 0 and (stop.exists() or os.getppid() != parent):
            return
        received = await wire.turn()
        if received:
            idle = 0
            try:
                host.sendall(received)
            except ConnectionError:
                return
