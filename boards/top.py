"""The top of a board's design: the system on the board's pins and clock."""

import hashlib
from functools import cache
from typing import Any

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io

from fdht.boards.board import Board, Flash
from fdht.hw.component import ask
from fdht.hw.primitives.ecp5 import usrmclk
from fdht.hw.shell.system import LinkedEngine, System
from fdht.hw.shell.uart import divisor
from fdht.hw.technology import multiplier_site
from fdht.spec.costs import Resources
from fdht.spec.flash import FlashPlan
from fdht.spec.target import Target


def build_id(board: Board) -> int:
    """32 bits that identify what a bitstream is made of: the gateware as elaborated, and the board's clock, link and
    floor plan.
    """
    spi, engine, platform = board.spi_mhz is not None, board.engine, board.platform()
    flash = board.plan
    places = [
        multiplier_site(platform, engine.columns, row, column)
        for row in range(engine.rows)
        for column in range(engine.columns)
        if engine.build.pinned
    ]
    what = repr((board.name, board.clock_hz, board.baud, board.spi_mhz, places)).encode() + _gateware(
        engine, spi, flash
    )
    return int.from_bytes(hashlib.sha256(what).digest()[:4], "little")


@cache
def _gateware(target: Target, spi: bool, flash: FlashPlan | None = None) -> bytes:
    """Digest of the system in RTLIL, with nothing in it that differs between boards of one target."""
    text = rtlil.convert(System(target, divisor=4, build=0, spi=spi, flash=flash), emit_src=False)
    return hashlib.sha256(text.encode()).digest()


class BoardTop(Elaboratable):
    """The engine with its host link, its serial port (resource `uart` 0) and SPI (`spi` 0), if the board has it, and
    the flash from which it loads itself, if it does.
    """

    def __init__(self, board: Board):
        self.board = board

    @property
    def resources(self) -> Resources:
        """What the specification predicts; synthesis is held against it."""
        engine = ask(LinkedEngine(self.board.engine))
        return Resources(engine.multipliers, engine.block_rams, engine.sprams)

    def elaborate(self, platform):
        m = Module()
        m.domains += ClockDomain("sync")
        m.submodules.clock = self.board.clock()
        m.submodules.system = system = System(
            self.board.engine,
            divisor(self.board.clock_hz, self.board.baud),
            build=build_id(self.board),
            spi=self.board.spi_mhz is not None,
            flash=self.board.plan,
        )
        uart = buffers(m, platform, "uart", "rx", "tx")
        m.d.comb += [system.rx.eq(uart["rx"].i), uart["tx"].o.eq(system.tx)]
        if self.board.spi_mhz is not None:
            spi = buffers(m, platform, "spi", "clk", "cs", "copi", "cipo")
            clock = Signal(name="spi_clock", attrs={"keep": 1})  # else its name is lost, and the constraint with it
            platform.add_clock_constraint(clock, self.board.spi_mhz * 1e6)
            m.d.comb += [
                clock.eq(spi["clk"].i),
                system.spi_clock.eq(clock),
                system.spi_select.eq(spi["cs"].i),
                system.spi_copi.eq(spi["copi"].i),
                spi["cipo"].o.eq(system.spi_cipo),
                spi["cipo"].oe.eq(spi["cs"].i),
            ]
        if self.board.plan is not None and self.board.flash is not None:
            self.add_flash(m, platform, system, self.board.flash)
        return m

    def add_flash(self, m: Module, platform, system: Any, flash: Flash) -> None:
        """Connects the flash, and the button that chooses the slot."""
        named = [pin.name for pin in platform.lookup(flash.resource).ios]
        wanted = [pin for pin in ("clk", "cs", "copi", "cipo", "wp", "hold") if pin in named]
        pins = buffers(m, platform, flash.resource, *wanted)
        m.d.comb += [
            pins["cs"].o.eq(system.flash_select),
            pins["copi"].o.eq(system.flash_copi),
            system.flash_cipo.eq(pins["cipo"].i),
        ]
        if "clk" in pins:
            m.d.comb += pins["clk"].o.eq(system.flash_clock)
        else:
            m.submodules.flash_clock = usrmclk(system.flash_clock)
        if flash.button is not None and len(system.first):
            button = io.Buffer("i", platform.request(*flash.button, dir="-"))
            m.submodules.flash_button = button
            m.d.comb += system.first.eq(button.i)


def buffers(m: Module, platform, resource: str, *pins: str) -> dict[str, Any]:
    """A buffer for each of some pins of a resource, in its direction, as submodules of `m`.

    Args:
        resource: its name; number 0 of it is taken.
    """
    ports = platform.request(resource, 0, dir="-")
    made = {pin: io.Buffer(getattr(ports, pin).direction, getattr(ports, pin)) for pin in pins}
    for pin, buffer in made.items():
        m.submodules[f"{resource}_{pin}"] = buffer
    return made
