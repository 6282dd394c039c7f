"""An example design around the IP block: pixels of a camera in, classes out, nothing else needed.

    pixels in raster order ──► CameraFrames ── s_axis_x ──► AXIAccelerator ── m_axis_result ──► class
                                       Boot ── s_axi ─────►

It shows the two things an integrator has to know: frames are sent in the order of the image, which may differ from
raster order (fdht.compiler.image.Image.order), and a few register writes bring the block up, here from a ROM in the
place of a CPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Array, Cat, ClockSignal, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.shell.axi import AXIAccelerator, Result
from fdht.hw.shell.packets import beat
from fdht.spec.errors import SpecError
from fdht.spec.protocol import image_check, word_bytes
from fdht.spec.registers import ADDRESS_BITS, BYTES, OFFSET, mask
from fdht.spec.target import Target

Loop = tuple[int, int]
"""How many turns, and by how many positions each moves on."""


def loops(order: np.ndarray, channels: int) -> tuple[Loop, ...]:
    """The nest of loops, the innermost first, that visits positions in a given order.

    Args:
        order: positions in a frame, each once.
        channels: words of a pixel; a loop moves by whole pixels, or by channels within one.

    Raises:
        SpecError: no such nest of loops visits them in this order.
    """
    found: list[Loop] = []
    left = np.asarray(order)
    while len(left) > 1:
        stride = int(left[1] - left[0])
        same = np.diff(left) == stride
        count = len(left) if same.all() else int(np.argmin(same)) + 1
        if stride % channels and count > channels and count % channels == 0:
            count = channels
        rows = left.reshape(-1, count) if len(left) % count == 0 else None
        if rows is None or (rows - rows[:, :1] != stride * np.arange(count)).any():
            raise SpecError(f"an order of {len(order)} words in which {left[:4].tolist()} begins is no nest of loops")
        found.append((count, stride))
        left = rows[:, 0]
    lanes = sum((count - 1) * stride for count, stride in found if stride % channels)
    if lanes >= channels:
        raise SpecError(f"a loop of {found} goes on from within a pixel of {channels} words to the next")
    return tuple(found)


class Walk(Component):
    """Positions in a frame, one after the other, as pixel and channel.

    Args:
        nest: see loops. pixels, channels: of a frame and of a pixel.

    Members:
        step (In): move on; after the last position, to the first.
        pixel, channel (Out): the position. last (Out): it is the last one.

    Costs: latency 1; a position per cycle.
    """

    def __init__(self, nest: Sequence[Loop], pixels: int, channels: int):
        self._nest = nest
        self._channels = channels
        super().__init__({"step": In(1), "pixel": Out(range(pixels)), "channel": Out(range(channels)), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        turns = [Signal(range(count), name=f"turn_{k}") for k, (count, _) in enumerate(self._nest)]
        ends = [turn == count - 1 for turn, (count, _) in zip(turns, self._nest, strict=True)]
        m.d.comb += self.last.eq(Cat(ends).all())
        with m.If(self.step & self.last):
            m.d.sync += [self.pixel.eq(0), self.channel.eq(0), *(turn.eq(0) for turn in turns)]
        back_pixels = back_channels = 0  # from the inner loops' last turns to their first
        for k, (count, stride) in enumerate(self._nest):
            whole = stride % self._channels == 0
            pixels, channels = (stride // self._channels, 0) if whole else (0, stride)
            with m.If(self.step & Cat(ends[:k]).all() & ~ends[k]):
                m.d.sync += [
                    self.pixel.eq(self.pixel + pixels - back_pixels),
                    self.channel.eq(self.channel + channels - back_channels),
                    turns[k].eq(turns[k] + 1),
                    *(turn.eq(0) for turn in turns[:k]),
                ]
            back_pixels += (count - 1) * pixels
            back_channels += (count - 1) * channels
        return m


class CameraFrames(Component):
    """Makes packets of frames, in the order of an image, from pixels in raster order.

    Two frames fit: one is sent while the next comes in. A frame that is complete while the one before is still being
    sent is skipped whole; one that begins anew before it is complete is never sent.

    Args:
        target: of the engine.
        pixels, channels: of a frame, and words of a pixel.
        order: see fdht.compiler.image.Image; None for raster order, the first channel first.

    Members:
        pixel (In): channels, the first in the lowest bits. valid (In): there is one, in any cycle, without asking.
        first (In): it is a frame's first.
        o (Out): see fdht.hw.shell.packets.beat; a packet per frame.
        skipped (Out): pulse: a frame was.

    Costs: `input_lanes` + 2 cycles per beat; block RAM for two frames.
    """

    def __init__(self, target: Target, pixels: int, channels: int, order: np.ndarray | None):
        words = pixels * channels
        self._nest = loops(np.arange(words) if order is None else order, channels)
        self._target, self._pixels, self._channels = target, pixels, channels
        self._lanes = target.input_lanes
        super().__init__(
            {
                "pixel": In(data.ArrayLayout(target.input_width, channels)),
                "valid": In(1),
                "first": In(1),
                "o": Out(stream.Signature(beat(target.input_width, self._lanes))),
                "skipped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pixels, lanes = self._pixels, self._lanes
        m.submodules.store = store = memory.Memory(
            shape=self.pixel.shape(), depth=2 * pixels, init=[], attrs={"ram_style": "block"}
        )
        write, read = store.write_port(), store.read_port()
        m.submodules.walk = walk = Walk(self._nest, pixels, self._channels)
        half = Signal()  # that comes in; the other one is sent
        count, started, at = Signal(range(pixels)), Signal(), Signal(range(pixels))
        m.d.comb += [
            at.eq(Mux(self.first, 0, count)),
            write.addr.eq(at + Mux(half, pixels, 0)),
            write.data.eq(self.pixel),
            write.en.eq(self.valid & (started | self.first)),
        ]
        complete, sending = Signal(), Signal()
        m.d.comb += [complete.eq(write.en & (at == pixels - 1)), self.skipped.eq(complete & sending)]
        with m.If(write.en):
            m.d.sync += [count.eq(at + 1), started.eq(~complete)]
        with m.If(complete & ~sending):
            m.d.sync += [half.eq(~half), sending.eq(1)]

        # A word is read, and in the next cycle joins the beat; while a beat waits, nothing is read.
        asked, last, channel = Signal(), Signal(), Signal.like(walk.channel)
        place = Signal(range(lanes))
        full = asked & (last | (place == lanes - 1))
        going = sending & ~self.o.valid & ~full
        taken = self.o.payload
        word = Array(read.data)[channel] if self._channels > 1 else read.data[0]
        m.d.comb += [
            read.addr.eq(walk.pixel + Mux(half, 0, pixels)),
            walk.step.eq(going),
        ]
        m.d.sync += [asked.eq(going), last.eq(walk.last), channel.eq(walk.channel)]
        with m.If(asked):
            m.d.sync += [place.eq(Mux(full, 0, place + 1)), self.o.valid.eq(full), taken.last.eq(last)]
            for k in range(lanes):
                with m.If(place == k):
                    m.d.sync += [taken.words[k].eq(word), taken.keep.eq((1 << k + 1) - 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
            with m.If(taken.last):
                m.d.sync += sending.eq(0)
        return m


class Boot(Component):
    """Writes registers from a ROM, as a CPU would when it starts.

    Args:
        writes: addresses and values, in their order.
        again: the write from which on `restart` writes anew.

    Members:
        restart (In): pulse: write once more what follows `again`; in its turn where something is being written.
        done (Out): all has been written once.
        refused (Out): an access was answered by an error.
        awaddr, awvalid, wdata, wvalid, bready (Out), awready, wready, bresp, bvalid (In): of an AXI4-Lite manager that
            only writes.

    Costs: one write after the other, each answered before the next; block RAM for addresses and values.
    """

    def __init__(self, writes: Sequence[tuple[int, int]], again: int = 0):
        self._writes = writes
        self._again = again
        super().__init__(
            {
                "restart": In(1),
                "done": Out(1),
                "refused": Out(1),
                "awaddr": Out(ADDRESS_BITS),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(8 * BYTES),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"value": 8 * BYTES, "address": ADDRESS_BITS})
        rows: Any = [{"value": value, "address": address} for address, value in self._writes]
        m.submodules.rom = rom = memory.Memory(shape=shape, depth=len(rows), init=rows, attrs={"rom_style": "block"})
        read = rom.read_port()
        row = Signal(range(len(rows)))
        m.d.comb += [
            read.addr.eq(row),
            self.awaddr.eq(read.data.address),
            self.wdata.eq(read.data.value),
            self.bready.eq(1),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += self.awvalid.eq(0)
        with m.If(self.wvalid & self.wready):
            m.d.sync += self.wvalid.eq(0)
        wanted = Signal()
        with m.If(self.restart):
            m.d.sync += wanted.eq(1)
        with m.FSM():
            with m.State("READ"):
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.sync += [self.awvalid.eq(1), self.wvalid.eq(1)]
                m.next = "WAIT"
            with m.State("WAIT"), m.If(self.bvalid):
                m.d.sync += [row.eq(row + 1), self.refused.eq(self.refused | self.bresp.any())]
                m.next = "READ"
                with m.If(row == len(rows) - 1):
                    m.d.sync += self.done.eq(1)
                    m.next = "DONE"
            with m.State("DONE"), m.If(wanted):
                m.d.sync += [row.eq(self._again), wanted.eq(self.restart)]
                m.next = "READ"
        return m


CLASSES = {
    "skipped": Out(1),
    "ready": Out(1),
    "failed": Out(1),
    "number": Out(16),
    "done": Out(1),
    "faulty": Out(1),
}
"""What comes out of each design that ends in a class, see CameraToClass."""


class CameraToClass(Component):
    """A camera's pixels in, the class of every clip out, or one after every frame of a sequence without end.

    Args:
        target: of the engine.
        image: the 16-bit words of the image, order (or None): see fdht.compiler.image.
        pixels, channels: of a frame, and words of a pixel; together the words of a frame of the image.
        steps: frames of a clip; None: a class comes after every frame, and the states are carried on to the next.

    Members:
        pixel, valid, first (In), skipped (Out): see CameraFrames; ignored until `ready`.
        restart (In): pulse: the next whole frame begins a clip or sequence; what is under way ends, faulty if its
            results have begun.
        ready (Out): the image is written. failed (Out): an access was refused, or the block notes an error: the image
            is not what it should be, and no run begins.
        number (Out): a class, while `done` (Out). faulty (Out): a frame of the clip had the wrong length.

    Costs: those of its parts.
    """

    def __init__(
        self,
        target: Target,
        image: Sequence[int],
        order: np.ndarray | None,
        pixels: int,
        channels: int,
        steps: int | None,
    ):
        begin = [mask("CONTROL", "AUTO")]
        if steps is None:  # runs of a step each; all but the first go on with the states of the one before
            begin = [mask("CONTROL", "START"), mask("CONTROL", "AUTO") | mask("CONTROL", "KEEP")]
        self._block = AXIAccelerator(target)
        self._frames = CameraFrames(target, pixels, channels, order)
        writes = [
            (OFFSET["CONTROL"], mask("CONTROL", "RESET")),
            *((OFFSET["IMAGE"], word) for word in image),
            (OFFSET["IMAGE_CHECK"], image_check(np.array(image, dtype="<u2").tobytes())),
            (OFFSET["IRQ_ENABLE"], mask("IRQ_ENABLE", "ERROR")),
            (OFFSET["FRAME_WORDS"], pixels * channels),
            (OFFSET["STEPS"], steps or 1),
        ]
        start = [(OFFSET["CONTROL"], value) for value in (mask("CONTROL", "RESET"), *begin)]
        self._boot = Boot([*writes, *start], again=len(writes))
        self._bits = 8 * word_bytes(target.input_width)
        super().__init__(
            {
                "pixel": In(data.ArrayLayout(target.input_width, channels)),
                "valid": In(1),
                "first": In(1),
                "restart": In(1),
                **CLASSES,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self._block
        m.submodules.frames = frames = self._frames
        m.submodules.boot = boot = self._boot
        m.d.comb += [
            block.aclk.eq(ClockSignal()),
            block.aresetn.eq(~ResetSignal()),
            block.s_axi_wstrb.eq(~0),
            boot.restart.eq(self.restart),
            self.ready.eq(boot.done),
            self.failed.eq(boot.refused | block.interrupt),
            frames.pixel.eq(self.pixel),
            frames.valid.eq(self.valid & self.ready),
            frames.first.eq(self.first),
            self.skipped.eq(frames.skipped),
        ]
        for name in ("awaddr", "awvalid", "wdata", "wvalid", "bready"):
            m.d.comb += getattr(block, f"s_axi_{name}").eq(getattr(boot, name))
        for name in ("awready", "wready", "bresp", "bvalid"):
            m.d.comb += getattr(boot, name).eq(getattr(block, f"s_axi_{name}"))

        frame = frames.o.payload
        m.d.comb += [
            block.s_axis_x_tvalid.eq(frames.o.valid),
            block.s_axis_x_tlast.eq(frame.last),
            frames.o.ready.eq(block.s_axis_x_tready),
            block.m_axis_result_tready.eq(1),
            self.done.eq(block.m_axis_result_tvalid & (block.m_axis_result_tid == Result.CLASS)),
            self.number.eq(block.m_axis_result_tdata),
            self.faulty.eq(block.m_axis_result_tuser),
        ]
        for k, kept in enumerate(frame.keep):
            size = self._bits // 8
            m.d.comb += [
                block.s_axis_x_tdata.word_select(k, self._bits).eq(frame.words[k]),
                block.s_axis_x_tkeep.word_select(k, size).eq(kept.replicate(size)),
            ]
        return m
