"""Requests of the host link: their order, the words they carry, and what becomes of them."""

import random

import pytest
from amaranth.sim import Simulator

from fdht.hw.shell.link_requests import Dispatcher, LoadedCRC, PayloadWords, RequestOrder
from fdht.spec.protocol import CHECK, Reason, Request, image_check, start_payload, word_bytes
from fdht.spec.target import Target

PATIENCE = 8


def simulate(dut, *benches) -> None:
    """The first bench to its end, with the others in the background."""
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for number, bench in enumerate(benches):
        sim.add_testbench(bench, background=number > 0)
    sim.run()


def test_the_last_number_and_the_eight_before_are_repeats_and_one_is_next():
    dut = RequestOrder()

    async def bench(ctx):
        for last in (0, 5, 15, 7):
            ctx.set(dut.number, last)
            ctx.set(dut.accept, 1)
            await ctx.tick()
            ctx.set(dut.accept, 0)
            assert ctx.get(dut.last) == last
            for number in range(16):
                ctx.set(dut.number, number)
                await ctx.tick()
                assert ctx.get(dut.repeated) == ((last - number) % 16 <= 8)
                assert ctx.get(dut.following) == (number == (last + 1) % 16)
                assert ctx.get(dut.last) == last

    simulate(dut, bench)


class Payload:
    """What is around PayloadWords: a frame's bytes by `taken`, two cycles later, and the register for one of them."""

    def __init__(self, dut: PayloadWords, kind: Request, data: bytes):
        self.dut, self.kind, self.data = dut, kind, data

    async def bench(self, ctx):
        dut, byte, before = self.dut, 0, 0
        ctx.set(dut.kind, self.kind)
        while True:
            frame = self.data + bytes(CHECK)
            ctx.set(dut.length, len(frame))
            ctx.set(dut.byte, byte)
            ctx.set(dut.data, frame[before])
            *_, before, load, data = await ctx.tick().sample(dut.taken, dut.load, dut.data)
            byte = data if load else byte

    async def carry_out(self, ctx) -> bool:
        """Whether all of it was done; else the engine was too slow."""
        dut = self.dut
        while True:
            await ctx.tick()
            if ctx.get(dut.complete):
                break
            await ctx.tick()
            ctx.set(dut.gather, 1)
            whole = ctx.get(dut.whole)
            await ctx.tick()
            ctx.set(dut.gather, 0)
            moved = tired = False
            ctx.set(dut.offer, whole)
            while whole and not moved and not tired:
                *_, moved, tired = await ctx.tick().sample(dut.moved, dut.tired)
            ctx.set(dut.offer, 0)
            if tired and not moved:
                return False
        await self.restart(ctx)
        return True

    async def restart(self, ctx):
        ctx.set(self.dut.restart, 1)
        await ctx.tick()
        ctx.set(self.dut.restart, 0)
        await ctx.tick().repeat(2)


@pytest.mark.parametrize("ready", [1.0, 0.6, 0.1])
@pytest.mark.parametrize("input_width, data_width", [(8, 16), (12, 18)])
@pytest.mark.parametrize("kind", [Request.IMAGE, Request.X, Request.STATE])
def test_words_reach_the_engine_once_and_in_order(kind, input_width, data_width, ready):
    """From a frame that is carried out again while the engine was too slow."""
    dut = PayloadWords(Target("stub", rows=2, columns=2, input_width=input_width, data_width=data_width), PATIENCE)
    streams = {Request.IMAGE: (dut.image, 16), Request.X: (dut.x, input_width), Request.STATE: (dut.state, data_width)}
    port, width = streams.pop(kind)
    size = 2 if kind == Request.IMAGE else word_bytes(width)
    draw = random.Random(width)
    words = [draw.randrange(1 << width) for _ in range(20)]
    payload = Payload(dut, kind, b"".join(word.to_bytes(size, "little") for word in words))
    got, others, taken = [], [], []

    async def engine(ctx):
        while True:
            ctx.set(port.ready, draw.random() < ready)
            *_, moved, word, start, one, other = await ctx.tick().sample(
                port.valid & port.ready, port.payload, dut.start, *(each.valid for each, _ in streams.values())
            )
            others.append(start | one | other)
            if moved:
                got.append(word % (1 << width))

    async def bench(ctx):
        await payload.restart(ctx)
        assert not ctx.get(dut.misfit)
        while not await payload.carry_out(ctx):
            taken.append(ctx.get(dut.taken))
        assert ctx.get(dut.taken) == 0

    simulate(dut, bench, payload.bench, engine)
    assert got == words and not any(others)
    assert not [each for each in taken if each % size], "no part of a word is done"
    assert bool(taken) == (ready < 0.2)


def test_what_start_says_stays_until_the_next():
    dut, starts = PayloadWords(Target("stub", rows=2, columns=2), PATIENCE), []
    payload = Payload(dut, Request.START, start_payload(0))
    said = (dut.steps, dut.use_state, dut.every_h, dut.keep)
    asked = [(0x1234, 1, 0, 1), (0xFEDC, 0, 1, 0)]

    async def watch(ctx):
        while True:
            *_, start, steps, use_state, every_h, keep = await ctx.tick().sample(dut.start, *said)
            if start:
                starts.append((steps, use_state, every_h, keep))

    async def bench(ctx):
        await payload.restart(ctx)
        for each in asked:
            steps, *options = each
            payload.data = start_payload(steps, *map(bool, options))
            assert await payload.carry_out(ctx)
            assert tuple(ctx.get(port) for port in said) == each

    simulate(dut, bench, payload.bench, watch)
    assert starts == asked


@pytest.mark.parametrize("input_width, data_width", [(8, 16), (12, 18)])
@pytest.mark.parametrize("kind", [Request.IMAGE, Request.START, Request.X, Request.STATE])
def test_a_payload_is_of_whole_words(kind, input_width, data_width):
    dut = PayloadWords(Target("stub", rows=2, columns=2, input_width=input_width, data_width=data_width), PATIENCE)
    size = {Request.IMAGE: 2, Request.X: word_bytes(input_width), Request.STATE: word_bytes(data_width)}.get(kind)

    async def bench(ctx):
        ctx.set(dut.kind, kind)
        for count in range(20):
            ctx.set(dut.length, count + CHECK)
            assert ctx.get(dut.misfit) == (count % size != 0 if size else count != len(start_payload(1)))

    simulate(dut, bench)


def test_the_check_is_of_the_bytes_since_the_last_anew():
    dut, draw = LoadedCRC(), random.Random(9)
    first, second = draw.randbytes(12), draw.randbytes(7)

    async def bench(ctx):
        async def pulse(port):
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        async def load(data: bytes):
            for byte in data:
                await pulse(dut.begin)
                ctx.set(dut.data, byte)
                await pulse(dut.valid)
                await ctx.tick()
                ctx.set(dut.data, ~byte & 0xFF)
                await ctx.tick().repeat(draw.randrange(1, 4))

        ctx.set(dut.loading, 1)
        assert ctx.get(dut.value) == image_check(b"")
        await load(first[:5])
        assert ctx.get(dut.value) == image_check(first[:5])
        await load(first[5:])
        assert ctx.get(dut.value) == image_check(first)
        ctx.set(dut.loading, 0)
        ctx.set(dut.data, 0x55)
        await pulse(dut.valid)
        await ctx.tick()
        await pulse(dut.anew)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.value) == image_check(first), "it is still there"
        ctx.set(dut.loading, 1)
        await load(second)
        assert ctx.get(dut.value) == image_check(second)

    simulate(dut, bench)


PHASES = ("checking", "opening", "replying", "closing", "ending")
PULSES = ("damaged", "gather", "offer", "loading", "rewind", "forget", "reset")
GOOD = {"match": 1, "following": 1, "whole": 1, "moved": 1}


def carry_out(kind: Request, words: int = 0, **inputs: int):
    """What Dispatcher does with one request of so many words: the reason, whether it is `numbered`, and what else."""
    dut = Dispatcher()
    phases: list[str] = []
    pulses = dict.fromkeys(PULSES, 0)
    outcome: list[int] = []

    async def bench(ctx):
        await ctx.tick()  # the reset after power-up
        for name, value in (GOOD | inputs | {"data": kind | 0x70, "done": 1, "sent": 1, "valid": 1}).items():
            ctx.set(getattr(dut, name), value)
        offered = 0
        for _ in range(200):
            ctx.set(dut.complete, offered == words)
            _, _, take, *seen = await ctx.tick().sample(dut.take, *(getattr(dut, name) for name in PULSES + PHASES))
            if take:
                ctx.set(dut.valid, 0)
            for name, value in zip(PULSES, seen, strict=False):
                pulses[name] += value
            offered += seen[PULSES.index("offer")]
            phases.extend(name for name, value in zip(PHASES, seen[len(PULSES) :], strict=True) if value)
            if phases and phases[-1] == "closing" and not outcome:
                assert ctx.get(dut.kind) == kind
                outcome.extend((ctx.get(dut.reason), ctx.get(dut.numbered)))
            if ctx.get(dut.idle) and phases:
                break
        assert phases == list(PHASES), "each once, in this order"

    simulate(dut, bench)
    return (*outcome, {name: count for name, count in pulses.items() if count})


@pytest.mark.parametrize("kind", Request)
def test_a_damaged_frame_is_refused_whatever_it_is(kind):
    assert carry_out(kind, 3, match=0, repeated=1) == (Reason.DAMAGED, 0, {"damaged": 1})


@pytest.mark.parametrize("busy", [0, 1])
@pytest.mark.parametrize("following", [0, 1])
def test_status_and_identify_have_no_place_in_the_order(following, busy):
    others = {"repeated": 1 - following, "following": following, "busy": busy}
    assert carry_out(Request.STATUS, **others) == (0, 0, {})
    assert carry_out(Request.IDENTIFY, **others) == (0, 1, {}), "numbers begin anew at its own"


ORDERED = [kind for kind in Request if kind not in (Request.STATUS, Request.IDENTIFY)]


@pytest.mark.parametrize("kind", ORDERED)
def test_a_request_out_of_order_does_nothing(kind):
    rewound = {"rewind": 1} if kind == Request.READ else {}
    assert carry_out(kind, 3, repeated=1, following=0) == (0, 0, rewound)
    assert carry_out(kind, 3, repeated=0, following=0) == (Reason.SEQUENCE, 0, {})


@pytest.mark.parametrize("busy", [0, 1])
def test_reading_and_resetting_are_always_done(busy):
    assert carry_out(Request.READ, busy=busy, misfit=1) == (0, 1, {"forget": 1})
    assert carry_out(Request.RESET, busy=busy, misfit=1) == (0, 1, {"reset": 1})


@pytest.mark.parametrize("kind", [Request.IMAGE, Request.START, Request.X, Request.STATE])
def test_words_are_moved_when_they_may(kind):
    """Each gathered and offered once; or a reason, and what was offered until then."""
    during = kind in (Request.X, Request.STATE)
    loading = {"loading": 3} if kind == Request.IMAGE else {}
    assert carry_out(kind, 3, busy=during) == (0, 1, {"gather": 3, "offer": 3, **loading})
    assert carry_out(kind, 0, busy=not during) == (0, 1, {}), "nothing to do"
    assert carry_out(kind, 3, busy=not during) == (Reason.IDLE if during else Reason.BUSY, 1, {})
    assert carry_out(kind, 3, busy=during, misfit=1) == (Reason.LENGTH, 1, {})
    began = {"loading": 1} if loading else {}
    assert carry_out(kind, 3, busy=during, moved=0, tired=1) == (Reason.WAIT, 1, {"gather": 1, "offer": 1, **began})


def test_the_engine_is_reset_after_power_up():
    dut = Dispatcher()

    async def bench(ctx):
        assert ctx.get(dut.reset) and not ctx.get(dut.anew)
        await ctx.tick()
        assert not ctx.get(dut.reset)

    simulate(dut, bench)
