"""The stream blocks at the IP block's edge: nothing lost, nothing twice, every packet of the right length."""

import random

import pytest
from amaranth.sim import Simulator

from fdht.hw.shell.axi import LargestLogit
from fdht.hw.shell.packets import PacketGate, RegisterSlice, StreamGate
from fdht.spec.rounds import PACKET_FLAGS, Frame
from fdht.spec.target import Target

PAUSES = (0.0, 0.5)


def drive(dut, given: list, into: float, out: float, take, watch=None, **constants: int) -> list:
    """Offers payloads with random pauses, and returns what `take` makes of each that comes out.

    Args:
        watch: looks on.
    """
    draw, seen = random.Random(5), []

    async def source(ctx):
        for name, value in constants.items():
            ctx.set(getattr(dut, name), value)
        for payload in given:
            while draw.random() < into:
                await ctx.tick()
            ctx.set(dut.i.payload, payload)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(60)

    async def sink(ctx):
        while True:
            ctx.set(dut.o.ready, draw.random() >= out)
            _, _, valid, ready, payload = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                seen.append(take(payload))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(source)
    sim.add_testbench(sink, background=True)
    if watch is not None:
        sim.add_testbench(watch, background=True)
    sim.run()
    return seen


@pytest.mark.parametrize("into", PAUSES)
@pytest.mark.parametrize("out", PAUSES)
def test_a_slice_passes_everything_once_and_in_order(into, out):
    words = list(range(1, 200))
    assert drive(RegisterSlice(8), words, into, out, int) == words


def test_a_slice_passes_a_word_every_cycle():
    dut, seen = RegisterSlice(8), []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        for k in range(50):
            ctx.set(dut.i.payload, k)
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            seen.extend([word] if valid else [])

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == list(range(49))


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("into", PAUSES)
def test_every_packet_gets_its_length(lanes, into):
    """Random packets, most of another length than they should have; one that is right is never touched."""
    draw, length = random.Random(lanes), 7
    dut = PacketGate(8, lanes, 8)
    given, expected = [], []
    for _ in range(60):
        size = length if draw.random() < 0.4 else draw.randrange(2 * length + 1)
        words = [draw.randrange(1, 256) for _ in range(size)]
        beats = [words[k : k + lanes] for k in range(0, size, lanes)]
        beats += [[]] if not beats or draw.random() < 0.1 else []  # an end of its own, with no words
        for k, beat in enumerate(beats):
            given += [{"words": [0] * lanes, "keep": 0, "last": 0}] if draw.random() < 0.1 else []
            filled = beat + [0] * (lanes - len(beat))
            given.append({"words": filled, "keep": (1 << len(beat)) - 1, "last": int(k == len(beats) - 1)})
        right = size == length and bool(beats[-1])
        expected.append((words[:length] + [0] * (length - size), right))

    def take(payload):
        return [*(int(word) for word in payload.words), bool(payload.faulty)]

    seen = drive(dut, given, into, 0.3, take, open=1, length=length)
    per = -(-length // lanes)
    assert len(seen) == per * len(expected)
    for k, (words, right) in enumerate(expected):
        mine = seen[per * k : per * (k + 1)]
        assert [word for *beat, _ in mine for word in beat][:length] == words
        assert any(faulty for *_, faulty in mine) != right


@pytest.mark.parametrize("into", PAUSES)
@pytest.mark.parametrize("count, apart", [(0, 0), (5, 0), (3, 1), (8, 0)])
def test_every_frame_says_whose_it_is(count, apart, into):
    """Frames of any length and any stream: those of streams that there are have a beat in front, others are dropped. Of
    nobody's packet that beat is left.
    """
    draw, length, lanes = random.Random(count), 7, 2
    target = Target("streams", 2, lanes, input_lanes=lanes, streams=8, gates=2)
    dut, given, expected = StreamGate(target, 8), [], []
    for _ in range(80):
        size = length if draw.random() < 0.4 else draw.randrange(2 * length + 1)
        words, stream, flags = [draw.randrange(1, 256) for _ in range(size)], draw.randrange(8), draw.randrange(8)
        nobody = (draw.random() < 0.2) << PACKET_FLAGS.index("nobody")
        beats = [words[k : k + lanes] for k in range(0, size, lanes)]
        beats += [[]] if not beats or draw.random() < 0.1 else []
        beats = [[], *beats] if draw.random() < 0.1 else beats
        for k, beat in enumerate(beats):
            others = {"stream": stream, "flags": flags | nobody if k == 0 else draw.randrange(16)}
            words_here = {"words": beat + [0] * (lanes - len(beat)), "keep": (1 << len(beat)) - 1}
            given.append({**words_here, **others, "last": int(k == len(beats) - 1)})
        if count and nobody:
            expected.append(((1 << target.input_width) - 1, stream, None, True))
        elif not count or stream < count:
            head = Frame(stream * (1 + apart), *(bool(flags >> bit & 1) for bit in range(3))).word
            right = size == length and bool(beats[-1])
            expected.append((head, stream, words[:length] + [0] * (length - size), right))
    wrong, unknown = [], []

    async def watch(ctx):
        while True:
            _, _, *pulses, stream = await ctx.tick().sample(dut.short | dut.long, dut.unknown, dut.stream)
            wrong.extend([stream] if pulses[0] else [])
            unknown.extend([1] if pulses[1] else [])

    def take(payload):
        return [*(int(word) for word in payload.words), bool(payload.faulty)]

    constants = {"open": 1, "length": length, "count": count, "apart": apart}
    seen = drive(dut, given, into, 0.3, take, watch, **constants)
    assert len(unknown) == 80 - len(expected)
    for head, _, words, right in expected:
        if count:
            first = seen.pop(0)
            assert first[0] == head and not first[-1]
        if words is None:
            continue
        mine, seen = seen[: -(-length // lanes)], seen[-(-length // lanes) :]
        assert [word for *beat, _ in mine for word in beat][:length] == words
        assert any(faulty for *_, faulty in mine) != right
    assert not seen
    assert not count or set(wrong) == {stream for _, stream, _, right in expected if not right}


@pytest.mark.parametrize("values", [[3], [-5, -5], [1, 7, 7, 2], [-9, -3, -3, -8], [0, 0, -1], list(range(-8, 8))])
def test_the_class_is_the_first_of_the_largest(values):
    dut = LargestLogit(8)

    async def bench(ctx):
        for turn in ([1, 2], values):  # what was there before is forgotten
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            assert not ctx.get(dut.some)
            for value in turn:
                ctx.set(dut.i, value)
                ctx.set(dut.valid, 1)
                await ctx.tick()
                ctx.set(dut.valid, 0)
                await ctx.tick()
            assert ctx.get(dut.some) and ctx.get(dut.o) == turn.index(max(turn))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
