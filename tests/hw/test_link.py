"""The host link at byte level, against a stand-in for the engine with the engine's ports."""

import random
import zlib
from collections import deque
from dataclasses import replace

import exchange
import pytest
from amaranth.hdl import ClockDomain, DomainRenamer, Module
from amaranth.sim import Simulator
from exchange import CELL, CYCLES, FRAMES, HIDDEN, IMAGE, LOGITS, REFUSALS, SATURATIONS, SESSION, STALLS, STATE

from fdht.hw.shell.link import HostLink
from fdht.hw.shell.link_frames import CRC32
from fdht.hw.shell.uart import UARTReceiver, UARTTransmitter, divisor
from fdht.spec.errors import SpecError
from fdht.spec.protocol import (
    ESCAPE,
    FLAG,
    MAX_PAYLOAD,
    REFUSED,
    RESULT_BYTES,
    SLOT_BYTES,
    STATUS_BYTES,
    TALLIES,
    VERSION,
    OutputKind,
    Reason,
    Request,
    Status,
    decode,
    encode,
    image_check,
    result_bytes,
    start_payload,
    target_id,
    word_bytes,
)
from fdht.spec.target import ALL, GENERIC, Target

TARGET = Target("stub", rows=2, columns=2)
PATIENCE = 128


class Engine:
    """What an accelerator does at its ports: keeps what it gets; a step is over after `words` inputs."""

    def __init__(self, link: HostLink, words: int = 8):
        self.link, self.words, self.slow = link, words, False
        self.image, self.x, self.state, self.runs, self.resets = [], [], [], [], 0
        self.results: deque = deque()
        self.accepts = True
        self.room = 1 << 30  # inputs it still takes

    def finish(self, final: bool) -> list[tuple[OutputKind, int, int]]:
        """Kind, last and value of each result of the step whose inputs came last, which may be the `final` one."""
        return [(OutputKind.LOGIT, 1, -sum(self.x[-self.words :]))]

    async def bench(self, ctx):
        link, draw, busy, wanted = self.link, random.Random(3), False, 0
        ctx.set(link.image.ready, 1)
        while True:
            take = busy and self.accepts and self.room > 0 and (not self.slow or draw.random() < 0.02)
            ctx.set(link.busy, busy)
            ctx.set(link.x.ready, take)
            ctx.set(link.state.ready, take)
            ctx.set(link.out.valid, bool(self.results))
            if self.results:
                kind, last, value = self.results[0]
                ctx.set(link.out.payload, {"kind": kind, "last": last, "value": value})
            got = await ctx.tick().sample(
                link.image.valid,
                link.image.payload,
                link.x.valid & link.x.ready,
                link.x.payload,
                link.state.valid & link.state.ready,
                link.state.payload,
                link.out.valid & link.out.ready,
                link.start,
                link.reset,
                link.steps,
                link.use_state,
                link.every_h,
                link.keep,
            )
            image, image_word, x, x_word, state, state_word, sent, start, reset, *numbers = got[2:]
            if image:
                self.image.append(image_word)
            if state:
                self.state.append(state_word)
            if sent:
                self.results.popleft()
            if start and not busy:
                busy, wanted = True, numbers[0] * self.words
                self.runs.append(tuple(numbers))
            if x:
                self.x.append(x_word)
                wanted -= 1
                self.room -= 1
                if wanted % self.words == 0:
                    self.results.extend(self.finish(wanted == 0))
                busy = wanted > 0
            if reset:
                self.resets += 1
                busy = False


def tally(index: int) -> int:
    """What the stand-in has counted: every byte tells the number, and which it is."""
    return (index * 0x01030507 + 0x04030201) & 0xFFFFFFFF


async def count(ctx, link: HostLink):
    """The engine's tallies, 3 cycles after their number."""
    late = deque([0] * 2, maxlen=2)
    while True:
        index = ctx.get(link.tally_index)
        ctx.set(link.tally, tally(late[0]))
        late.append(index)
        await ctx.tick()


class Host:
    """Sends frames and takes replies, byte by byte."""

    def __init__(self, ctx, link: HostLink, seed: int | None = None):
        self.ctx, self.link, self.number = ctx, link, 0
        self.draw = random.Random(seed) if seed is not None else None

    async def write(self, raw: bytes):
        link = self.link.rx
        for byte in raw:
            self.ctx.set(link.payload, byte)
            self.ctx.set(link.valid, 1)
            await self.ctx.tick().until(link.ready)
            self.ctx.set(link.valid, 0)
            await self.ctx.tick().repeat(self.draw.randrange(2, 20) if self.draw else 2)

    async def frame(self) -> bytes:
        """The bytes of the next reply, flags included."""
        link, frame = self.link.tx, bytearray()
        for _ in range(20000):
            self.ctx.set(link.ready, not self.draw or self.draw.random() < 0.5)
            _, _, moved, byte = await self.ctx.tick().sample(link.valid & link.ready, link.payload)
            if not moved:
                continue
            frame.append(byte)
            if byte == FLAG and len(frame) > 1:
                self.ctx.set(link.ready, 0)
                return bytes(frame)
        raise AssertionError("the device does not answer")

    async def read(self):
        """The next reply."""
        frame = await self.frame()
        reply = decode(frame[1:-1])
        assert frame[0] == FLAG and reply is not None, f"the device sent a damaged frame: {frame.hex()}"
        return reply

    async def ask(self, kind: int, payload: bytes = b"", number: int | None = None):
        """Sends a request, by default the next in order; kind and payload of its reply."""
        if number is None:
            self.number = number = (self.number + 1) % 16
        await self.write(encode(kind, number, payload))
        replied, answered, data = await self.read()
        assert answered == number % 16
        assert replied | REFUSED == kind | REFUSED
        return replied, data

    async def do(self, kind: int, payload: bytes = b"", number: int | None = None) -> bytes:
        replied, data = await self.ask(kind, payload, number)
        assert replied == kind, Reason(data[0] & 7)
        return data

    async def identify(self):
        return await self.do(Request.IDENTIFY, number=self.number)

    async def refused(self, kind: int, payload: bytes = b"", number: int | None = None) -> Reason:
        replied, data = await self.ask(kind, payload, number)
        assert replied & REFUSED and len(data) == 1
        return Reason(data[0] & 7)

    async def status(self):
        data = await self.do(Request.STATUS, number=9)
        assert len(data) == Status.SIZE
        return Status.parse(data)


def run(scenario, target: Target = TARGET, seed: int | None = None):
    link = HostLink(target, build=0x12345678, patience=PATIENCE)
    engine = Engine(link)
    sim = Simulator(link)
    sim.add_clock(1e-6)
    done = []

    async def bench(ctx):
        host = Host(ctx, link, seed)
        await host.identify()
        assert engine.resets == 1, "the first comes without being asked for"
        engine.resets = 0
        await scenario(ctx, host, engine)
        done.append(True)

    sim.add_testbench(bench)
    sim.add_testbench(engine.bench, background=True)
    if target.build.features.tallies:

        async def counting(ctx):
            await count(ctx, link)

        sim.add_testbench(counting, background=True)
    sim.run()
    assert done


def words(values, size: int) -> bytes:
    return b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little") for value in values)


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("input_width, data_width", [(8, 16), (12, 18)])
def test_image_state_frames_and_results(seed, input_width, data_width):
    target = Target("stub", rows=2, columns=2, input_width=input_width, data_width=data_width)
    draw = random.Random(5)
    image = [draw.randrange(1 << 16) for _ in range(150)] + [FLAG, ESCAPE, FLAG << 8, ESCAPE << 8]
    state = [draw.randint(-(1 << data_width - 1), (1 << data_width - 1) - 1) for _ in range(6)]
    x = [draw.randrange(1 << input_width) for _ in range(16)]

    async def scenario(ctx, host, engine):
        identity = Status.parse(await host.identify())
        assert (identity.version, identity.target, identity.build) == (VERSION, target_id(target), 0x12345678)
        assert identity.image == image_check(b"")
        raw = words(image, 2)
        for at in range(0, len(raw), MAX_PAYLOAD):
            await host.do(Request.IMAGE, raw[at : at + MAX_PAYLOAD])
        await host.do(Request.START, start_payload(2, use_state=True, keep=True))
        assert (await host.status()).busy
        await host.do(Request.STATE, words(state, word_bytes(data_width)))
        raw = words(x, word_bytes(input_width))
        for at in range(0, len(raw), 6 * word_bytes(input_width)):
            await host.do(Request.X, raw[at : at + 6 * word_bytes(input_width)])
        assert not (await host.status()).busy
        assert engine.image == image
        assert (await host.status()).image == image_check(words(image, 2))
        assert engine.state == state
        assert engine.x == x
        assert engine.runs == [(2, 1, 0, 1)]
        size = result_bytes(data_width)
        result = await host.do(Request.READ)
        assert result == await host.do(Request.READ, number=host.number), "a repeated READ repeats its answer"
        values = [int.from_bytes(result[k + 1 : k + size], "little", signed=True) for k in range(0, len(result), size)]
        assert values == [-sum(x[:8]), -sum(x[8:])]
        assert all(result[k] == OutputKind.LOGIT.value | 1 << 2 for k in range(0, len(result), size))
        assert await host.do(Request.READ) == b""

    run(scenario, target, seed)


def test_the_check_is_of_what_was_loaded_last():
    first, second = bytes(range(60)), bytes(range(60, 102))

    async def scenario(ctx, host, engine):
        await host.do(Request.IMAGE, first[:20])
        await host.do(Request.IMAGE, first[20:])
        assert (await host.status()).image == image_check(first)
        await host.do(Request.IMAGE, second, number=host.number)  # a repeat: not done
        assert await host.refused(Request.IMAGE, second[:3], number=host.number + 1) == Reason.LENGTH
        await host.do(Request.RESET)
        assert (await host.status()).image == image_check(first), "it is still there"
        await host.do(Request.START, start_payload(1))
        assert await host.refused(Request.IMAGE, second) == Reason.BUSY
        await host.do(Request.RESET, number=host.number)
        assert (await host.status()).image == image_check(first)
        await host.do(Request.IMAGE, second)
        assert (await host.status()).image == image_check(second)
        await host.do(Request.IMAGE, first)
        assert (await host.status()).image == image_check(second + first), "not what anybody meant to load"

    run(scenario)


def test_tallies_from_one_on():
    """Asked for with a number; a status without one stays as it is, in between and while a run is under way."""
    target = Target("stub", rows=2, columns=2, build=replace(GENERIC, features=replace(ALL, tallies=True)))

    async def scenario(ctx, host, engine):
        await host.do(Request.START, start_payload(1))
        for first in (0, 5, 0x7E7D, 48, 0xFFFF):
            data = await host.do(Request.STATUS, first.to_bytes(2, "little"), number=3)
            assert Status.parse(data) == await host.status()
            counts = [int.from_bytes(data[at : at + 4], "little") for at in range(STATUS_BYTES, len(data), 4)]
            assert counts == [tally(first + k & 0xFFFF) for k in range(TALLIES)]
        await host.do(Request.STATUS, number=4)

    run(scenario, target)


@pytest.mark.parametrize("size", range(8))
def test_crc(size):
    """Against zlib's, of every number of bytes."""
    data, crc = random.Random(size).randbytes(size), CRC32()

    async def bench(ctx):
        ctx.set(crc.step, 1)
        for byte in data:
            for half in (byte & 15, byte >> 4):
                ctx.set(crc.i, half)
                await ctx.tick()
        assert ctx.get(crc.value) == zlib.crc32(data)
        for byte in zlib.crc32(data).to_bytes(4, "little"):
            assert not ctx.get(crc.match)
            for half in (byte & 15, byte >> 4):
                ctx.set(crc.i, half)
                await ctx.tick()
        assert ctx.get(crc.match)
        ctx.set(crc.clear, 1)
        await ctx.tick()
        assert ctx.get(crc.value) == 0

    sim = Simulator(crc)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_counters_are_reported():
    async def scenario(ctx, host, engine):
        for name, value in (("cycles", 0x01020304), ("stalls", 0xFFFEFDFC), ("saturations", 0x7E7D7E7D)):
            ctx.set(getattr(host.link, name), value)
        status = await host.status()
        assert (status.cycles, status.stalls, status.saturations) == (0x01020304, 0xFFFEFDFC, 0x7E7D7E7D)

    run(scenario)


def test_a_damaged_frame_changes_nothing_and_is_reported():
    async def scenario(ctx, host, engine):
        good = encode(Request.IMAGE, host.number + 1, bytes(range(20)))
        draw = random.Random(6)
        for count in range(1, 16):
            at, bit = draw.randrange(1, len(good) - 1), draw.randrange(8)
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            if bad[at] in (FLAG, ESCAPE):
                bad[at] ^= 1 << (bit + 1) % 8
            await host.write(bytes(bad))
            kind, _, data = await host.read()
            assert kind & REFUSED and data[0] & 7 == Reason.DAMAGED
            assert (await host.status()).errors == count
        assert engine.image == []
        await host.write(good)
        assert (await host.read())[0] == Request.IMAGE
        assert len(engine.image) == 10

    run(scenario)


@pytest.mark.parametrize("flags", [1, 2])
def test_a_cut_frame_ends_with_the_next_flag(flags):
    async def scenario(ctx, host, engine):
        good = encode(Request.IMAGE, host.number + 1, bytes(range(20)))
        for cut in range(2, len(good) - 1, 3):
            await host.write(good[:cut])
            await host.write(encode(Request.STATUS, 1)[2 - flags :])
            if flags == 2:
                kind, _, data = await host.read()
                assert kind & REFUSED and data[0] & 7 == Reason.DAMAGED
                assert (await host.read())[0] == Request.STATUS
            else:  # the two are one
                assert (await host.read())[0] & REFUSED
        assert engine.image == []

    run(scenario)


def test_what_a_slot_held_before_does_not_complete_a_cut_frame():
    payload = bytes(range(20))

    async def scenario(ctx, host, engine):
        good = encode(Request.IMAGE, host.number, payload)
        for _ in range(16):
            await host.do(Request.IMAGE, payload)
        host.number -= 1
        for cut in range(2, len(good) - 1):
            before = len(engine.image)
            await host.write(encode(Request.IMAGE, host.number + 1, payload)[:cut] + bytes([FLAG]))
            kind, _, data = await host.read()
            assert kind & REFUSED and data[0] & 7 == Reason.DAMAGED
            assert len(engine.image) == before

    run(scenario)


def test_a_frame_too_long_is_refused():
    async def scenario(ctx, host, engine):
        await host.do(Request.IMAGE, bytes(MAX_PAYLOAD))
        for length in (SLOT_BYTES - 4, 2 * MAX_PAYLOAD):
            await host.write(encode(Request.IMAGE, host.number + 1, bytes(length)))
            kind, _, data = await host.read()
            assert kind & REFUSED and data[0] & 7 == Reason.DAMAGED
        await host.do(Request.IMAGE, bytes(MAX_PAYLOAD))
        assert len(engine.image) == MAX_PAYLOAD

    run(scenario)


def test_what_makes_no_sense_is_refused_with_its_reason():
    async def scenario(ctx, host, engine):
        following = host.number + 1
        assert await host.refused(Request.IMAGE, b"123", number=following) == Reason.LENGTH
        for payload in (b"", start_payload(1)[:2], start_payload(1) * 2):
            assert await host.refused(Request.START, payload, number=following) == Reason.LENGTH
        assert await host.refused(Request.X, b"1", number=following) == Reason.IDLE
        assert await host.refused(Request.IMAGE, b"12", number=following + 1) == Reason.SEQUENCE
        assert engine.image == [] and engine.runs == []
        await host.do(Request.START, start_payload(1))
        assert await host.refused(Request.IMAGE, b"12") == Reason.BUSY
        assert await host.refused(Request.START, start_payload(1), number=host.number) == Reason.BUSY
        assert engine.image == [] and engine.runs == [(1, 0, 0, 0)]

    run(scenario)


def test_a_repeated_frame_is_done_once():
    async def scenario(ctx, host, engine):
        await host.do(Request.START, start_payload(1))
        await host.do(Request.X, b"abc")
        for _ in range(3):
            await host.do(Request.X, b"abc", number=host.number)
        await host.do(Request.START, start_payload(1), number=host.number - 1)
        assert bytes(engine.x) == b"abc" and len(engine.runs) == 1

    run(scenario)


def test_numbers_wrap():
    async def scenario(ctx, host, engine):
        host.number = 7
        await host.identify()
        for _ in range(0x20):
            await host.do(Request.IMAGE, b"12")
        assert len(engine.image) == 0x20

    run(scenario)


def test_an_engine_that_waits_does_not_block_the_link():
    payload = bytes(range(100, 180))

    async def scenario(ctx, host, engine):
        engine.slow = True
        await host.do(Request.START, start_payload(10))
        replies = []
        engine.accepts = False
        assert await host.refused(Request.X, payload) == Reason.WAIT
        assert (await host.status()).busy
        engine.accepts = True
        while not replies or replies[-1] == REFUSED:
            assert len(replies) < 2 * len(payload), "nothing is taken"
            kind, data = await host.ask(Request.X, payload, number=host.number)
            assert not kind & REFUSED or data[0] & 7 == Reason.WAIT
            replies.append(kind & REFUSED)
        assert bytes(engine.x) == payload
        assert not (await host.status()).busy

    run(scenario)


def test_two_frames_at_once_are_done_in_order_and_a_third_is_lost():
    async def scenario(ctx, host, engine):
        await host.do(Request.START, start_payload(2))
        engine.accepts = False
        numbers = [(host.number + k) % 16 for k in (1, 2, 3)]
        for number, payload in zip(numbers, (b"1234", b"56", b"78"), strict=True):
            await host.write(encode(Request.X, number, payload))
        engine.accepts = True
        replies = [await host.read() for _ in range(2)]
        if replies[0][0] & REFUSED:  # the engine was not patient enough: both are refused, in order
            assert [Reason(data[0] & 7) for _, _, data in replies] == [Reason.WAIT, Reason.SEQUENCE]
        else:
            assert [number for _, number, _ in replies] == numbers[:2]
            assert bytes(engine.x) == b"123456"
        assert (await host.status()).errors == len(encode(Request.X, 3, b"78")) - 2

    run(scenario)


def test_results_wait_and_the_engine_waits_for_them():
    count = RESULT_BYTES // 3 + 50

    async def scenario(ctx, host, engine):
        engine.results.extend((OutputKind.HIDDEN, k % 2, k - 256) for k in range(count))
        await ctx.tick().repeat(4 * RESULT_BYTES)
        assert engine.results, "more results than the buffer holds"
        assert count - len(engine.results) >= RESULT_BYTES // 3
        received = b""
        for _ in range(count):
            received += await host.do(Request.READ)
            if len(received) >= 3 * count:
                break
        values = [int.from_bytes(received[k + 1 : k + 3], "little", signed=True) for k in range(0, 3 * count, 3)]
        assert values == [k - 256 for k in range(count)]
        assert [received[k] for k in range(0, 3 * count, 3)] == [k % 2 << 2 for k in range(count)]
        assert await host.do(Request.READ) == b""

    run(scenario)


def test_reset_ends_a_run_and_empties_the_buffers():
    async def scenario(ctx, host, engine):
        await host.do(Request.START, start_payload(3))
        await host.do(Request.X, bytes(8))
        engine.room = 3
        assert await host.refused(Request.X, bytes(5)) == Reason.WAIT
        assert len(engine.x) == 11
        await host.do(Request.RESET, number=host.number)
        assert engine.resets == 1
        assert not (await host.status()).busy
        assert await host.do(Request.READ) == b""
        engine.room = 8
        engine.x.clear()
        await host.do(Request.START, start_payload(1))
        await host.do(Request.X, bytes(range(8)))
        assert engine.x == list(range(8))

    run(scenario)


def test_noise_neither_hangs_nor_corrupts():
    draw = random.Random(8)

    async def scenario(ctx, host, engine):
        raw = encode(Request.IMAGE, host.number + 1, bytes(range(100)))
        for _ in range(8):
            noise = bytes(draw.choice((FLAG, ESCAPE, draw.randrange(256))) for _ in range(draw.randrange(1, 60)))
            broken = bytearray(raw)
            del broken[draw.randrange(len(raw)) :]
            ctx.set(host.link.tx.ready, 1)
            await host.write(noise + bytes(broken))
            await ctx.tick().repeat(3000)
            ctx.set(host.link.tx.ready, 0)
            assert engine.image == [] and engine.runs == []
        ctx.set(host.link.tx.ready, 1)
        await host.write(bytes([FLAG]))
        await ctx.tick().repeat(3000)
        assert not (await host.status()).busy
        await host.do(Request.IMAGE, bytes(range(100)))
        assert len(engine.image) == 50

    run(scenario)


class ExchangeEngine(Engine):
    """Gives the results of the recorded exchange."""

    def finish(self, final: bool) -> list[tuple[OutputKind, int, int]]:
        if not final:
            return []
        logits = [(OutputKind.LOGIT, int(k == len(LOGITS) - 1), value) for k, value in enumerate(LOGITS)]
        return [(OutputKind.HIDDEN, 1, HIDDEN), (OutputKind.CELL, 1, CELL), *logits]


def test_the_link_answers_byte_for_byte_as_recorded(monkeypatch):
    monkeypatch.setattr("fdht.hw.shell.link.target_id", lambda _: exchange.TARGET_ID)
    link = HostLink(TARGET, build=exchange.BUILD_ID, patience=PATIENCE)
    engine = ExchangeEngine(link, words=len(FRAMES[0]))
    answers = []

    async def bench(ctx):
        host = Host(ctx, link)
        for name, count in (("cycles", CYCLES), ("stalls", STALLS), ("saturations", SATURATIONS)):
            ctx.set(getattr(link, name), count)
        for what, request, _ in (*SESSION, *REFUSALS):
            engine.accepts = "WAIT" not in what
            ctx.set(link.collision, "collision" in what)
            await host.write(bytes.fromhex(request))
            answers.append((await host.frame()).hex())

    sim = Simulator(link)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(engine.bench, background=True)
    sim.run()
    for (what, _, expected), answer in zip((*SESSION, *REFUSALS), answers, strict=True):
        assert answer == expected, what
    assert engine.image == list(IMAGE) and engine.state == list(STATE)
    assert engine.x == [word for frame in FRAMES for word in frame]
    assert engine.runs == [(2, 1, 0, 0), (1, 0, 1, 1)]


@pytest.mark.parametrize("cycles", [4, 8, 25])
@pytest.mark.parametrize("drift", [-0.02, 0.0, 0.02])
def test_uart_loop(cycles, drift):
    draw = random.Random(cycles)
    sent = [0x00, 0xFF, 0x55, *(draw.randrange(256) for _ in range(30))]
    receiver, transmitter = UARTReceiver(cycles), UARTTransmitter(cycles)
    m = Module()
    m.domains += ClockDomain("other")
    m.submodules.receiver = receiver
    m.submodules.transmitter = DomainRenamer("other")(transmitter)
    m.d.comb += [receiver.pin.eq(transmitter.pin), receiver.bytes.ready.eq(1)]
    received = []

    async def send(ctx):
        for byte in sent:
            ctx.set(transmitter.bytes.payload, byte)
            ctx.set(transmitter.bytes.valid, 1)
            await ctx.tick("other").until(transmitter.bytes.ready)
        ctx.set(transmitter.bytes.valid, 0)
        await ctx.tick("other").repeat(15 * cycles)

    async def receive(ctx):
        async for _, _, valid, byte, overrun in ctx.tick().sample(
            receiver.bytes.valid, receiver.bytes.payload, receiver.overrun
        ):
            assert not overrun
            if valid:
                received.append(byte)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_clock(1e-6 * (1 + drift), domain="other")
    sim.add_testbench(send)
    sim.add_testbench(receive, background=True)
    sim.run()
    assert received == sent


@pytest.mark.parametrize("cycles", [4, 9])
def test_a_byte_without_a_stop_bit_is_reported_and_not_delivered(cycles):
    """Between two that have one. What is left of a stop bit that is low is a start bit, and the line at rest after it
    a byte of ones.
    """
    receiver = UARTReceiver(cycles)
    received, overruns = [], []

    async def bench(ctx):
        ctx.set(receiver.bytes.ready, 1)
        for byte, stop in ((0x5A, 1), (0xC3, 0), (0x00, 0), (0x99, 1)):
            for level in (0, *(byte >> k & 1 for k in range(8)), stop):
                ctx.set(receiver.pin, level)
                await ctx.tick().repeat(cycles)
            ctx.set(receiver.pin, 1)
            await ctx.tick().repeat(12 * cycles)

    async def watch(ctx):
        async for _, _, valid, byte, overrun in ctx.tick().sample(
            receiver.bytes.valid, receiver.bytes.payload, receiver.overrun
        ):
            if valid:
                received.append(byte)
            if overrun:
                overruns.append(len(received))

    sim = Simulator(receiver)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(watch, background=True)
    sim.run()
    assert [byte for byte in received if byte != 0xFF] == [0x5A, 0x99], "each once"
    assert len(overruns) == 2, "one for each byte that was dropped"


def test_a_byte_that_nobody_takes_is_reported():
    """The one after it is delivered."""
    receiver, overruns = UARTReceiver(4), []

    async def bench(ctx):
        for byte in (0x12, 0x34):
            for level in (0, *(byte >> k & 1 for k in range(8)), 1):
                ctx.set(receiver.pin, level)
                await ctx.tick().repeat(4)
        await ctx.tick().repeat(8)
        assert ctx.get(receiver.bytes.valid) and ctx.get(receiver.bytes.payload) == 0x34

    async def watch(ctx):
        async for _, _, overrun in ctx.tick().sample(receiver.overrun):
            overruns.append(overrun)

    sim = Simulator(receiver)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(watch, background=True)
    sim.run()
    assert sum(overruns) == 1


def test_a_rate_the_clock_cannot_make_is_refused():
    assert divisor(24_000_000, 3_000_000) == 8
    with pytest.raises(SpecError, match="baud"):
        divisor(24_000_000, 12_000_000)
    with pytest.raises(SpecError, match="baud"):
        divisor(25_000_000, 4_500_000)


def test_codec_is_its_own_inverse():
    payload = bytes(range(256))[:MAX_PAYLOAD]
    raw = encode(9, 300, payload)
    assert raw[0] == raw[-1] == FLAG and FLAG not in raw[1:-1]
    assert decode(raw[1:-1]) == (9, 300 % 16, payload)
    assert decode(raw[1:-2]) is None and decode(b"") is None
