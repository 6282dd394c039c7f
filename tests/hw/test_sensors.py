"""Sensors at their pins, by models that follow the data sheets, and their samples as words of the training data."""

import gc
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from fdht.hw.examples.accelerometer import READ_AXES, SETUP, ADXL345Reader
from fdht.hw.examples.microphone import I2SMicrophone
from fdht.hw.examples.parallel_camera import GREY, RGB, ParallelCamera
from fdht.hw.shell.samples import SampleScaler, lines
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.scaling import Scaling

PERIOD = 1e-6
LIMIT = 30_000
"""Cycles after which what does not come is missing."""


def simulate(dut, bench, **watched) -> None:
    """Runs a bench, and beside it functions that see every cycle's values of signals."""
    sim = Simulator(dut)
    sim.add_clock(PERIOD)
    sim.add_testbench(bench)
    for watch in watched.values():
        sim.add_testbench(watch, background=True)
    sim.run()


SCALINGS = [
    (Scaling((0.1,), (0.0103,)), 0.0039),
    (Scaling((-0.3, 0.0, 1.01), (0.011, 0.25, 0.0041)), 0.0039),
    (Scaling((12.5,), (0.7,), 16, True), 1.0),
    (Scaling((0.0,), (1 / 128,)), 1 / 128),  # halves of a step, and none
]


@pytest.mark.parametrize(("scaling", "unit"), SCALINGS)
def test_lines_are_exact_for_every_sample(scaling, unit):
    shift, found = lines(scaling, unit, 16)
    samples, raw = np.arange(-1 << 15, 1 << 15), scaling.input_format.raw
    for k, (a, b) in enumerate(found):
        alone = Scaling((scaling.centre[k],), (scaling.step[k],), scaling.bits, scaling.signed)
        words = alone.to_words((samples * unit)[:, None])[:, 0]
        assert np.array_equal(np.clip(a * samples + b >> shift, raw.min, raw.max), words)
        low, high = (alone.to_values(np.array([word])) for word in (raw.min, raw.max))
        assert samples[0] * unit < low or samples[-1] * unit > high, "some are clipped"


def test_what_no_line_can_do_is_said():
    with pytest.raises(SpecError, match=r"a sample of 1 stands for 0\.0; say a positive number"):
        lines(Scaling((0.0,), (0.01,)), 0.0, 16)
    with pytest.raises(SpecError, match="no line takes samples of 16 bits, 1e\\+30 each, to the model's words; scale"):
        lines(Scaling((0.0,), (0.01,)), 1e30, 16)


@pytest.mark.parametrize(("scaling", "unit"), [*SCALINGS, (None, 1.0)])
def test_a_sample_is_scaled_as_the_training_data_were(scaling, unit):
    """A line for all values of a window, or for each; windows of one sample begin again and again."""
    rng, channels = np.random.default_rng(1), 3
    raw = Fixed(8, 7, signed=False) if scaling is None else scaling.input_format.raw
    dut, seen = SampleScaler(raw, scaling, unit, channels, 16), []
    samples = rng.integers(-400, 400, (20, channels))
    samples[::5] = rng.integers(-1 << 15, 1 << 15, (4, channels))

    async def bench(ctx):
        for sample in samples.tolist():
            for k, value in enumerate(sample):
                ctx.set(dut.sample[k], value)
            ctx.set(dut.first, 1)
            ctx.set(dut.valid, 1)
            await ctx.tick()
            ctx.set(dut.valid, 0)
            cycles = 1
            while not ctx.get(dut.done) and cycles < LIMIT:
                await ctx.tick()
                cycles += 1
            assert cycles == (16 + 3) * channels + 1
            seen.append([ctx.get(dut.words[k]) for k in range(channels)])

    simulate(dut, bench)
    words = np.clip(samples, raw.min, raw.max) if scaling is None else scaling.to_words(samples * unit)
    assert seen == words.tolist()


class ADXL345:
    """The sensor: registers written and read in SPI mode 3; DATA_READY until the data are read."""

    def __init__(self, dut, samples: np.ndarray):
        self.dut, self.samples, self.written = dut, samples.tolist(), []

    async def pins(self, ctx):
        dut, clock, bits, ready = self.dut, 1, [], 0
        answer, selected = [], 0
        async for _, _, now, select, copi in ctx.tick().sample(dut.clock, dut.select, dut.copi):
            if select and not selected:
                assert now == 1, "mode 3: the clock rests high"
                bits, answer = [], []
            if selected and not select:
                assert now == 1 and len(bits) in (16, 56)
                byte = int("".join(map(str, bits[:8])), 2)
                if len(bits) == 16:
                    self.written.append((byte, int("".join(map(str, bits[8:])), 2)))
                else:
                    assert byte == READ_AXES and ready
                    ready = 0
                    self.samples.pop(0)
            if select and clock and not now:  # it drives its data pin from the falling edge on
                ctx.set(dut.cipo, answer.pop(0) if answer else 0)
            if select and now and not clock:
                bits.append(int(copi))
                if len(bits) == 8 and bits[0]:
                    sent = b"".join(value.to_bytes(2, "little", signed=True) for value in self.samples[0])
                    answer = [byte >> bit & 1 for byte in sent for bit in reversed(range(8))]
            if (0x2D, 0x08) in self.written and self.samples and not select:
                ready = 1
            ctx.set(dut.ready, ready)
            clock, selected = now, select


@pytest.mark.parametrize("half", [4, 9])
def test_an_accelerometer_is_set_up_and_read(half):
    samples = np.random.default_rng(2).integers(-1 << 15, 1 << 15, (5, 3))
    dut, seen = ADXL345Reader(half), []
    sensor = ADXL345(dut, samples)

    async def bench(ctx):
        for _ in range(LIMIT):
            await ctx.tick()
            if len(seen) == len(samples):
                break
            if ctx.get(dut.valid):
                seen.append([ctx.get(dut.sample[axis]) for axis in range(3)])

    simulate(dut, bench, sensor=sensor.pins)
    assert sensor.written == list(SETUP) and seen == samples.tolist()


@pytest.mark.parametrize(("channels", "bits"), [(1, 16), (2, 16), (1, 24)])
def test_a_microphone_is_heard(channels, bits):
    """24 bits each, the highest first, a clock after the word select has changed; from each falling edge on."""
    sound = np.random.default_rng(3).integers(-1 << 23, 1 << 23, (6, 2))
    dut, seen = I2SMicrophone(4, channels, bits), []

    async def microphone(ctx):
        clock, select, rows, bit, value = 0, 1, sound.tolist(), 99, 0
        async for _, _, now, side in ctx.tick().sample(dut.clock, dut.word_select):
            if clock and not now:
                bit += 1
                ctx.set(dut.data, value >> 24 - bit & 1 if 1 <= bit <= 24 else random.Random(bit).randrange(2))
                if side != select:
                    select, bit = side, 0
                    value = rows[0][side] if rows else 0
                    if side and rows:
                        rows.pop(0)
            clock = now

    async def bench(ctx):
        for _ in range(LIMIT):
            await ctx.tick()
            if len(seen) == len(sound):
                break
            if ctx.get(dut.valid):
                seen.append([ctx.get(dut.sample[k]) for k in range(channels)])

    simulate(dut, bench, microphone=microphone)
    assert seen[1:] == (sound[1:, :channels] >> 24 - bits).tolist(), "the first begins before the design does"


def shown(frame: np.ndarray, form: str) -> np.ndarray:
    """The bytes of a frame (height × width × channels) on a camera's port, two a pixel: height × 2 · width."""
    if form == "rgb565":
        red, green, blue = (frame[..., k].astype(int) for k in range(3))
        words = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
        pairs = np.stack([words >> 8, words & 0xFF], -1)
    else:
        chroma = np.random.default_rng(4).integers(0, 256, frame.shape[:2])
        pairs = np.stack([frame[..., 0], chroma] if form == "yuyv" else [chroma, frame[..., 0]], -1)
    return pairs.reshape(len(frame), -1)


@pytest.mark.parametrize(("form", "every", "rate"), [("yuyv", 1, 0.4), ("uyvy", 2, 1.3), ("rgb565", 3, 2.6)])
def test_a_parallel_cameras_pixels(form, every, rate):
    """Frames with margins, of which a part is seen; the camera's clock is another, up to 2 · every times as fast."""
    rng, channels = np.random.default_rng(5), RGB if form == "rgb565" else GREY
    width, height = 5, 3
    films = rng.integers(0, 256, (3, every * height + 2, every * width + 3, channels))
    dut, seen = ParallelCamera(width, height, channels, every=every, luma=form == "uyvy"), []

    async def camera(ctx):
        half = PERIOD / rate / 2

        async def clocks(count: int):
            for _ in range(count):
                for level in (0, 1):
                    ctx.set(dut.pclk, level)
                    await ctx.delay(half)

        await clocks(5)
        for film in films:
            ctx.set(dut.pclk, 0)
            ctx.set(dut.vsync, 1)
            await clocks(3)
            ctx.set(dut.vsync, 0)
            await clocks(7)
            for line in shown(film, form).tolist():
                for byte in line:
                    ctx.set(dut.pclk, 0)
                    ctx.set(dut.href, 1)
                    ctx.set(dut.d, byte)
                    await clocks(1)
                ctx.set(dut.pclk, 0)
                ctx.set(dut.href, 0)
                await clocks(4)
        await clocks(30)

    async def watch(ctx):
        async for _, _, valid, first, *pixel in ctx.tick().sample(dut.valid, dut.first, *dut.pixel):
            if valid:
                seen.append((first, pixel))

    simulate(dut, camera, watch=watch)
    kept = films[:, : every * height : every, : every * width : every]
    if form == "rgb565":
        red, green, blue = (kept[..., k] >> cut for k, cut in enumerate((3, 2, 3)))
        kept = np.stack([red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2], -1)
    assert [first for first, _ in seen] == [int(k % (width * height) == 0) for k in range(3 * width * height)]
    assert [pixel for _, pixel in seen] == kept.reshape(-1, channels).tolist()


@pytest.mark.filterwarnings("ignore:.*created but never used")  # what is refused is not elaborated
def test_a_cameras_pixels_have_one_channel_or_three():
    with pytest.raises(SpecError, match="a parallel camera's pixels have 1 channel or 3, not 2"):
        ParallelCamera(4, 4, 2)
    gc.collect()
