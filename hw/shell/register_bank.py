"""Registers on an AXI4-Lite bus, made from a description of them (see fdht.spec.registers)."""

from collections.abc import Mapping
from enum import IntEnum, unique

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from fdht.hw.component import Component
from fdht.spec.registers import BYTES, Access, Field, Register

WIDTH = 8 * BYTES


@unique
class Response(IntEnum):
    """What bresp and rresp say."""

    OKAY = 0
    SLVERR = 2


def axi_lite(address_bits: int) -> dict[str, Member]:
    """The members of an AXI4-Lite subordinate with 32 bits of data."""
    return {
        "awaddr": In(address_bits),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(WIDTH),
        "wstrb": In(BYTES),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(address_bits),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(WIDTH),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }


def field_name(register: Register, field: Field) -> str:
    """The member that stands for a field."""
    return register.name.lower() if register.name == field.name else f"{register.name}_{field.name}".lower()


class RegisterBank(Component):
    """Registers behind an AXI4-Lite subordinate.

    Write address and data may come in any order. SLVERR answers an access where there is no register, a read of one
    that cannot be read, a write to one that cannot be written, or one without the byte strobes that a pushed value
    needs; none of them does anything. All outputs are registers, so no output depends on an input in the
    same cycle.

    Args:
        registers: by their byte addresses, which are multiples of four.
        address_bits: of a byte address.
        late: cycles that the answer to a read takes longer, by the register's name: its value follows another register
            by as many.

    Members:
        awaddr … rready: see axi_lite. Protection bits are ignored.
        Per field, named `register_field` (or `field`, if the register has the same name), by access:
            READ (In): its value. WRITE (Out): its value, 0 after a reset.
            CLEAR (Out): its value, 0 after a reset; with `_set` (In): the bits to set now, whatever is written.
            PULSE (Out): the bits written as 1, for a cycle.
            PUSH (Out): what was written, while `_valid` (Out) is high for a cycle.

    Costs: latency 2 from an address to its data, and from a write to its response; a read and a write every 2 cycles.
    """

    def __init__(self, registers: Mapping[int, Register], address_bits: int, late: Mapping[str, int] | None = None):
        assert all(address % BYTES == 0 and 0 <= address < 1 << address_bits for address in registers)
        self._registers = {address // BYTES: register for address, register in registers.items()}
        self._address_bits = address_bits
        self._late = late or {}
        members = dict(axi_lite(address_bits))
        for register in registers.values():
            for field in register.fields:
                name = field_name(register, field)
                members[name] = In(field.width) if field.access is Access.READ else Out(field.width)
                if field.access is Access.CLEAR:
                    members[f"{name}_set"] = In(field.width)
                if field.access is Access.PUSH:
                    members[f"{name}_valid"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        self._elaborate_write(m)
        self._elaborate_read(m)
        return m

    def _elaborate_write(self, m: Module) -> None:
        address = Signal(self._address_bits, reset_less=True)
        data, strobe = Signal(WIDTH, reset_less=True), Signal(BYTES, reset_less=True)
        has_address, has_data, open_ = Signal(), Signal(), Signal()
        writing, mask = Signal(), Signal(WIDTH)
        m.d.sync += open_.eq(1)  # nothing is taken during a reset
        m.d.comb += [
            self.awready.eq(open_ & ~has_address),
            self.wready.eq(open_ & ~has_data),
            writing.eq(has_address & has_data & ~self.bvalid),
            mask.eq(Cat(bit.replicate(8) for bit in strobe)),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [address.eq(self.awaddr), has_address.eq(1)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [data.eq(self.wdata), strobe.eq(self.wstrb), has_data.eq(1)]
        with m.If(self.bvalid & self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(writing):
            m.d.sync += [has_address.eq(0), has_data.eq(0), self.bvalid.eq(1), self.bresp.eq(Response.SLVERR)]

        for k, register in self._registers.items():
            selected = Signal(name=f"write_{register.name.lower()}")
            needed = register.strobes
            if register.writable:
                m.d.comb += selected.eq(writing & (address[2:] == k) & ((strobe & needed) == needed))
                with m.If(selected):
                    m.d.sync += self.bresp.eq(Response.OKAY)
            for field in register.fields:
                name = field_name(register, field)
                at = slice(field.low, field.low + field.width)
                value, written = getattr(self, name), mask[at] & selected.replicate(field.width)
                if field.access is Access.WRITE:
                    m.d.sync += value.eq((value & ~written) | (data[at] & written))
                elif field.access is Access.CLEAR:
                    m.d.sync += value.eq((value & ~(data[at] & written)) | getattr(self, f"{name}_set"))
                elif field.access is Access.PULSE:
                    m.d.sync += value.eq(data[at] & written)
                elif field.access is Access.PUSH:
                    m.d.sync += [value.eq(data[at]), getattr(self, f"{name}_valid").eq(selected)]

    def _elaborate_read(self, m: Module) -> None:
        address = Signal(self._address_bits, reset_less=True)
        asked, open_ = Signal(), Signal()
        m.d.sync += open_.eq(1)
        m.d.comb += self.arready.eq(open_ & ~asked)
        with m.If(self.arvalid & self.arready):
            m.d.sync += [address.eq(self.araddr), asked.eq(1)]
        with m.If(self.rvalid & self.rready):
            m.d.sync += self.rvalid.eq(0)
        with m.If(asked & ~self.rvalid & self._settled(m, address, asked) if self._late else asked & ~self.rvalid):
            m.d.sync += [asked.eq(0), self.rvalid.eq(1), self.rdata.eq(0), self.rresp.eq(Response.SLVERR)]
            with m.Switch(address[2:]):
                for k, register in self._registers.items():
                    if not register.readable:
                        continue
                    with m.Case(k):
                        m.d.sync += self.rresp.eq(Response.OKAY)
                        for field in register.fields:
                            if field.access in (Access.READ, Access.WRITE, Access.CLEAR):
                                value = getattr(self, field_name(register, field))
                                m.d.sync += self.rdata[field.low : field.low + field.width].eq(value)

    def _settled(self, m: Module, address: Value, asked: Value) -> Value:
        """Whether what is read is what its register shows since the last write that was answered."""
        waited, settled = Signal(range(max(self._late.values()) + 1)), Signal()
        m.d.sync += waited.eq(Mux(asked & ~settled, waited + 1, 0))
        m.d.comb += settled.eq(1)
        for k, register in self._registers.items():
            if register.name in self._late:
                with m.If(address[2:] == k):
                    m.d.comb += settled.eq(waited == self._late[register.name])
        return settled
