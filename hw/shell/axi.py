"""The engine as an IP block: AXI4-Stream frames in and results out, AXI4-Lite registers, an interrupt.

A frame is a packet of s_axis_x: the raw words of a time step in the order of the image (see fdht.compiler.image),
`FRAME_WORDS` of them, the first in the lowest bits. A word fills one byte up to 8 bits, else two, of which the low
bits count. tkeep may be low in a packet's last beat only, for the bytes after its last word; beats without any bytes
are ignored. An initial state is a packet of s_axis_state, a word per beat: h and c of each unit in turn, layer by
layer.

Every run sends one packet of results on m_axis_result, a signed 32-bit number per beat, and tid says which (see
`Result`): h of the last layer after every step (EVERY_H), h and c of all layers, unit by unit, after the last step
(STATES or EVERY_H), the logits, and last of all the class. An image whose head sees every step sends each step's logits
behind its h. The class is the number of the largest logit of the run, the first of equal ones, or -1 where the image
has no head. tuser is 1 in the beats after something was wrong with a frame or state
of the run, the class included. A run that is cut short by RESET ends its packet, if that has begun, with a class of
-1 and tuser.

A run begins with START or, with AUTO, when a frame waits; frames may come earlier, and wait. Options are taken when
it begins. A frame or state of a wrong length is filled up or cut (see fdht.hw.shell.packets.PacketGate), noted in
ERRORS and by tuser, and never stops anything. The registers are described in fdht.spec.registers.

**Several streams.** In a block whose engine has them, STREAMS says how many an image serves. With 0 all is as above.
Else tid of s_axis_x is the stream that a frame is of, and tuser its PACKET_FLAGS (see fdht.spec.rounds), both those of
the packet's first beat; a run takes STEPS rounds. A packet that is nobody's has no frame, whatever its length: it ends
the round, or makes an empty one. What is sent after a frame is a packet of its own, which ends with a class as well;
tdest is the stream. States stay from run to run until a frame begins a sequence anew, or RESET. A frame of a wrong
length marks its stream in STREAM_FAULTS, and the packets of that one stream.

**Tallies.** In a block whose engine counts what each of its instructions clips, TALLY shows the count TALLY_INDEX (see
fdht.spec.tallies).

No run begins but with an image that has arrived whole: its words must have the CRC that the driver writes after them
(see `ImageCheck`). An image and what is known of it outlive RESET and aresetn together.
"""

from enum import IntEnum, unique
from typing import Any

from amaranth.hdl import (
    C,
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
    signed,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.engine.accelerator import Accelerator
from fdht.hw.engine.signatures import output_word
from fdht.hw.engine.tally import LATENCY as TALLY_LATENCY
from fdht.hw.shell.packets import PacketGate, RegisterSlice, StreamGate, beat, checked_beat, whose_beat
from fdht.hw.shell.register_bank import RegisterBank, axi_lite
from fdht.spec.instructions import WORD, Widths
from fdht.spec.protocol import OutputKind, target_id, word_bytes
from fdht.spec.registers import ADDRESS_BITS, FRAME_BITS, IDENTIFICATION, MAP_VERSION, OFFSET, registers_of
from fdht.spec.rounds import PACKET_FLAGS
from fdht.spec.target import Target

NAME = "fdht_axi"
"""Name of the Verilog module, unless another is given."""

RESULT_WIDTH = 32
"""Bits of a result on m_axis_result."""

CHECK_WIDTH = 32
"""Bits of an image's CRC."""

RESET_CYCLES = 3
"""For which nothing enters the engine after a RESET."""


@unique
class Result(IntEnum):
    """What a beat of m_axis_result is: its tid."""

    HIDDEN = OutputKind.HIDDEN
    CELL = OutputKind.CELL
    LOGIT = OutputKind.LOGIT
    CLASS = 3


def result_beat(target: Target) -> data.StructLayout:
    """A beat of a packet of results; `faulty` becomes tuser, `stream`, if there are several, tdest."""
    members: dict[str, Any] = {"value": signed(RESULT_WIDTH), "kind": 2, "last": 1, "faulty": 1}
    return data.StructLayout(members | ({"stream": Widths(target).stream} if target.streams > 1 else {}))


class LargestLogit(Component):
    """Number of the largest of the words it sees, the first of equal ones.

    Args:
        width: bits of a word.

    Members:
        clear (In): forget all words.
        i (In), valid (In): a word.
        o (Out): number of the largest, from 0. some (Out): there was a word.

    Costs: latency 1; a word per cycle; a comparison.
    """

    def __init__(self, width: int):
        super().__init__(
            {
                "clear": In(1),
                "i": In(signed(width)),
                "valid": In(1),
                "o": Out(WORD),
                "some": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        best, count = Signal.like(self.i, reset_less=True), Signal(WORD, reset_less=True)
        with m.If(self.clear):
            m.d.sync += [self.some.eq(0), count.eq(0)]
        with m.Elif(self.valid):
            m.d.sync += [self.some.eq(1), count.eq(count + 1)]
            with m.If(~self.some | (self.i > best)):
                m.d.sync += [best.eq(self.i), self.o.eq(count)]
        return m


class RunControl(Component):
    """Begins runs and makes a packet of the results of each; of several streams, one of what is sent after a frame.

    Args:
        target: of the engine.

    Members:
        start (In): pulse: begin a run. auto (In): begin one whenever `frame_waits` (In). ready (In): one may begin.
        settled (In): the engine has been reset. abort (In): pulse: end the run; a few cycles later `settled` is high.
        states (In): the packet shall have states. faulty (In): pulse: something is wrong with the run's inputs.
        begin (Out): pulse: options are taken. engine_start (Out): pulse, a cycle later. engine_busy (In): the engine
            is, or a word of it is on its way to `out`.
        out (In): results. packet (Out): see result_beat.
        busy (Out): a run is wanted or under way, or its last result is not taken. refused (Out): pulse: no run begins.
        done (Out): pulse: a run is finished. answered (Out): pulse: a packet is, and `number`, `classified`, `marked`
            (Out) are its class, whether it has one, and whether something was wrong with it.
        several (In): the image has several streams; taken with the options. apart (In): see
            fdht.hw.shell.packets.StreamGate. wrong (In): the streams of which something is wrong. stream (Out): of
            which the packet is that was `answered`. Only with an engine of several.

    Costs: latency 0 of a result; a result per cycle.
    """

    def __init__(self, target: Target):
        self._target = target
        flags_in = ("start", "auto", "frame_waits", "ready", "settled", "abort", "states", "faulty", "engine_busy")
        flags_out = ("begin", "engine_start", "busy", "refused", "done", "answered", "classified", "marked")
        super().__init__(
            {
                **{name: In(1) for name in flags_in},
                **{name: Out(1) for name in flags_out},
                "number": Out(WORD),
                "out": In(stream.Signature(output_word(target))),
                "packet": Out(stream.Signature(result_beat(target))),
            }
            | (
                {
                    "several": In(1),
                    "apart": In(1),
                    "wrong": In(target.streams),
                    "stream": Out(Widths(target).stream),
                }
                if target.streams > 1
                else {}
            )
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.largest = largest = LargestLogit(self._target.data_width)
        wanted = Signal()  # a start that waits until the engine is reset
        states = Signal()
        opened, faulty = Signal(), Signal()  # a packet has begun; something was wrong with the run's inputs
        several, complete = self._elaborate_streams(m, faulty) if self._target.streams > 1 else (C(0, 1), C(0, 1))
        starts, word, logit = Signal(), self.packet.payload, self.out.payload.kind == OutputKind.LOGIT
        m.d.comb += [
            starts.eq(self.start & self.ready & ~self.busy & ~self.abort),
            self.refused.eq(self.start & ~starts),
            largest.clear.eq(self.begin | self.answered),
            largest.i.eq(self.out.payload.value),
            word.faulty.eq(self.marked),
            self.number.eq(largest.o),
            self.classified.eq(largest.some),
        ]
        m.d.sync += wanted.eq((wanted | starts) & ~self.begin & ~self.abort)
        m.d.sync += faulty.eq((faulty & ~self.begin) | self.faulty)
        if self._target.streams == 1:
            m.d.comb += self.marked.eq(faulty)
        with m.If(self.begin):
            m.d.sync += states.eq(self.states)
        with m.If(self.packet.valid & self.packet.ready):
            m.d.sync += opened.eq(~word.last)
        with m.FSM() as machine:
            with m.State("IDLE"):
                waits = self.auto & self.frame_waits & self.ready & ~self.abort
                m.d.comb += self.begin.eq(self.settled & (wanted | waits))
                with m.If(self.begin):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.engine_start.eq(~self.abort)
                m.next = "RUN"
                with m.If(self.abort):
                    m.next = "ABORT"
            with m.State("RUN"):
                m.d.comb += [
                    word.value.eq(self.out.payload.value),
                    word.kind.eq(self.out.payload.kind),
                    self.packet.valid.eq(self.out.valid & (states | logit) & ~self.abort),
                    self.out.ready.eq((self.packet.ready | ~(states | logit)) & ~self.abort),
                    largest.valid.eq(self.out.valid & self.out.ready & logit),
                ]
                with m.If(~self.engine_busy & several):
                    m.d.comb += self.done.eq(~self.abort)
                    m.next = "IDLE"
                with m.Elif(~self.engine_busy | (self.out.valid & self.out.ready & complete)):
                    m.next = "CLASS"
                with m.If(self.abort):
                    m.next = "ABORT"
            with m.State("CLASS"):
                m.d.comb += [
                    word.value.eq(Mux(largest.some, largest.o, -1)),
                    word.kind.eq(Result.CLASS),
                    word.last.eq(1),
                    self.packet.valid.eq(~self.abort),
                    self.answered.eq(self.packet.ready & ~self.abort),
                    self.done.eq(self.answered & ~several),
                ]
                with m.If(self.answered):
                    m.next = "IDLE"
                    with m.If(several):
                        m.next = "RUN"
                with m.If(self.abort):
                    m.next = "ABORT"
            with m.State("ABORT"):
                m.d.comb += [
                    word.value.eq(-1),
                    word.kind.eq(Result.CLASS),
                    word.last.eq(1),
                    word.faulty.eq(1),
                    self.packet.valid.eq(opened),
                ]
                with m.If(self.packet.ready | ~opened):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(wanted | self.begin | ~machine.ongoing("IDLE"))
        return m

    def _elaborate_streams(self, m: Module, faulty: Value) -> tuple[Value, Value]:
        """Whose a packet is; whether the run is one of several streams, and a word the last of a packet's.

        Args:
            faulty: something was wrong with a run that is not.
        """
        several, word = Signal(), self.out.payload
        number, last = Signal.like(self.stream), Signal.like(self.stream)  # last: of the word before
        of_word = word.stream >> (self._target.gates - 1).bit_length()
        taken = self.out.valid & self.out.ready
        m.d.comb += [
            number.eq(Mux(several, Mux(self.apart, of_word, word.stream), 0)),
            self.stream.eq(Mux(taken, number, last)),
            self.packet.payload.stream.eq(self.stream),
            self.marked.eq(Mux(several, self.wrong.bit_select(self.stream, 1), faulty)),
        ]
        with m.If(self.begin):
            m.d.sync += several.eq(self.several)
        with m.If(taken):
            m.d.sync += last.eq(number)
        return several, word.complete & several


class ImageCheck(Component):
    """Tells whether the image that was written is the one that was meant, by the CRC of its words.

    Members:
        word (In), valid (In): a word is loaded. If `loading` (Out) is low before, it is an image's first.
        expected (In), check (In): the image ends here, and this is what its CRC should be.
        anew (In): the next word is an image's first. So is the next after a reset, which changes nothing else.
        crc (Out): CRC-32 of the image's words. loaded (Out): it was as expected, and no word has come since.
        wrong (Out): pulse: it was not as expected, or no word has come since `anew` or the reset.

    Costs: latency 1 of `loaded` and `crc`; a word per cycle.
    """

    def __init__(self):
        super().__init__(
            {
                "word": In(WORD),
                "valid": In(1),
                "expected": In(CHECK_WIDTH),
                "check": In(1),
                "anew": In(1),
                "crc": Out(CHECK_WIDTH),
                "loading": Out(1),
                "loaded": Out(1),
                "wrong": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The memories keep an image through a reset, so what is known of it stays too.
        m.domains += ClockDomain("lasting", local=True, reset_less=True)
        m.submodules.crc = crc = DomainRenamer("lasting")(CRC32_ISO_HDLC(data_width=WORD).create())
        loaded, right = Signal(reset_less=True), Signal()
        m.d.comb += [
            ClockSignal("lasting").eq(ClockSignal()),
            crc.start.eq(self.valid & ~self.loading),
            crc.data.eq(self.word),
            crc.valid.eq(self.valid),
            self.crc.eq(crc.crc),
            self.loaded.eq(loaded),
            right.eq(self.loading & (self.expected == crc.crc)),
            self.wrong.eq(self.check & ~right),
        ]
        m.d.sync += self.loading.eq((self.loading | self.valid) & ~self.anew)
        with m.If(self.valid):
            m.d.sync += loaded.eq(0)
        with m.Elif(self.check):
            m.d.sync += loaded.eq(right)
        return m


class AXIAccelerator(Component):
    """The engine behind AXI interfaces; the text at the top of this module says what passes through them.

    Args:
        target: of the engine.
        build: what the register BUILD says.

    Members:
        aclk (In): the clock. aresetn (In): low for a cycle or more, it ends everything; a loaded image stays.
        s_axi_* : AXI4-Lite registers (see fdht.hw.shell.register_bank.axi_lite).
        s_axis_x_*, s_axis_state_* (In), m_axis_result_* (Out): AXI4-Stream; with an engine of several streams frames
            have tid and tuser, and results tdest.
        interrupt (Out): high while an enabled bit of IRQ_STATUS is set.

    Costs: latency 1, or 2 if the pipeline has registers at the ports, of a beat of x to the engine and of a result to
    its stream; the engine's multipliers and block RAM, and no more.
    """

    def __init__(self, target: Target, build: int = 0):
        self.target = target
        self._build = build
        self._accelerator = Accelerator(target)
        self._registers = {OFFSET[register.name]: register for register in registers_of(target)}
        lanes, stream = target.input_lanes, Widths(target).stream
        super().__init__(
            {
                "aclk": In(1),
                "aresetn": In(1),
                **{f"s_axi_{name}": member for name, member in axi_lite(ADDRESS_BITS).items()},
                **_packet_members("s_axis_x", lanes * word_bytes(target.input_width)),
                **({"s_axis_x_tid": In(stream), "s_axis_x_tuser": In(len(PACKET_FLAGS))} if target.streams > 1 else {}),
                **_packet_members("s_axis_state", word_bytes(target.data_width)),
                "m_axis_result_tdata": Out(RESULT_WIDTH),
                "m_axis_result_tkeep": Out(RESULT_WIDTH // 8),
                "m_axis_result_tid": Out(2),
                **({"m_axis_result_tdest": Out(stream)} if target.streams > 1 else {}),
                "m_axis_result_tuser": Out(1),
                "m_axis_result_tlast": Out(1),
                "m_axis_result_tvalid": Out(1),
                "m_axis_result_tready": In(1),
                "interrupt": Out(1),
            }
        )

    @property
    def multipliers(self) -> int:
        return self._accelerator.multipliers

    @property
    def block_rams(self) -> int:
        return self._accelerator.block_rams

    @property
    def sprams(self) -> int:
        return self._accelerator.sprams

    def elaborate(self, platform):
        m = Module()
        m.domains += [ClockDomain("bus", local=True), ClockDomain("engine", local=True)]
        m.submodules.engine = DomainRenamer("engine")(self._accelerator)
        tallies = self.target.build.features.tallies
        late = {"TALLY": TALLY_LATENCY} if tallies else {}
        m.submodules.registers = registers = RegisterBank(self._registers, ADDRESS_BITS, late)
        m.submodules.control = control = RunControl(self.target)
        m.submodules.result_slice = results = RegisterSlice(result_beat(self.target))
        engine = self._accelerator

        # One register, not logic, resets so many flip-flops; until it has done so, nothing enters the engine.
        abort, reset, wait = registers.control_reset, Signal(init=1), Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        m.d.comb += [
            ClockSignal("bus").eq(self.aclk),
            ResetSignal("bus").eq(~self.aresetn),
            ClockSignal("engine").eq(self.aclk),
            ResetSignal("engine").eq(reset),
            control.abort.eq(abort),
            control.settled.eq((wait == 0) & ~abort),
        ]
        m.d.sync += [reset.eq(abort), wait.eq(Mux(abort, RESET_CYCLES, Mux(wait == 0, 0, wait - 1)))]

        for name in axi_lite(ADDRESS_BITS):
            outer, inner = getattr(self, f"s_axi_{name}"), getattr(registers, name)
            m.d.comb += inner.eq(outer) if self.signature.members[f"s_axi_{name}"].flow is In else outer.eq(inner)
        faulty = []
        for name, packet, width in (
            ("x", "frame", self.target.input_width),
            ("state", "state", self.target.data_width),
        ):
            source, gate = self._elaborate_packets(m, registers, name, width)
            sink = getattr(engine, name)
            m.d.comb += [
                gate.open.eq(control.settled),
                gate.abort.eq(reset),
                gate.length.eq(getattr(registers, f"{packet}_words")),
                getattr(registers, f"errors_{packet}_short_set").eq(gate.short),
                getattr(registers, f"errors_{packet}_long_set").eq(gate.long),
                Value.cast(sink.payload).eq(Value.cast(source.payload.words)),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
            faulty.append(source.valid & source.ready & source.payload.faulty)
        waiting: Value = C(0, 1)  # a word has left the engine, but not the buffer behind it
        out = engine.out
        if self.target.pipeline.ports:
            m.submodules.out_slice = out_slice = DomainRenamer("engine")(RegisterSlice(output_word(self.target)))
            wiring.connect(m, engine.out, out_slice.i)
            out, waiting = out_slice.o, out_slice.o.valid
        wiring.connect(m, out, control.out)
        wiring.connect(m, control.packet, results.i)

        m.d.comb += [
            control.start.eq(registers.control_start),
            control.auto.eq(registers.control_auto),
            control.frame_waits.eq(engine.x.valid),
            control.ready.eq(registers.steps.any() & registers.frame_words.any() & registers.status_loaded),
            control.states.eq(registers.control_states | registers.control_every_h),
            control.faulty.eq(faulty[0] | faulty[1]),
            control.engine_busy.eq(engine.busy | waiting),
            engine.start.eq(control.engine_start),
        ]
        with m.If(control.begin):
            m.d.sync += [
                engine.steps.eq(registers.steps),
                engine.use_state.eq(registers.control_use_state),
                engine.every_h.eq(registers.control_every_h),
                engine.keep.eq(registers.control_keep),
            ]
        if self.target.streams > 1:
            self._elaborate_streams(m, registers, control, results)
        if tallies:
            m.d.comb += [engine.tally_index.eq(registers.tally_index), registers.tally.eq(engine.tally)]
        self._elaborate_registers(m, registers, control, results)
        m.d.comb += [
            self.m_axis_result_tdata.eq(results.o.payload.value),
            self.m_axis_result_tkeep.eq(~0),
            self.m_axis_result_tid.eq(results.o.payload.kind),
            self.m_axis_result_tuser.eq(results.o.payload.faulty),
            self.m_axis_result_tlast.eq(results.o.payload.last),
            self.m_axis_result_tvalid.eq(results.o.valid),
            results.o.ready.eq(self.m_axis_result_tready),
        ]
        return DomainRenamer("bus")(m)  # whatever the design around it calls sync

    def _elaborate_registers(
        self, m: Module, registers: RegisterBank, control: RunControl, results: RegisterSlice
    ) -> None:
        """What registers show, the image that comes through them, and the interrupt."""
        engine = self._accelerator
        m.submodules.check = check = ImageCheck()
        loaded, collided = registers.image_valid & ~control.busy, Signal()
        errors = Cat(getattr(registers, name) for name in registers.signature.members if _is_error(name))
        m.d.sync += collided.eq(engine.collision)
        m.d.comb += [
            engine.image.payload.eq(registers.image),
            engine.image.valid.eq(loaded),
            check.anew.eq(registers.control_reset),
            check.word.eq(registers.image),
            check.valid.eq(loaded),
            check.expected.eq(registers.image_check),
            check.check.eq(registers.image_check_valid & ~control.busy),
            registers.id.eq(IDENTIFICATION),
            registers.version.eq(MAP_VERSION),
            registers.target.eq(target_id(self.target)),
            registers.build.eq(self._build),
            registers.status_busy.eq(control.busy),
            registers.status_x_waiting.eq(engine.x.valid),
            registers.status_result_waiting.eq(results.o.valid),
            registers.status_loaded.eq(check.loaded),
            registers.image_crc.eq(check.crc),
            registers.errors_image_wrong_set.eq(check.wrong),
            registers.errors_start_refused_set.eq(control.refused),
            registers.errors_image_refused_set.eq((registers.image_valid | registers.image_check_valid) & control.busy),
            registers.errors_collision_set.eq(engine.collision & ~collided),
            registers.irq_status_done_set.eq(control.done),
            registers.irq_status_error_set.eq(errors.any()),
            *(getattr(registers, name).eq(getattr(engine, name)) for name in ("cycles", "stalls", "saturations")),
        ]
        with m.If(control.done):
            m.d.sync += registers.runs.eq(registers.runs + 1)
        with m.If(control.answered):
            m.d.sync += [
                registers.result_class.eq(control.number),
                registers.result_valid.eq(control.classified),
                registers.result_faulty.eq(control.marked),
            ]
        causes = ("done", "error", "packet") if self.target.streams > 1 else ("done", "error")
        m.d.sync += self.interrupt.eq(
            Cat(getattr(registers, f"irq_status_{c}") & getattr(registers, f"irq_enable_{c}") for c in causes).any()
        )

    def _elaborate_streams(
        self, m: Module, registers: RegisterBank, control: RunControl, results: RegisterSlice
    ) -> None:
        """What an engine of several streams adds; not how its frames come."""
        engine, several = self._accelerator, registers.streams_count.any()
        carried = Signal()  # a run has left states of all streams
        m.d.comb += [
            control.several.eq(several),
            control.apart.eq(registers.streams_apart),
            control.wrong.eq(registers.stream_faults),
            registers.irq_status_packet_set.eq(control.answered),
            self.m_axis_result_tdest.eq(results.o.payload.stream),
        ]
        with m.If(control.abort | engine.image.valid):
            m.d.sync += carried.eq(0)
        with m.Elif(control.done):
            m.d.sync += carried.eq(1)
        with m.If(control.begin & several):
            m.d.sync += [engine.use_state.eq(0), engine.keep.eq(carried)]
        with m.If(control.answered):
            m.d.sync += registers.result_stream.eq(control.stream)

    def _elaborate_packets(
        self, m: Module, registers: RegisterBank, name: str, width: int
    ) -> tuple[Any, PacketGate | StreamGate]:
        """From an AXI4-Stream of packets to words of the right number: their stream, and what checks them."""
        tdata, tkeep = getattr(self, f"s_axis_{name}_tdata"), getattr(self, f"s_axis_{name}_tkeep")
        size = word_bytes(width)
        lanes = len(tkeep) // size
        several = name == "x" and self.target.streams > 1
        given = RegisterSlice(whose_beat(self.target) if several else beat(width, lanes))
        m.submodules[f"{name}_slice"] = DomainRenamer("engine")(given)
        gate = StreamGate(self.target, FRAME_BITS) if several else PacketGate(width, lanes, FRAME_BITS)
        m.submodules[f"{name}_gate"] = gate
        if isinstance(gate, StreamGate):
            wrong = registers.streams_count.any() & (gate.short | gate.long)
            m.d.comb += [
                given.i.payload.stream.eq(self.s_axis_x_tid),
                given.i.payload.flags.eq(self.s_axis_x_tuser),
                gate.count.eq(registers.streams_count),
                gate.apart.eq(registers.streams_apart),
                registers.errors_stream_unknown_set.eq(gate.unknown),
                registers.stream_faults_set.eq(wrong << gate.stream),
            ]
        inside = Signal(name=f"{name}_inside")  # a packet has begun on the bus
        m.d.comb += gate.inside.eq(Mux(given.i.valid & given.i.ready, ~given.i.payload.last, inside))
        m.d.sync += inside.eq(gate.inside)
        m.d.comb += [
            given.i.payload.last.eq(getattr(self, f"s_axis_{name}_tlast")),
            given.i.valid.eq(getattr(self, f"s_axis_{name}_tvalid")),
            getattr(self, f"s_axis_{name}_tready").eq(given.i.ready),
        ]
        for k in range(lanes):
            m.d.comb += [
                given.i.payload.words[k].eq(tdata.word_select(k, 8 * size)[:width]),
                given.i.payload.keep[k].eq(tkeep.word_select(k, size).all()),
            ]
        wiring.connect(m, given.o, gate.i)
        if not self.target.pipeline.ports:
            return gate.o, gate
        buffer = RegisterSlice(checked_beat(width, lanes))
        m.submodules[f"{name}_buffer"] = DomainRenamer("engine")(buffer)
        wiring.connect(m, gate.o, buffer.i)
        return buffer.o, gate


def _packet_members(prefix: str, size: int) -> dict:
    """An AXI4-Stream of `size` bytes that comes in."""
    return {
        f"{prefix}_tdata": In(8 * size),
        f"{prefix}_tkeep": In(size),
        f"{prefix}_tlast": In(1),
        f"{prefix}_tvalid": In(1),
        f"{prefix}_tready": Out(1),
    }


def _is_error(name: str) -> bool:
    """Whether a member of the registers is a cause of an error."""
    return name.startswith("errors_") and name.endswith("_set")
