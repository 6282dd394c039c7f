"""Replies of the host link: which bytes they are made of, and how many."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from fdht.hw.shell.link_replies import ReplyBytes, ResultBuffer, StatusBytes
from fdht.spec.protocol import (
    MAX_PAYLOAD,
    REFUSED,
    RESULT_BYTES,
    VERSION,
    Reason,
    Request,
    Status,
    lacking,
    result_bytes,
)
from fdht.spec.target import Features, Target

TARGET_ID, BUILD = 0x89ABCDEF, 0x12345678
REPORTED = {
    "busy": 1,
    "last": 11,
    "errors": 0xA7,
    "collision": 1,
    "cycles": 0x01020304,
    "stalls": 0x15161718,
    "saturations": 0x292A2B2C,
    "image": 0x3D3E3F30,
}
STATUS = Status(True, 11, 0xA7, True, VERSION, 0x01020304, 0x15161718, 0x292A2B2C, TARGET_ID, BUILD, 0x3D3E3F30)


def simulate(dut, bench) -> None:
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def report(ctx, dut, **others: int) -> None:
    for name, value in (REPORTED | others).items():
        ctx.set(getattr(dut, name), value)


def test_what_status_reports_is_there_five_cycles_later():
    """In any order of its bytes."""
    has = Features(collision=False)
    dut = StatusBytes(TARGET_ID, BUILD, lacking(has))

    async def bench(ctx):
        report(ctx, dut, reason=Reason.WAIT)
        ctx.set(dut.active, 1)
        got, order = bytearray(Status.SIZE), [*range(Status.SIZE)]
        random.Random(2).shuffle(order)
        for index in order:
            ctx.set(dut.index, index)
            await ctx.tick().repeat(5)
            got[index] = ctx.get(dut.o)
        assert Status.parse(bytes(got)) == replace(STATUS, features=has)
        assert got[0] & 7 == Reason.WAIT
        ctx.set(dut.active, 0)
        await ctx.tick().repeat(2)
        for index in range(32):
            ctx.set(dut.index, index)
            for _ in range(6):
                assert ctx.get(dut.o) == 0
                await ctx.tick()

    simulate(dut, bench)


HEADER = 0x50


@pytest.mark.parametrize("reason", [0, Reason.DAMAGED, Reason.SEQUENCE])
@pytest.mark.parametrize("kind", Request)
@pytest.mark.parametrize("results", [b"", bytes(range(1, 30)), bytes(k % 251 for k in range(400))], ids=len)
def test_a_reply_has_the_bytes_of_its_kind(kind, reason, results):
    dut, got, granted = ReplyBytes(TARGET_ID, BUILD), [], []
    left = list(results)

    async def bench(ctx):
        report(ctx, dut, reason=reason, kind=kind)
        ctx.set(dut.replying, 1)
        index = -1
        while True:
            ctx.set(dut.index, index % 256)
            ctx.set(dut.frame, HEADER | kind if index < 0 else 0xEE)
            ctx.set(dut.result, left[0] if left else 0xDD)
            ctx.set(dut.more, bool(left))
            await ctx.tick().repeat(5)
            if index >= 0 and ctx.get(dut.ended):
                break
            ctx.set(dut.load, 1)
            got.append(ctx.get(dut.o))
            granted.append(ctx.get(dut.granted))
            if ctx.get(dut.take):
                left.pop(0)
            await ctx.tick()
            ctx.set(dut.load, 0)
            assert not ctx.get(dut.take) and not ctx.get(dut.granted)
            index += 1

    simulate(dut, bench)
    state = reason | 8 | 11 << 4
    assert got[0] == HEADER | kind | (REFUSED if reason else 0)
    assert granted == [not reason, *[0] * (len(got) - 1)], "the header alone, and only of what was done"
    if kind == Request.READ and not reason:
        assert bytes(got[1:]) == results[:MAX_PAYLOAD] and left == list(results[MAX_PAYLOAD:])
    else:
        assert left == list(results)
        assert got[1] == state
        assert len(got) - 1 == (Status.SIZE if kind in (Request.STATUS, Request.IDENTIFY) else 1)
        if len(got) > 2:
            assert Status.parse(bytes(got[1:])) == STATUS


def test_while_no_reply_is_sent_bytes_are_the_frames():
    dut = ReplyBytes(TARGET_ID, BUILD)

    async def bench(ctx):
        report(ctx, dut, kind=Request.READ, reason=Reason.WAIT, result=0xFF, more=1, load=1)
        for index in (-1, 0, 1, 16, 27, 200):
            ctx.set(dut.index, index % 256)
            ctx.set(dut.frame, 0x35 + index & 0xFF)
            await ctx.tick().repeat(5)
            assert ctx.get(dut.o) == 0x35 + index & 0xFF
            assert not ctx.get(dut.take) and not ctx.get(dut.granted)

    simulate(dut, bench)


@pytest.mark.parametrize("width", [16, 18])
def test_a_buffer_keeps_results_until_they_are_forgotten(width):
    target = Target("stub", rows=2, columns=2, data_width=width)
    size, draw = result_bytes(width), random.Random(width)
    words = [
        (draw.randrange(3), draw.randrange(2), draw.randrange(-(1 << width - 1), 1 << width - 1)) for _ in range(5)
    ]
    raw = b"".join(
        bytes([kind | last << 2]) + (value & (1 << 8 * (size - 1)) - 1).to_bytes(size - 1, "little")
        for kind, last, value in words
    )
    dut = ResultBuffer(target)

    async def bench(ctx):
        async def pulse(port):
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        async def read(count: int) -> bytes:
            got = []
            for _ in range(count):
                assert ctx.get(dut.more)
                await ctx.tick().repeat(2)
                got.append(ctx.get(dut.data))
                await pulse(dut.take)
            return bytes(got)

        async def write(kind: int, last: int, value: int):
            ctx.set(dut.out.payload, {"kind": kind, "last": last, "value": value})
            ctx.set(dut.out.valid, 1)
            await ctx.tick().until(dut.out.ready)
            ctx.set(dut.out.valid, 0)

        await pulse(dut.clear)
        for word in words:
            await write(*word)
        assert await read(7) == raw[:7]
        await pulse(dut.rewind)
        assert await read(size) == raw[:size]
        await pulse(dut.forget)
        assert await read(len(raw) - size) == raw[size:] and not ctx.get(dut.more)
        await pulse(dut.rewind)
        assert await read(len(raw) - size) == raw[size:]
        await pulse(dut.forget)
        await pulse(dut.clear)
        assert not ctx.get(dut.more)
        ctx.set(dut.out.valid, 1)
        await ctx.tick().repeat(1000)
        ctx.set(dut.out.valid, 0)
        held = 0
        while ctx.get(dut.more):
            await pulse(dut.take)
            held += 1
        assert held >= RESULT_BYTES

    simulate(dut, bench)
