"""What runs inside the simulator to test the IP block: cocotbext-axi on every interface, a checker of rules beside it.

The folder FDHT_AXI holds `model.image` and `case.npz` (see tests.sim.test_axi.Case); the report goes to `report.json`.
"""

import json
import os
import random
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import cocotb
import numpy as np
from axi_rules import CHANNELS, Rules
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from fdht.compiler.image import Image
from fdht.hw.shell.axi import Result
from fdht.spec.protocol import target_id, word_bytes
from fdht.spec.registers import (
    BYTES,
    IDENTIFICATION,
    MAP_VERSION,
    OFFSET,
    REGISTERS,
    Access,
    mask,
    registers_of,
)
from fdht.spec.rounds import NOBODY, PACKET_FLAGS, Frame
from fdht.spec.target import FRAME_FLAGS

WORK = Path(os.environ["FDHT_AXI"])
SEED = int(os.environ["FDHT_AXI_SEED"])
PERIOD = 10
CHUNK = 32
"""Accesses that are under way at once."""

LIMIT = 2_000_000
"""Nanoseconds after which a packet or a state that does not come is missing."""


class Block:
    """The IP block with a model, and masters and slaves on every interface."""

    def __init__(self, dut):
        self.dut = dut
        self.image = Image.load(WORK / "model.image")
        self.case = dict(np.load(WORK / "case.npz"))
        self.target = self.image.target
        self.registers = registers_of(self.target)
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **reset)
        self.x = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_x"), dut.aclk, **reset)
        self.state = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_state"), dut.aclk, **reset)
        self.results = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_result"), dut.aclk, **reset)
        self.rules = Rules(dut)

    @staticmethod
    async def start(dut, *, pauses: bool) -> "Block":
        """Out of reset, with the model loaded."""
        dut.aresetn.value = 0
        cocotb.start_soon(Clock(dut.aclk, PERIOD, unit="ns").start())
        block = Block(dut)
        await ClockCycles(dut.aclk, 4)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 2)
        if pauses:
            block.pause()
        await block.load()
        return block

    def pause(self) -> None:
        """Every channel pauses at random, each with a rate of its own that changes now and then."""
        write, read = self.bus.write_if, self.bus.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for number, channel in enumerate((*channels, self.x, self.state, self.results)):
            channel.set_pause_generator(_pauses(random.Random(SEED + number)))

    async def write(self, register: str, value: int, expected: AxiResp = AxiResp.OKAY) -> None:
        writing = self.bus.write(OFFSET[register], value.to_bytes(BYTES, "little"))
        response = await with_timeout(cocotb.start_soon(writing), LIMIT, "ns")
        assert response.resp == expected, f"{register} answered {response.resp}"

    async def read(self, register: str) -> int:
        response = await with_timeout(cocotb.start_soon(self.bus.read(OFFSET[register], BYTES)), LIMIT, "ns")
        assert response.resp == AxiResp.OKAY, f"{register} answered {response.resp}"
        return int.from_bytes(response.data, "little")

    @property
    def words(self) -> np.ndarray:
        """Those of the image."""
        return self.image.stream().astype("<u2")

    async def fill(self, words: np.ndarray) -> None:
        """Writes words of an image."""
        for chunk in np.split(words, range(CHUNK, len(words), CHUNK)):
            for writing in [cocotb.start_soon(self.write("IMAGE", word)) for word in chunk.tolist()]:
                await writing

    async def load(self) -> None:
        """Loads the model and says how long its packets are."""
        crc = zlib.crc32(self.words.tobytes())
        await self.write("CONTROL", mask("CONTROL", "RESET"))
        await self.fill(self.words)
        assert await self.read("IMAGE_CRC") == crc
        await self.write("IMAGE_CHECK", crc)
        assert await self.is_loaded()
        await self.write("FRAME_WORDS", self.image.inputs)
        await self.write("STATE_WORDS", 2 * self.image.hidden * self.image.layers)
        if self.image.streams:
            apart = mask("STREAMS", "APART") if self.image.apart > 1 else 0
            await self.write("STREAMS", self.image.streams | apart)

    async def send_frame(self, frame: Frame, words: np.ndarray, cut: int = 0) -> None:
        """Sends a frame of a stream, with so many words more (or fewer)."""
        words = words if self.image.order is None else words[self.image.order]
        words = np.resize(words, len(words) + cut)
        await self._send_whose(words, frame.stream, frame.word & (1 << FRAME_FLAGS) - 1)

    async def send_nobody(self, draw: random.Random) -> None:
        """Sends the packet that has no frame, of any length, as of any stream, and with any other flags."""
        words = np.array([draw.randrange(256) for _ in range(draw.randrange(1, 3 * self.image.inputs))])
        flags = 1 << PACKET_FLAGS.index("nobody") | draw.randrange(1 << FRAME_FLAGS)
        await self._send_whose(words, draw.randrange(1 << len(self.dut.s_axis_x_tid)), flags)

    async def _send_whose(self, words: np.ndarray, stream: int, flags: int) -> None:
        data = words.astype(f"<u{word_bytes(self.target.input_width)}").tobytes()
        # The flags are those of the first beat; whatever the others say.
        later = [SEED & (1 << len(PACKET_FLAGS)) - 1] * max(len(data) - len(self.dut.s_axis_x_tkeep), 0)
        users = [flags] * (len(data) - len(later)) + later
        await self.x.send(AxiStreamFrame(data, tid=stream, tuser=users))

    async def tallies(self, first: int, count: int) -> list[int]:
        """Counts from one on."""
        found = []
        for index in range(first, first + count):
            await self.write("TALLY_INDEX", index)
            found.append(await self.read("TALLY"))
        return found

    async def send(self, clip: np.ndarray, cut: dict[int, int] | None = None) -> None:
        """Sends a clip, a packet per frame; `cut` has words more (or fewer) for some of the frames."""
        size = word_bytes(self.target.input_width)
        for number, frame in enumerate(clip):
            frame = frame if self.image.order is None else frame[self.image.order]
            words = np.resize(frame, len(frame) + (cut or {}).get(number, 0))
            await self.x.send(AxiStreamFrame(words.astype(f"<u{size}").tobytes()))

    async def send_state(self, state: np.ndarray, cut: int = 0) -> None:
        size = word_bytes(self.target.data_width)
        words = np.resize(state, state.size + cut)
        await self.state.send(AxiStreamFrame(words.astype(f"<i{size}").tobytes()))

    async def begin(self, steps: int, *options: str) -> None:
        await self.write("STEPS", steps)
        await self.write("CONTROL", mask("CONTROL", "START", *options))

    async def packet(self, of: int | None = None) -> tuple[list[tuple[Result, int]], list[int]]:
        """The next packet: kind and value of each beat, and each beat's tuser.

        Args:
            of: the stream that it must be of.
        """
        frame = await with_timeout(self.results.recv(compact=False), LIMIT, "ns")
        assert all(frame.tkeep)
        if self.target.streams > 1:
            assert set(frame.tdest) == {of or 0}
        values = np.frombuffer(bytes(frame.tdata), dtype="<i4").tolist()
        return list(zip(map(Result, frame.tid[::4]), values, strict=True)), frame.tuser[::4]

    async def expect(self, number: int, *options: str, of: str = "") -> None:
        """The next packet is that of a clip, without a fault."""
        beats, faulty = await self.packet()
        assert beats == self.expected(number, *options, of=of)
        assert not any(faulty)

    def expected(self, number: int, *options: str, of: str = "") -> list[tuple[Result, int]]:
        """The golden model's packet of a clip."""
        h, c, logits = (self.case[f"{of}{name}"][number] for name in ("h", "c", "logits"))  # h, c: layers × steps × H
        of_steps = logits if logits.ndim == 2 else logits[:0, None]  # of a head after every step
        beats = []
        for step, each in enumerate(h[-1, :-1].tolist()):
            beats += [(Result.HIDDEN, value) for value in each if "EVERY_H" in options]
            beats += [(Result.LOGIT, value) for value in of_steps[step : step + 1].ravel().tolist()]
        if {"EVERY_H", "STATES"} & set(options):
            pairs = np.stack((h[:, -1], c[:, -1]), -1).reshape(-1, 2).tolist()
            beats += [each for pair in pairs for each in zip((Result.HIDDEN, Result.CELL), pair, strict=True)]
        beats += [(Result.LOGIT, value) for value in (logits if logits.ndim == 1 else logits[-1]).tolist()]
        return [*beats, (Result.CLASS, int(logits.argmax()) if len(logits) else -1)]

    async def is_loaded(self) -> bool:
        """Whether a run may begin."""
        return bool(await self.read("STATUS") & mask("STATUS", "LOADED"))

    async def refused(self, error: str) -> None:
        """A START is refused, an error is noted beside that, nothing begins."""
        await self.write("CONTROL", mask("CONTROL", "START"))
        assert await self.read("ERRORS") == mask("ERRORS", "START_REFUSED") | (mask("ERRORS", error) if error else 0)
        await self.write("ERRORS", ~0 & 0xFFFF_FFFF)
        assert not await self.read("STATUS") & mask("STATUS", "BUSY", "LOADED")

    async def idle(self) -> None:
        """Until no run is under way and every result has been taken."""

        async def poll() -> None:
            while await self.read("STATUS") & mask("STATUS", "BUSY", "RESULT_WAITING"):
                pass

        await with_timeout(poll(), LIMIT, "ns")

    async def finish(self) -> None:
        """Nothing more comes, no rule was broken; leaves a report."""
        await ClockCycles(self.dut.aclk, 200)
        assert self.results.empty()
        self.rules.check_quiet()
        report = {"beats": self.rules.beats, "waits": self.rules.waits}
        (WORK / "report.json").write_text(json.dumps(report))


def _pauses(draw: random.Random):
    while True:
        rate = draw.choice((0.0, 0.2, 0.5, 0.9))
        for _ in range(draw.randrange(1, 200)):
            yield draw.random() < rate


@cocotb.test()
async def registers(dut) -> None:
    """What can be read and written, and what is refused."""
    block = await Block.start(dut, pauses=False)
    identity = {"ID": IDENTIFICATION, "VERSION": MAP_VERSION, "TARGET": target_id(block.target), "BUILD": 0x600D}
    for register, value in identity.items():
        assert await block.read(register) == value
        await block.write(register, 0, AxiResp.SLVERR)
        assert await block.read(register) == value
    own = {OFFSET[register.name] for register in block.registers}
    for missing in {*OFFSET.values(), BYTES * len(REGISTERS)} - own:
        assert (await block.bus.read(missing, BYTES)).resp == AxiResp.SLVERR
        assert (await block.bus.write(missing, bytes(BYTES))).resp == AxiResp.SLVERR
    for register in block.registers:
        readable = any(field.access is not Access.PUSH for field in register.fields)
        response = (await block.bus.read(OFFSET[register.name], BYTES)).resp
        assert response == (AxiResp.OKAY if readable else AxiResp.SLVERR), register.name
    crc = await block.read("IMAGE_CRC")
    assert (await block.bus.write(OFFSET["IMAGE"], b"\x01")).resp == AxiResp.SLVERR
    assert await block.read("IMAGE_CRC") == crc, "half a word was loaded"
    for register in block.registers:
        kept = sum(field.mask for field in register.fields if field.access is Access.WRITE)
        if kept and register.name != "CONTROL":
            await block.write(register.name, ~0 & 0xFFFF_FFFF)
            assert await block.read(register.name) == kept
            assert (await block.bus.write(OFFSET[register.name] + 1, b"\x00")).resp == AxiResp.OKAY
            assert await block.read(register.name) == kept & ~0xFF00
    await block.finish()


@cocotb.test()
async def clips(dut) -> None:
    """Every clip twice with random pauses on every channel, one after the other and with frames that came too early."""
    block = await Block.start(dut, pauses=True)
    draw = random.Random(SEED)
    count, steps = block.case["clips"].shape[:2]
    order = [draw.randrange(count) for _ in range(int(block.case["runs"]))]

    async def feed() -> None:
        for number in order:
            await block.send(block.case["clips"][number])

    readable = [register.name for register in block.registers if register.readable]

    async def look() -> None:
        """Reads registers all the time, several at once."""
        while True:
            names = [draw.choice(readable) for _ in range(draw.randrange(1, 5))]
            for reading in [cocotb.start_soon(block.read(name)) for name in names]:
                await reading

    block.x.queue_occupancy_limit_frames = 2 * steps
    feeding, looking = cocotb.start_soon(feed()), cocotb.start_soon(look())
    await block.write("IRQ_ENABLE", mask("IRQ_ENABLE", "DONE"))
    for number in order:
        options = draw.choice(((), ("STATES",), ("EVERY_H",)))
        await block.begin(steps, *options)
        if draw.random() < 0.3:  # registers that matter to the next run only
            await block.write("STEPS", draw.randrange(1, 100))
            await block.write("CONTROL", mask("CONTROL", "KEEP", "EVERY_H"))
        await block.expect(number, *options)
        await block.idle()
        logits = block.case["logits"][number]
        result = await block.read("RESULT")
        assert result & mask("RESULT", "VALID") and result & mask("RESULT", "CLASS") == int(logits.argmax())
        assert int(dut.interrupt.value)
        await block.write("IRQ_STATUS", mask("IRQ_STATUS", "DONE"))
        await ClockCycles(dut.aclk, 2)
        assert not int(dut.interrupt.value)
    await feeding
    assert await block.read("RUNS") == len(order) and await block.read("ERRORS") == 0
    looking.cancel()
    waits = block.rules.waits
    assert all(waits[prefix] for prefix in CHANNELS if prefix != "s_axis_state_t"), waits
    await block.finish()


@cocotb.test()
async def back_to_back(dut) -> None:
    """AUTO: frames alone keep it going, as fast as it can."""
    block = await Block.start(dut, pauses=False)
    count, steps = block.case["clips"].shape[:2]
    await block.write("STEPS", steps)
    await block.write("CONTROL", mask("CONTROL", "AUTO"))
    for clip in block.case["clips"]:
        await block.send(clip)
    for number in range(count):
        await block.expect(number)
    assert await block.read("CYCLES") <= block.image.cycles(steps) + await block.read("STALLS")
    assert await block.read("RUNS") == count
    await ClockCycles(dut.aclk, 100)
    assert not await block.read("STATUS") & mask("STATUS", "BUSY")
    await block.finish()


@cocotb.test()
async def frame_by_frame(dut) -> None:
    """Runs of one step, whose states are kept: a packet per frame, with the class after it."""
    block = await Block.start(dut, pauses=True)
    clip, logits = block.case["clips"][0], block.case["step_logits"]
    await block.write("STEPS", 1)
    for step, frame in enumerate(clip):
        await block.send(frame[None])
        if step == 0:
            await block.begin(1)
        beats, faulty = await block.packet()
        assert not any(faulty)
        expected = [(Result.LOGIT, value) for value in logits[step].tolist()]
        assert beats == [*expected, (Result.CLASS, int(logits[step].argmax()))]
        if step == 0:
            await block.idle()
            await block.write("CONTROL", mask("CONTROL", "AUTO", "KEEP"))
    assert await block.read("RUNS") == len(clip) and await block.read("ERRORS") == 0
    await block.finish()


@cocotb.test()
async def states(dut) -> None:
    """Initial states, and states that are kept."""
    block = await Block.start(dut, pauses=True)
    clips = block.case["clips"]
    count, steps = clips.shape[:2]
    for number in range(count):
        await block.send_state(block.case["initial"])
        await block.send(clips[number])
        await block.begin(steps, "USE_STATE", "STATES")
        await block.expect(number, "STATES", of="initial_")
    await block.idle()
    for number in range(count):
        await block.send(clips[number])
        await block.begin(steps, "EVERY_H", *(("KEEP",) if number else ()))
        await block.expect(number, "EVERY_H", of="kept_")
        await block.idle()
    await block.send_state(block.case["initial"], cut=-1)
    await block.send(clips[0])
    await block.begin(steps, "USE_STATE")
    _, faulty = await block.packet()
    assert all(faulty)
    await block.idle()
    assert await block.read("ERRORS") == mask("ERRORS", "STATE_SHORT")
    await block.send_state(block.case["initial"], cut=5)
    await block.send(clips[0])
    await block.begin(steps, "USE_STATE")
    await block.packet()
    await block.idle()
    assert await block.read("ERRORS") == mask("ERRORS", "STATE_SHORT", "STATE_LONG")
    assert block.rules.waits["s_axis_state_t"]
    await block.finish()


@cocotb.test()
async def wrong_lengths(dut) -> None:
    """Frames too short, too long and empty: noted, marked and over; the next clip is right."""
    block = await Block.start(dut, pauses=True)
    clips = block.case["clips"]
    count, steps = clips.shape[:2]
    inputs, lanes = block.image.inputs, block.target.input_lanes
    await block.write("IRQ_ENABLE", mask("IRQ_ENABLE", "ERROR"))
    await block.write("STEPS", steps)
    await block.write("CONTROL", mask("CONTROL", "AUTO"))
    draw = random.Random(SEED)
    cuts = [-1, 1, -inputs + 1, inputs, lanes, -lanes, 3 * lanes + 1, -inputs + lanes, draw.randrange(1, inputs)]
    cuts = [cut for cut in cuts if -inputs < cut]
    for turn, cut in enumerate(cuts):
        number, at = turn % count, turn % steps
        await block.send(clips[number], {at: cut})
        await block.send(clips[number])
        beats, faulty = await block.packet()
        assert faulty[-1], f"{cut} words too many went unnoticed"
        if cut > 0:  # what was cut off changes nothing
            assert beats == block.expected(number)
        await block.expect(number)
        name = "FRAME_SHORT" if cut < 0 else "FRAME_LONG"
        assert await block.read("ERRORS") == mask("ERRORS", name)
        assert await block.read("IRQ_STATUS") & mask("IRQ_STATUS", "ERROR") and int(dut.interrupt.value)
        await block.write("ERRORS", mask("ERRORS", name))
        await block.write("IRQ_STATUS", mask("IRQ_STATUS", "ERROR", "DONE"))
        assert await block.read("ERRORS") == 0

    size = word_bytes(block.target.input_width)
    for keep in ([0] * size * lanes, [0] * size * lanes + [1] * size * (inputs - lanes)):  # nothing; a hole
        await block.x.send(AxiStreamFrame(bytes(len(keep)), tkeep=keep))
        await block.send(clips[0][1:])
        _, faulty = await block.packet()
        assert faulty[-1] and await block.read("ERRORS") == mask("ERRORS", "FRAME_SHORT")
        await block.write("ERRORS", ~0 & 0xFFFF_FFFF)
    await block.send(clips[0])
    await block.expect(0)
    await block.idle()
    assert not await block.read("RESULT") & mask("RESULT", "FAULTY")
    await block.finish()


@cocotb.test()
async def resets(dut) -> None:
    """RESET and aresetn at any time of a run: what was loaded stays, and the next clip is right."""
    block = await Block.start(dut, pauses=True)
    clips = block.case["clips"]
    count, steps = clips.shape[:2]
    cycles = block.image.cycles(steps)
    draw = random.Random(SEED)
    for turn in range(int(block.case["resets"])):
        number = turn % count
        options = ("EVERY_H",) if turn % 3 else ()
        await block.send(clips[number][: draw.randrange(1, steps + 1)])
        await block.begin(steps, *options)
        await ClockCycles(dut.aclk, draw.randrange(1, 2 * cycles))
        block.x.clear()  # what the source has not begun; RESET drops the rest
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.idle()
        while not block.results.empty():  # of the run that was finished or cut short
            beats, faulty = await block.packet()
            whole = beats == block.expected(number, *options) and not any(faulty)
            assert whole or (beats[-1] == (Result.CLASS, -1) and faulty[-1])
            assert whole or beats[:-1] == block.expected(number, *options)[: len(beats) - 1]
        await block.send(clips[number])
        await block.begin(steps)
        await block.expect(number)
        await block.idle()
    assert await block.read("ERRORS") == 0

    for turn in range(int(block.case["resets"])):
        number = turn % count
        await block.send(clips[number])
        await block.begin(steps, "EVERY_H")
        await ClockCycles(dut.aclk, draw.randrange(1, 2 * cycles))
        await RisingEdge(dut.aclk)
        dut.aresetn.value = 0
        await ClockCycles(dut.aclk, draw.randrange(1, 4))
        for stream in (block.x, block.results):
            stream.clear()
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 2)
        assert await block.read("FRAME_WORDS") == await block.read("RUNS") == 0
        assert await block.is_loaded() and await block.read("IMAGE_CRC") == zlib.crc32(block.words.tobytes())
        await block.write("FRAME_WORDS", block.image.inputs)
        await block.send(clips[number])
        await block.begin(steps)
        await block.expect(number)
        await block.idle()


@cocotb.test()
async def refusals(dut) -> None:
    """What must not be done in a run is not done, and a run goes on undisturbed."""
    block = await Block.start(dut, pauses=False)
    clip = block.case["clips"][0]
    await block.write("CONTROL", mask("CONTROL", "START"))  # STEPS is 0
    assert await block.read("ERRORS") == mask("ERRORS", "START_REFUSED")
    assert not await block.read("STATUS") & mask("STATUS", "BUSY")
    await block.begin(len(clip))
    crc = await block.read("IMAGE_CRC")
    await block.send(clip[:1])
    await block.write("CONTROL", mask("CONTROL", "START"))
    for word in block.image.stream().tolist()[:50]:
        await block.write("IMAGE", word ^ 0xFFFF)
    await block.write("IMAGE_CHECK", ~crc & 0xFFFF_FFFF)
    await block.write("FRAME_WORDS", block.image.inputs)
    assert await block.read("IMAGE_CRC") == crc and await block.is_loaded()
    assert await block.read("ERRORS") == mask("ERRORS", "START_REFUSED", "IMAGE_REFUSED")
    await ClockCycles(dut.aclk, block.image.cycles(len(clip)))
    await block.send(clip[1:])
    await block.expect(0)
    assert await block.read("STALLS") > 0
    await FallingEdge(dut.aclk)
    await block.finish()


@cocotb.test()
async def broken_images(dut) -> None:
    """No run begins on what is not a whole image, and a whole one is right after each of them."""
    block = await Block.start(dut, pauses=False)
    words, clip, draw = block.words, block.case["clips"][0], random.Random(SEED)
    crc = zlib.crc32(words.tobytes())
    await block.write("STEPS", len(clip))

    async def whole() -> None:
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.load()
        await block.send(clip)
        await block.begin(len(clip))
        await block.expect(0)
        await block.idle()
        assert await block.read("ERRORS") == 0

    await block.fill(words[:1])  # what was loaded is gone with the first word of another
    await block.refused("")
    broken = words.copy()
    broken[draw.randrange(len(words))] ^= 1 << draw.randrange(16)
    swapped = words.copy()
    other = int(np.flatnonzero(words != words[0])[-1])
    swapped[[0, other]] = words[[other, 0]]
    noise = np.random.default_rng(SEED).integers(0, 1 << 16, 800).astype("<u2")
    for wrong in (words[: len(words) // 2], words[:-1], np.append(words, words[-1:]), broken, swapped, noise):
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.fill(wrong)
        await block.refused("")  # unchecked
        await block.write("IMAGE_CHECK", crc)
        await block.refused("IMAGE_WRONG")
        await block.write("CONTROL", mask("CONTROL", "AUTO"))
        await block.send(clip)
        await ClockCycles(dut.aclk, 2 * block.image.cycles(len(clip)))
        assert await block.read("STATUS") == mask("STATUS", "X_WAITING")
        await block.write("CONTROL", mask("CONTROL", "RESET"))  # the frame that waits is not dropped by it
        await ClockCycles(dut.aclk, 10)
        dut.aresetn.value = 0
        block.x.clear()
        await ClockCycles(dut.aclk, 2)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 2)
        await whole()
        await block.write("STEPS", len(clip))

    # Cut by RESET or aresetn, an image is none, whatever comes then; but what was checked stays.
    for by_bus in (False, True):
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.fill(words[:-1] if by_bus else words)
        if by_bus:
            await block.write("CONTROL", mask("CONTROL", "RESET"))
            await block.fill(words[-1:])
        else:
            await ClockCycles(dut.aclk, 2)
            dut.aresetn.value = 0
            await ClockCycles(dut.aclk, 2)
            dut.aresetn.value = 1
            await ClockCycles(dut.aclk, 2)
            await block.write("STEPS", len(clip))
        await block.write("IMAGE_CHECK", crc)
        await block.refused("IMAGE_WRONG")
        await whole()
    await block.finish()


@cocotb.test()
async def a_hung_engine(dut) -> None:
    """Nonsense with a CRC of its own runs and never ends: longer than predicted, and RESET ends it."""
    block = await Block.start(dut, pauses=False)
    clip, steps = block.case["clips"][0], len(block.case["clips"][0])
    ever, least = 0, int(block.case["images"])
    for seed in range(10 * least):
        if ever and seed >= least:
            break
        noise = np.random.default_rng([SEED, seed]).integers(0, 1 << 16, 800).astype("<u2")
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.fill(noise)
        await block.write("IMAGE_CHECK", zlib.crc32(noise.tobytes()))
        await block.begin(steps)
        await block.send(clip)
        await ClockCycles(dut.aclk, 2 * block.image.cycles(steps))
        hung = await block.read("STATUS") & mask("STATUS", "BUSY")
        ever += bool(hung)
        assert not hung or await block.read("CYCLES") > block.image.cycles(steps)
        block.x.clear()  # what the source has not begun; RESET drops the rest
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.x.wait()
        await block.idle()
        while not block.results.empty():  # of the run that was cut short
            await block.packet()
        await block.load()
        await block.send(clip)
        await block.begin(steps)
        await block.expect(0)
        await block.idle()
    assert ever, "none of these images hung"
    await block.finish()


@dataclass
class Arrivals:
    """What `streams.json` says: frames of several streams in the order in which they come, and what is sent after each.

    Attributes:
        frames: whose they are, and their words; NOBODY among them.
        packets: of each frame, kind and value of the beats of its packet; none if nothing is sent.
        rounds: that the frames are taken in.
        tallies: that one run of all rounds leaves.
    """

    frames: list[tuple[Frame, np.ndarray]]
    packets: list[list[tuple[Result, int]]]
    rounds: int
    tallies: list[int]

    @staticmethod
    def read() -> "Arrivals":
        said = json.loads((WORK / "streams.json").read_text())
        frames = [(Frame.of(word), np.array(x)) for word, x in zip(said["frames"], said["x"], strict=True)]
        packets = [[(Result(kind), value) for kind, value in packet] for packet in said["packets"]]
        return Arrivals(frames, packets, said["rounds"], said["tallies"])

    async def send(self, block: Block, draw: random.Random) -> AsyncIterator[int]:
        """Sends all, one after the other; gives the number of each that was."""
        for number, (frame, words) in enumerate(self.frames):
            await (block.send_nobody(draw) if frame == NOBODY else block.send_frame(frame, words))
            yield number

    @property
    def sent(self) -> list[tuple[int, list[tuple[Result, int]]]]:
        """Packets by the streams that they are of."""
        return [(frame.stream, packet) for (frame, _), packet in zip(self.frames, self.packets, strict=True) if packet]


def _options() -> tuple[str, ...]:
    """Of the runs of the streams' tests."""
    return tuple(json.loads((WORK / "streams.json").read_text())["options"])


@cocotb.test()
async def streams(dut) -> None:
    """Frames of several streams, which begin and end as they like, with random pauses on every channel: in one run of
    all rounds; in runs that follow each other, of as many rounds as divide them, and of one.
    """
    block, arrivals, draw = await Block.start(dut, pauses=False), Arrivals.read(), random.Random(SEED)
    block.pause()
    lengths = [arrivals.rounds, 1, next(n for n in (2, 3, 5, 7, arrivals.rounds) if arrivals.rounds % n == 0)]
    await block.write("IRQ_ENABLE", mask("IRQ_ENABLE", "PACKET"))

    async def feed() -> None:
        async for _ in arrivals.send(block, draw):
            if draw.random() < 0.3:
                await ClockCycles(dut.aclk, draw.randrange(1, 500))

    for steps in lengths:
        await block.write("CONTROL", mask("CONTROL", "RESET"))  # all streams are at their beginnings
        before = await block.read("RUNS")
        await block.write("STEPS", steps)
        await block.write("CONTROL", mask("CONTROL", "AUTO", *_options()))
        feeding = cocotb.start_soon(feed())
        for stream, expected in arrivals.sent:
            beats, faulty = await block.packet(stream)
            assert beats == expected and not any(faulty)
        await feeding
        await block.idle()
        assert int(dut.interrupt.value)
        await block.write("IRQ_STATUS", mask("IRQ_STATUS", "PACKET"))
        await ClockCycles(dut.aclk, 2)
        assert not int(dut.interrupt.value)
        assert await block.read("RUNS") - before == arrivals.rounds // steps
        if steps == arrivals.rounds:
            assert await block.tallies(0, len(arrivals.tallies)) == arrivals.tallies
        result, (stream, last) = await block.read("RESULT"), arrivals.sent[-1]
        number = last[-1][1]
        assert result >> 24 == stream and bool(result & mask("RESULT", "VALID")) == (number >= 0)
        assert number < 0 or result & mask("RESULT", "CLASS") == number
    assert await block.read("ERRORS") == await block.read("STREAM_FAULTS") == 0
    assert await block.read("CYCLES") and block.rules.waits["s_axis_x_t"] and block.rules.waits["m_axis_result_t"]
    await block.finish()


@cocotb.test()
async def served_on_and_on(dut) -> None:
    """A run that is longer than anybody waits: what was sent comes, at the latest with the next round's frames. RESET
    ends it, and after it all streams begin anew.
    """
    block, arrivals = await Block.start(dut, pauses=False), Arrivals.read()
    await block.write("STEPS", 0xFFFF)
    for _ in range(2):
        await block.write("CONTROL", mask("CONTROL", "AUTO", *_options()))
        async for _ in arrivals.send(block, random.Random(SEED)):
            pass
        for stream, expected in arrivals.sent:
            if block.results.empty() and block.x.empty():
                await ClockCycles(dut.aclk, 3000)
                if block.results.empty():  # of the last round
                    break
            beats, _ = await block.packet(stream)
            assert beats == expected
        assert not await block.read("RUNS") and await block.read("STATUS") & mask("STATUS", "BUSY")
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.idle()
        assert block.results.empty()
    await block.finish()


@cocotb.test()
async def answered_at_once(dut) -> None:
    """In one long run whose streams take turns: behind a frame that closes its round, NOBODY brings all answers before
    another frame comes. Without NOBODY some wait.
    """
    block, arrivals, draw = await Block.start(dut, pauses=False), Arrivals.read(), random.Random(SEED)
    block.pause()
    await block.write("STEPS", 0xFFFF)
    waited = 0
    for nobody in (True, False):
        await block.write("CONTROL", mask("CONTROL", "AUTO", *_options()))
        owed = list[tuple[int, list[tuple[Result, int]]]]()
        for (frame, words), expected in zip(arrivals.frames, arrivals.packets, strict=True):
            if frame == NOBODY:
                continue
            await block.send_frame(frame, words)
            owed += [(frame.stream, expected)] if expected else []
            if not frame.closes:
                continue
            if nobody:
                await block.send_nobody(draw)
            else:
                await block.x.wait()
                await ClockCycles(dut.aclk, 3000)
                waited += len(owed) - block.results.count()
            while owed and (nobody or not block.results.empty()):
                stream, beats = owed.pop(0)
                found, faulty = await block.packet(stream)
                assert found == beats and not any(faulty)
        assert not await block.read("RUNS") and await block.read("STATUS") & mask("STATUS", "BUSY")
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.idle()
    assert waited, "every answer came without NOBODY"
    await block.finish()


@cocotb.test()
async def strangers(dut) -> None:
    """Frames of streams that there are not, and of a wrong length: the first are dropped, the others mark their stream;
    what is of the other streams is as ever.
    """
    block, arrivals, draw = await Block.start(dut, pauses=False), Arrivals.read(), random.Random(SEED)
    block.pause()
    count, most = block.image.streams, (1 << len(dut.s_axis_x_tid)) - 1
    victim, inputs = arrivals.sent[0][0], block.image.inputs
    first = next(k for k, (frame, _) in enumerate(arrivals.frames) if frame.stream == victim)
    for cut, error in ((-1, "FRAME_SHORT"), (1, "FRAME_LONG"), (1 - inputs, "FRAME_SHORT"), (inputs, "FRAME_LONG")):
        await block.write("CONTROL", mask("CONTROL", "RESET"))
        await block.write("STEPS", arrivals.rounds)
        await block.write("CONTROL", mask("CONTROL", "AUTO", *_options()))
        strange = False
        for number, (frame, words) in enumerate(arrivals.frames):
            if frame == NOBODY:
                await block.send_nobody(draw)
                continue
            if count <= most and (draw.random() < 0.3 or number == 0):
                strange = True
                stranger = replace(frame, stream=draw.randrange(count, most + 1))
                await block.send_frame(stranger, words, draw.choice((0, -1, 1, 3 * inputs)))
            await block.send_frame(frame, words, cut if number == first else 0)
        for stream, expected in arrivals.sent:
            beats, faulty = await block.packet(stream)
            assert all(faulty) if stream == victim else not any(faulty)
            assert beats == expected or (stream == victim and cut < 0)
        await block.idle()
        assert await block.read("STREAM_FAULTS") == 1 << victim
        errors = await block.read("ERRORS")
        assert errors & ~mask("ERRORS", "STREAM_UNKNOWN") == mask("ERRORS", error)
        assert bool(errors & mask("ERRORS", "STREAM_UNKNOWN")) == strange
        await block.write("ERRORS", errors)
        await block.write("STREAM_FAULTS", 1 << victim)
        assert await block.read("ERRORS") == await block.read("STREAM_FAULTS") == 0
    await block.finish()


@cocotb.test()
async def stream_resets(dut) -> None:
    """RESET at any time among the frames of streams: the packet under way ends, and all is right again."""
    block, arrivals, draw = await Block.start(dut, pauses=False), Arrivals.read(), random.Random(SEED)
    block.pause()
    await block.write("STEPS", arrivals.rounds)
    for turn in range(int(block.case["resets"])):
        await block.write("CONTROL", mask("CONTROL", "AUTO", *_options()))
        async for _ in arrivals.send(block, draw):
            pass
        if turn % 2:
            await ClockCycles(dut.aclk, draw.randrange(1, 2 * block.image.cycles(arrivals.rounds)))
            await block.write("CONTROL", mask("CONTROL", "RESET"))  # and not AUTO any more
            block.x.clear()  # what the source has not begun
            await block.x.wait()
            await block.idle()
            for stream, expected in arrivals.sent:
                if block.results.empty():
                    break
                frame = await block.results.recv(compact=False)
                values = np.frombuffer(bytes(frame.tdata), dtype="<i4").tolist()
                beats = list(zip(map(Result, frame.tid[::4]), values, strict=True))
                cut = frame.tuser[-1] and beats[-1] == (Result.CLASS, -1)
                assert set(frame.tdest) == {stream} and (beats == expected or (cut and block.results.empty()))
            await block.write("CONTROL", mask("CONTROL", "RESET"))  # of a frame that came meanwhile
            continue
        for stream, expected in arrivals.sent:
            beats, faulty = await block.packet(stream)
            assert beats == expected and not any(faulty)
        await block.idle()
        await block.write("CONTROL", mask("CONTROL", "RESET"))
    assert await block.read("ERRORS") == 0
    await block.finish()
