"""Frames of the host link, byte by byte: received, checked and sent."""

import random

import pytest
from amaranth.sim import Simulator

from fdht.hw.shell.link_frames import FrameReceiver, FrameWalker
from fdht.spec.protocol import CHECK, ESCAPE, FLAG, INVERT, Request, encode

PAYLOADS = [b"", b"a", bytes([FLAG]), bytes([ESCAPE, FLAG, ESCAPE]), random.Random(4).randbytes(40)]


def simulate(dut, *benches) -> None:
    """The first bench to its end, with the others in the background."""
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for number, bench in enumerate(benches):
        sim.add_testbench(bench, background=number > 0)
    sim.run()


def plain(frame: bytes) -> bytes:
    """What is between the flags of a frame, without escapes."""
    parts = frame[1:-1].split(bytes([ESCAPE]))
    return parts[0] + b"".join(bytes([part[0] ^ INVERT]) + part[1:] for part in parts[1:])


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_a_receiver_keeps_the_frame_in_work_while_the_next_comes(payload):
    first, second = encode(Request.IMAGE, 5, payload), encode(Request.X, 6, payload[::-1])
    dut = FrameReceiver()

    async def bench(ctx):
        async def write(raw: bytes) -> int:
            dropped = 0
            ctx.set(dut.bytes.valid, 1)
            for byte in raw:
                ctx.set(dut.bytes.payload, byte)
                _, _, ready, lost = await ctx.tick().sample(dut.bytes.ready, dut.dropped)
                assert ready
                dropped += lost
            ctx.set(dut.bytes.valid, 0)
            await ctx.tick()
            return dropped

        async def take() -> bytes:
            assert ctx.get(dut.valid)
            ctx.set(dut.take, 1)
            await ctx.tick()
            ctx.set(dut.take, 0)
            return await read()

        async def read() -> bytes:
            got = []
            for index in range(-1, ctx.get(dut.length)):
                ctx.set(dut.address, index % 256)
                await ctx.tick().repeat(2)
                got.append(ctx.get(dut.data))
            return bytes(got)

        assert await write(first) == 0
        assert await take() == plain(first) and not ctx.get(dut.valid)
        assert await write(second) == 0
        assert await read() == plain(first)
        assert await write(first) == len(first) - 2, "a third: all but the flags"
        assert await take() == plain(second)

    simulate(dut, bench)


def source(dut: FrameWalker, data: bytes):
    """A bench that shows byte `index` of a header and what follows it, a cycle late."""

    async def bench(ctx):
        while True:
            _, _, index = await ctx.tick().sample(dut.index)
            at = (index + 1) % 256
            ctx.set(dut.i, data[at] if at < len(data) else 0)
            ctx.set(dut.ended, at == len(data))

    return bench


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
@pytest.mark.parametrize("ready", [1.0, 0.4])
def test_a_reply_is_sent_as_the_protocol_has_it(payload, ready):
    """Twice, each time after a check. A host that always takes it has a byte in 6 cycles, one more if it is escaped."""
    dut, frame, draw = FrameWalker(), encode(Request.READ, 3, payload), random.Random(7)
    sent, cycles = [], []

    async def sink(ctx):
        while True:
            ctx.set(dut.tx.ready, draw.random() < ready)
            _, _, moved, byte = await ctx.tick().sample(dut.tx.valid & dut.tx.ready, dut.tx.payload)
            if moved:
                sent.append(byte)

    async def bench(ctx):
        for _ in range(2):
            ctx.set(dut.idle, 1)
            await ctx.tick().repeat(2)
            ctx.set(dut.idle, 0)
            for phase, over in (
                (dut.checking, dut.done),
                (dut.opening, dut.tx.ready),
                (dut.replying, dut.done),
                (dut.closing, dut.done),
                (dut.ending, dut.tx.ready),
            ):
                ctx.set(phase, 1)
                cycles.append(1)
                while not (await ctx.tick().sample(over))[-1]:
                    cycles[-1] += 1
                ctx.set(phase, 0)

    simulate(dut, bench, source(dut, frame_body(payload)), sink)
    assert bytes(sent) == 2 * frame
    if ready == 1.0:
        size, ends = len(plain(frame)), 2  # an end, of payload or CRC, is seen in a cycle of its own
        escapes, begun = len(frame) - 2 - size, 1  # a cycle that the opening flag has already spent
        assert cycles[:5] == cycles[5:]
        assert sum(cycles[2:4]) == 6 * size + escapes + ends - begun


def frame_body(payload: bytes) -> bytes:
    """Header and payload of a reply to READ, number 3."""
    return plain(encode(Request.READ, 3, payload))[:-CHECK]


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_a_received_frame_is_checked_and_nothing_sent(payload):
    good = plain(encode(Request.X, 1, payload))
    for damage in (0, 0x10):
        body = bytes([*good[:-1], good[-1] ^ damage])
        dut = FrameWalker()
        sent = []

        async def bench(ctx, dut=dut, damage=damage):
            ctx.set(dut.idle, 1)
            ctx.set(dut.tx.ready, 1)
            await ctx.tick().repeat(2)
            ctx.set(dut.idle, 0)
            ctx.set(dut.checking, 1)
            await ctx.tick().until(dut.done)
            ctx.set(dut.checking, 0)
            assert ctx.get(dut.match) == (not damage)
            assert ctx.get(dut.index) == 0xFF

        async def watch(ctx, dut=dut, sent=sent):
            async for _, _, valid in ctx.tick().sample(dut.tx.valid):
                if valid:
                    sent.append(valid)

        simulate(dut, bench, source(dut, body), watch)
        assert not sent


def test_a_byte_taken_for_its_own_sake_is_not_counted():
    dut = FrameWalker()

    async def bench(ctx):
        ctx.set(dut.idle, 1)
        await ctx.tick()
        ctx.set(dut.idle, 0)
        ctx.set(dut.i, 0x5A)
        await ctx.tick()
        assert ctx.get(dut.byte) != 0x5A
        match = ctx.get(dut.match)
        ctx.set(dut.take, 1)
        await ctx.tick()
        ctx.set(dut.take, 0)
        ctx.set(dut.i, 0)
        await ctx.tick().repeat(3)
        assert (ctx.get(dut.byte), ctx.get(dut.index), ctx.get(dut.match)) == (0x5A, 0xFF, match)

    simulate(dut, bench)
