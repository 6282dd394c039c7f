"""The engine: contraction unit, gate unit and loader around their memories, each led by its own program."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.contraction_unit import ContractionUnit
from fdht.hw.engine.gate_unit import GateUnit
from fdht.hw.engine.loader import ImageLoader, InputLoader
from fdht.hw.engine.memories import FactorMemory, ImageMemory, ResultMemory, Scratchpad
from fdht.hw.engine.sequencer import Sequencer, TokenCounters
from fdht.hw.engine.signatures import output_word
from fdht.hw.engine.stream_flags import StreamFlags
from fdht.hw.engine.tally import Tallies
from fdht.hw.engine.trace import EventPort, array_event, cell_event, hidden_event, result_event, unit_event
from fdht.spec import costs, timing
from fdht.spec.activation import table_width
from fdht.spec.instructions import (
    WORD,
    Condition,
    GateOp,
    Segment,
    array_instruction,
    gate_instruction,
    loader_instruction,
)
from fdht.spec.tallies import INDEX_BITS, TALLY_BITS
from fdht.spec.target import Target


class Accelerator(Component):
    """Runs any LSTM whose image fits the target.

    Load an image, pulse `start`, send the inputs of `steps` time steps, take the outputs. Inputs may be sent
    before `start`; they wait. An image must not be loaded while `busy`.

    An image of several streams takes its inputs frame by frame, each with a beat in front whose first word says whose
    it is, in as many rounds as there are `steps`; see fdht.spec.rounds. Each stream's states stay until a frame says
    that a sequence of it begins.

    Args:
        target: what is built.
        watched: with `unit_trace`, for simulation. What is built for a part is without.

    Members:
        image (In): image words (see fdht.hw.engine.loader.ImageLoader).
        x (In): raw inputs, N per step in their order, `input_lanes` at once; a step begins with a new beat, and so does
            the word in front of a stream's frame.
        state (In): initial h and c of each unit in turn, layer by layer; taken only if `use_state`, and by engines with
            the feature `initial_state`.
        out (Out): h of the last layer of every step (`every_h`), but after the last step h and c of all layers, unit by
            unit; then the logits: of the last step, or each step's own behind its h, as the image's program says. Of
            several streams each sends the same of its own steps, c and h of the last layer when its sequence ends.
        start (In): begins a run. steps (In): its time steps; with 0, nothing begins. use_state, every_h (In): its
            options.
        keep (In): go on with the h and c that the run before ended with, whatever `use_state`; only after a run of the
            same image that was not cut short by a reset; with streams, all of them. All stable while `busy`.
        busy (Out): a run is under way, or its last words wait for `out`. running (Out): the first of these alone; high
            for as long as `cycles` counts, for simulation.
        cycles, stalls, saturations (Out): counts of the current or last run. Cycles begin with the one after `start`;
            stalls are those in which the loader waited for x, or the gate unit for state or out; saturations are words
            of which a requantiser, or the sum in the result memory, clipped a lane. All are 0 without `counters`.
        collision (Out): set when a program has broken the scratchpad's rules, which a compiled one never does; only
            with the feature of this name.
        tally_index (In), tally (Out): with `tallies`: the number of a count, and the count (see
            fdht.hw.engine.tally).
        array_trace, result_trace, hidden_trace, cell_trace: every result written, for simulation (see
        fdht.hw.engine.trace). unit_trace: with `watched`, when instructions begin and end.

    Costs: cycles as fdht.compiler.schedule predicts, if x, state and out are always ready; blocks as
    fdht.spec.costs.engine.
    """

    def __init__(self, target: Target, *, watched: bool = False):
        self.target, self._watched = target, watched
        word = data.ArrayLayout(signed(target.data_width), target.columns)
        self._contraction = ContractionUnit(target)
        self._gate = GateUnit(target)
        self._loader = InputLoader(target)
        self._scratchpad = Scratchpad(target)
        self._factors = FactorMemory(target)
        self._results = ResultMemory(target)
        self.sequencers = {
            Segment.ARRAY_PROGRAM: Sequencer(target, array_instruction(target), conditional=True),
            Segment.LOADER_PROGRAM: Sequencer(target, loader_instruction(target)),
            Segment.GATE_PROGRAM: Sequencer(target, gate_instruction(target), conditional=True),
        }
        self._bias = ImageMemory(target.build.technology, word, target.bias_words, timing.bias(target))
        super().__init__(
            {
                "image": In(stream.Signature(WORD)),
                "x": In(stream.Signature(data.ArrayLayout(target.input_width, target.input_lanes))),
                "state": In(stream.Signature(signed(target.data_width))),
                "out": Out(stream.Signature(output_word(target))),
                "start": In(1),
                "steps": In(16),
                "use_state": In(1),
                "every_h": In(1),
                "keep": In(1),
                "busy": Out(1),
                "running": Out(1),
                "cycles": Out(32),
                "stalls": Out(32),
                "saturations": Out(32),
                "collision": Out(1),
                **{
                    f"{name}_{member}": Out(shape)
                    for name, event in self._events().items()
                    for member, shape in (("count", 16), ("event", event))
                },
            }
            | ({"tally_index": In(INDEX_BITS), "tally": Out(TALLY_BITS)} if target.build.features.tallies else {})
        )

    def _events(self) -> dict[str, data.StructLayout]:
        target = self.target
        return {
            "array_trace": array_event(target),
            "result_trace": result_event(target),
            "hidden_trace": hidden_event(target),
            "cell_trace": cell_event(target),
            **({"unit_trace": unit_event(target)} if self._watched else {}),
        }

    def elaborate(self, platform):
        m = Module()
        target, features, running = self.target, self.target.build.features, self.running
        m.submodules.contraction = contraction = self._contraction
        m.submodules.gate = gate = self._gate
        m.submodules.loader = loader = self._loader
        m.submodules.scratchpad = scratchpad = self._scratchpad
        m.submodules.factors = factors = self._factors
        m.submodules.results = results = self._results
        m.submodules.bias = bias = self._bias
        m.submodules.image_loader = image_loader = ImageLoader(target, table_width(target.data_width))
        m.submodules.tokens = tokens = TokenCounters(target, 3)
        begin = Signal()
        begun = delay(m, begin, timing.begin(target), "begun", reset_less=False)

        busy = []
        fills = {
            Segment.FACTORS: factors.fill,
            Segment.BIAS: bias.fill,
            Segment.TABLES: gate.table_fill,
            Segment.SCRATCHPAD: loader.fill,
        }
        units = (contraction, loader, gate)
        for k, (unit, (segment, sequencer)) in enumerate(zip(units, self.sequencers.items(), strict=True)):
            m.submodules[f"{segment.name.lower()}"] = sequencer
            fills[segment] = sequencer.fill
            m.d.comb += [
                sequencer.run.eq(begun),
                sequencer.steps.eq(self.steps),
                sequencer.available.eq(tokens.available),
                tokens.takes[k].eq(sequencer.take),
                tokens.gives[k].eq(sequencer.give),
                unit.instruction.eq(sequencer.instruction),
                unit.start.eq(sequencer.sets_off if self._skips(unit) else sequencer.start),
                sequencer.done.eq(unit.done),
            ]
            if unit is contraction:
                m.d.comb += sequencer.issued.eq(contraction.issued)
            if unit is gate:
                m.d.comb += gate.final_step.eq(sequencer.final_step)
            busy.append(sequencer.busy)
        if target.streams > 1:
            self._keep_streams(m, begun)
        m.d.comb += [
            begin.eq(self.start & ~self.busy & (self.steps != 0)),
            tokens.clear.eq(begun),
            running.eq(busy[0] | busy[1] | busy[2] | (begun if timing.begin(target) else 0)),
            self.busy.eq(running | gate.sending),
        ]

        for segment, fill in fills.items():
            for member, value in (
                ("enable", image_loader.write[segment]),
                ("address", image_loader.address[: len(fill.address)]),
                ("part", image_loader.part[: len(fill.part)]),
                ("data", image_loader.data),
            ):
                name = f"{segment.name.lower()}_{member}"
                m.d.comb += getattr(fill, member).eq(delay(m, value, target.pipeline.fill, name, keep=True))
        wiring.connect(m, wiring.flipped(self.image), image_loader.image)
        wiring.connect(m, wiring.flipped(self.x), loader.x)
        wiring.connect(m, wiring.flipped(self.state), gate.state)
        wiring.connect(m, gate.out, wiring.flipped(self.out))

        m.d.comb += [
            factors.read_address.eq(contraction.factor_address),
            factors.hidden.eq(contraction.hidden),
            contraction.factor_word.eq(factors.read_data),
            bias.read_enable.eq(1),
            bias.read_address.eq(contraction.bias_address),
            contraction.bias_word.eq(bias.read_data),
            scratchpad.read_enable.eq(contraction.data_enable),
            scratchpad.read_address.eq(contraction.data_address),
            contraction.data_word.eq(scratchpad.read_data),
            scratchpad.array_valid.eq(contraction.write_valid & ~contraction.write_results),
            scratchpad.array_address.eq(contraction.write_address),
            scratchpad.array_data.eq(contraction.write_data),
            results.write_valid.eq(contraction.write_valid & contraction.write_results),
            results.write_add.eq(contraction.write_add),
            results.write_address.eq(contraction.write_address),
            results.write_data.eq(contraction.write_data),
            results.read_address.eq(gate.result_address),
            gate.result_data.eq(results.read_data),
            gate.initial.eq(self.use_state & features.initial_state),
            gate.every_h.eq(self.every_h),
            gate.keep.eq(self.keep),
            loader.keep.eq(self.keep),
            gate.h_address.eq(
                Mux(factors.h_asked, factors.h_address, loader.h_address) if target.streams == 1 else loader.h_address
            ),
            loader.h_data.eq(gate.h_data),
            factors.h_data.eq(gate.h_data if target.streams == 1 else gate.head_data),
            scratchpad.loader_valid.eq(loader.write_valid),
            scratchpad.loader_address.eq(loader.write_address),
            scratchpad.loader_mask.eq(loader.write_mask),
            scratchpad.loader_data.eq(loader.write_data),
        ]

        if features.counters:
            # A program ends well after the last result, so that nothing is missed by counting later.
            clipped, stalled = Signal(2), Signal()
            m.d.sync += [
                clipped.eq(Cat(contraction.saturated.any(), results.saturated.any())),
                stalled.eq(loader.starved | gate.stalled),
            ]
            with m.If(begin):
                m.d.sync += [self.cycles.eq(0), self.stalls.eq(0), self.saturations.eq(0)]
            with m.Elif(running):
                m.d.sync += [
                    self.cycles.eq(self.cycles + 1),
                    self.stalls.eq(self.stalls + stalled),
                    self.saturations.eq(self.saturations + clipped[0] + clipped[1]),
                ]
        if features.tallies:
            self._tally(m, begin)
        if features.collision:
            collided = delay(m, scratchpad.collision, 1, "collided", reset_less=False)
            with m.If(collided):
                m.d.sync += self.collision.eq(1)

        for name, valid, fields in (
            (
                "array_trace",
                scratchpad.array_valid,
                {"address": scratchpad.array_address, "data": scratchpad.array_data},
            ),
            (
                "result_trace",
                results.stored_valid,
                {"address": results.stored_address, "data": results.stored_data},
            ),
            (
                "hidden_trace",
                gate.hidden_valid,
                {"address": gate.hidden_address, "data": gate.hidden_data}
                | ({"mask": gate.hidden_mask} if target.gates > 1 else {}),
            ),
            (
                "cell_trace",
                gate.cell_valid,
                {"address": gate.cell_address, "data": gate.cell_data}
                | ({"mask": gate.cell_mask} if target.gates > 1 else {}),
            ),
            *self._unit_events(m),
        ):
            m.submodules[name] = port = EventPort(self._events()[name])
            m.d.comb += port.valid.eq(valid)
            m.d.comb += [port.i[field].eq(value) for field, value in fields.items()]
            m.d.comb += [
                getattr(self, f"{name}_count").eq(port.count),
                getattr(self, f"{name}_event").eq(port.event),
            ]
        return m

    def _unit_events(self, m: Module) -> list[tuple[str, Value, dict[str, Value]]]:
        """When each unit begins and ends an instruction, if anybody watches."""
        if not self._watched:
            return []
        units = (self._contraction, self._loader, self._gate)
        started, ended = list[Value](), list[Value]()
        for unit, (segment, sequencer) in zip(units, self.sequencers.items(), strict=True):
            done = unit.done
            if self._skips(unit):
                name = f"{segment.name.lower()}_skipped"
                done = done | delay(m, sequencer.start & sequencer.skip, timing.KEPT, name, reset_less=False)
            started.append(sequencer.start)
            ended.append(done & sequencer.busy)
        return [("unit_trace", Cat(started, ended).any(), {"started": Cat(started), "ended": Cat(ended)})]

    def _skips(self, unit) -> bool:
        """Whether a unit's instructions may have conditions that are not met."""
        return self.target.streams > 1 and unit is not self._loader

    def _tally(self, m: Module, begin: Signal) -> None:
        """Counts what every stage clips, and steps."""
        m.submodules.tallies = tallies = Tallies(self.target)
        contraction, gate = self._contraction, self._gate
        leader = self.sequencers[Segment.ARRAY_PROGRAM]
        clipped, instruction = Signal(2), gate.instruction
        m.d.sync += clipped.eq(contraction.saturated.any() + self._results.saturated.any())
        updated = gate.done & (instruction.op == GateOp.STEP) & instruction.top
        if self.target.streams > 1:
            updated &= instruction.condition == Condition.ALWAYS
        m.d.comb += [
            tallies.clear.eq(begin),
            tallies.start.eq(leader.start),
            tallies.skip.eq(leader.skip if self.target.streams > 1 else 0),
            tallies.again.eq(leader.instruction.loop_end & ~leader.final_step),
            tallies.done.eq(contraction.done),
            tallies.clipped.eq(clipped),
            tallies.index.eq(self.tally_index),
            self.tally.eq(tallies.value),
        ]
        m.d.comb += tallies.finished.eq(updated)
        if self.target.streams > 1:  # an image of several has a frame admitted for every step
            loader = self._loader
            admitted = loader.admits & loader.frame.present
            m.d.comb += tallies.finished.eq(updated | (admitted << loader.instruction.stream))

    def _keep_streams(self, m: Module, begun: Signal) -> None:
        """What is known of the streams, from the loader to the others."""
        m.submodules.streams = streams = StreamFlags(self.target)
        loader, gate, leader = self._loader, self._gate, self.sequencers[Segment.GATE_PROGRAM]
        m.d.comb += [
            streams.clear.eq(begun),
            streams.loaded.eq(loader.instruction.stream),
            streams.admits.eq(loader.admits),
            streams.frame.eq(loader.frame),
            streams.opens.eq(loader.opens),
            streams.together.eq(loader.instruction.together),
            streams.stepped.eq(gate.instruction.stream),
            streams.steps.eq(leader.start & (gate.instruction.condition == Condition.PRESENT)),
            loader.begin.eq(begun),
            loader.fresh.eq(streams.fresh),
            gate.frames.eq(streams.frames),
            gate.head_address.eq(self._factors.h_address),
        ]
        if self.target.gates > 1:
            m.d.comb += [
                self._factors.hidden_lane.eq(self._contraction.hidden_lane),
                gate.head_lane.eq(self._factors.h_lane),
            ]
        for segment in (Segment.ARRAY_PROGRAM, Segment.GATE_PROGRAM):
            m.d.comb += [
                self.sequencers[segment].present.eq(streams.present),
                self.sequencers[segment].stepped.eq(streams.were_stepped),
                self.sequencers[segment].ended.eq(streams.ended),
            ]

    @property
    def multipliers(self) -> int:
        """Multiplier blocks of the array and the gate unit."""
        return costs.engine(self.target).multipliers

    @property
    def block_rams(self) -> int:
        return costs.engine(self.target).block_rams

    @property
    def sprams(self) -> int:
        return costs.engine(self.target).sprams
