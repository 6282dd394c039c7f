"""Registers on AXI4-Lite: what follows another register late is read as it will be."""

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from fdht.hw.component import delay
from fdht.hw.shell.register_bank import RegisterBank, Response
from fdht.spec.registers import Access, whole

INDEX, VALUE, OTHER = 0, 8, 12
REGISTERS = {
    INDEX: whole("INDEX", Access.WRITE, "A number"),
    VALUE: whole("VALUE", Access.READ, "What follows the number"),
    OTHER: whole("OTHER", Access.READ, "What follows nothing"),
}


@pytest.mark.parametrize("late", [0, 1, 3, 5])
def test_a_read_waits_for_what_follows_a_write(late):
    """Asked for in the cycle in which the write is answered, the earliest that AXI calls later; other reads take two
    cycles, as ever.
    """
    bank, m, found = RegisterBank(REGISTERS, 4, {"VALUE": late} if late else {}), Module(), []
    m.submodules.bank = bank
    m.d.comb += [bank.value.eq(delay(m, bank.index, late, "follows")), bank.other.eq(0xABC)]

    async def test(ctx):
        await ctx.tick().repeat(2)
        for number in (5, 77, 0, 1234):
            for name, value in (("awaddr", INDEX), ("wdata", number), ("wstrb", 0xF), ("awvalid", 1), ("wvalid", 1)):
                ctx.set(getattr(bank, name), value)
            ctx.set(bank.bready, 1)
            await ctx.tick()
            ctx.set(bank.awvalid, 0)
            ctx.set(bank.wvalid, 0)
            while not ctx.get(bank.bvalid):
                await ctx.tick()
            for address, expected, most in ((VALUE, number, late + 2), (OTHER, 0xABC, 2), (4, 0, 2)):
                ctx.set(bank.araddr, address)
                ctx.set(bank.arvalid, 1)
                ctx.set(bank.rready, 1)
                assert ctx.get(bank.arready)
                await ctx.tick()
                ctx.set(bank.arvalid, 0)
                cycles = 1
                while not ctx.get(bank.rvalid):
                    await ctx.tick()
                    cycles += 1
                assert ctx.get(bank.rdata) == expected and cycles == most
                assert ctx.get(bank.rresp) == (Response.SLVERR if address not in REGISTERS else Response.OKAY)
                found.append(address)
                await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(test)
    simulator.run()
    assert len(found) == 12
