"""The contraction unit: executes array instructions, from operands in memory to results in memory."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.address import AddressGenerator
from fdht.hw.engine.array import SystolicArray
from fdht.hw.engine.layout import layout
from fdht.hw.engine.requantise import Requantiser, Transposer
from fdht.spec import timing
from fdht.spec.instructions import Widths, array_instruction
from fdht.spec.target import Target


class ContractionUnit(Component):
    """One stage: reads operands pass by pass, multiplies, requantises, writes rows or transposed words.

    Passes follow each other every timing.period() cycles, and the results of one leave while the next accumulates.
    `done` comes timing.DONE after the last write, or when the last rows of padding have left. Where instructions are
    fetched ahead, a chained one may start after `issued`, if its first row leaves the array at least timing.LATCH
    cycles after its predecessor's `done`.

    Args:
        target: of the engine.

    Members:
        instruction (In): see fdht.spec.instructions.array_instruction; stable from `start` to `done`, or to `issued` if
            another one is chained to it.
        start (In), issued (Out), done (Out): pulses; `issued` with the last operands' addresses.
        data_enable, data_address (Out), data_word (In): a word of the scratchpad, timing.read() cycles later.
        factor_address (Out), factor_word (In): a word of factors, timing.read() cycles later. hidden (Out): the last of
            them is h. hidden_lane (Out): with several gates: which of them has it.
        bias_address (Out), bias_word (In): a word of biases, timing.bias() cycles later.
        write_valid, write_results, write_add, write_address, write_data (Out): a result word, to the result memory if
            `write_results` (`write_add`: on top of what it holds), else to the scratchpad.
        saturated (Out): lanes clipped in the word that leaves the requantisers.

    Costs: latency 1 from `start` to the first step of the operands' addresses, and timing.drain() +
    timing.requantise() + timing.write() from the step to a pass's last operands to the write of its first row; a pass
    every timing.period() cycles; P × Q multipliers.
    """

    def __init__(self, target: Target):
        self._target = target
        w = Widths(target)
        word = data.ArrayLayout(signed(target.data_width), target.columns)
        self._record = array_instruction(target)
        super().__init__(
            {
                "instruction": In(layout(self._record)),
                "start": In(1),
                "issued": Out(1),
                "done": Out(1),
                "data_enable": Out(1),
                "data_address": Out(w.address),
                "data_word": In(word),
                "factor_address": Out(w.factor),
                "factor_word": In(data.ArrayLayout(signed(w.operand), target.rows)),
                "hidden": Out(1),
                "bias_address": Out(w.bias),
                "bias_word": In(word),
                "write_valid": Out(1),
                "write_results": Out(1),
                "write_add": Out(1),
                "write_address": Out(w.write),
                "write_data": Out(word),
                "saturated": Out(target.columns),
            }
            | ({"hidden_lane": Out(range(target.gates))} if target.gates > 1 else {})
        )
        self._array = SystolicArray(target)

    @property
    def multipliers(self) -> int:
        return self._array.multipliers

    def elaborate(self, platform):
        m = Module()
        target, instruction = self._target, self.instruction
        m.submodules.read = read = AddressGenerator(self._record.record("read"), target.pipeline.address)
        m.submodules.write = write = AddressGenerator(self._record.record("write"), target.pipeline.address)
        m.submodules.array = array = self._array
        requantisers = [Requantiser(target) for _ in range(target.columns)]
        for q, requantiser in enumerate(requantisers):
            m.submodules[f"requantiser_{q}"] = requantiser

        # Operands: one pair of words per cycle, and rest after a pass until the array can take the next.
        reading = Signal()
        resting = Signal()
        elapsed = Signal(range(target.rows))
        ready = Signal()  # for the next pass, from the next cycle on
        issue = Signal()
        pass_ends = Signal()
        m.d.comb += [
            read.nest.eq(instruction.read),
            read.load.eq(self.start),
            issue.eq(reading & ~resting),
            read.step.eq(issue),
            ready.eq((elapsed == target.rows - 1) & (resting if timing.rest(target) else 1)),
            pass_ends.eq(Array(read.ends)[instruction.reduction]),
            self.data_enable.eq(delay(m, issue, timing.address(target), "enable", reset_less=False)),
            self.data_address.eq(read.address.data),
            self.factor_address.eq(read.address.factor),
            self.hidden.eq(delay(m, issue & instruction.hidden, timing.address(target), "hidden", reset_less=False)),
            self.issued.eq(issue & read.last),
        ]
        if target.gates > 1:
            lane = instruction.stream[: len(self.hidden_lane)]
            m.d.comb += self.hidden_lane.eq(delay(m, lane, timing.address(target), "hidden_lane"))
        with m.If(self.start):
            m.d.sync += [reading.eq(1), resting.eq(0), elapsed.eq(0)]
        with m.Elif(reading):
            with m.If(elapsed != target.rows - 1):
                m.d.sync += elapsed.eq(elapsed + 1)
            with m.If(issue & pass_ends):
                m.d.sync += [resting.eq(1), reading.eq(~read.last)]
            with m.If((issue & pass_ends | resting) & ready):
                m.d.sync += [resting.eq(0), elapsed.eq(0)]
        control: Any = Signal(array.control.shape())
        late = timing.address(target) + timing.read(target)
        m.d.comb += [control.valid.eq(issue), control.last.eq(pass_ends)]
        m.d.comb += [
            array.control.eq(delay(m, control, late, "control", reset_less=False)),
            array.factors.eq(self.factor_word),
            array.data.eq(self.data_word),
        ]

        # The drain has the instruction to itself, so that operands of the next may follow at once.
        written = Signal()
        drained, drain_starts = instruction, self.start
        if target.pipeline.prefetch:
            drained = Signal.like(instruction, name="drained", reset_less=True)
            waiting, draining, drain_starts = Signal(), Signal(), Signal()
            latched = waiting & ~draining
            m.d.sync += [
                waiting.eq(self.start | (waiting & draining)),
                draining.eq(latched | (draining & ~self.done)),
                drain_starts.eq(latched),
            ]
            with m.If(latched):
                m.d.sync += drained.eq(instruction)

        # Rows: padding is dropped; rows kept are counted over the passes of a column.
        rows_left = Signal.like(drained.rows)
        row = Signal(range(target.rows))
        dropped = Signal()
        keep = Signal()
        bias_index = Signal.like(self.bias_address)
        m.d.comb += [
            keep.eq(array.o_valid & ~dropped),
            self.bias_address.eq(bias_index),
        ]
        with m.If(drain_starts):
            m.d.sync += [rows_left.eq(drained.rows), row.eq(0), dropped.eq(0), bias_index.eq(drained.bias)]
        with m.Elif(array.o_valid):
            m.d.sync += row.eq(Mux(row == target.rows - 1, 0, row + 1))
            with m.If(keep):
                m.d.sync += [
                    bias_index.eq(bias_index + drained.bias_step),
                    rows_left.eq(rows_left - 1),
                    dropped.eq(rows_left == 0),
                ]
            with m.If((row == target.rows - 1) & (dropped | (rows_left == 0))):
                m.d.sync += [rows_left.eq(drained.rows), dropped.eq(0)]

        # Results.
        straight = Signal.like(self.write_data)
        for q, requantiser in enumerate(requantisers):
            m.d.comb += [
                requantiser.i.eq(array.o[q]),
                requantiser.i_valid.eq(keep),
                requantiser.bias.eq(self.bias_word[q]),
                requantiser.shift.eq(drained.shift),
                straight[q].eq(requantiser.o),
                self.saturated[q].eq(requantiser.o_valid & requantiser.o_saturated),
            ]
        straight_valid = requantisers[0].o_valid
        valid, word = Signal(), Signal.like(self.write_data)
        port, before, behind = timing.write(target), target.pipeline.write_request, target.pipeline.write_port
        steps = delay(m, valid, before, "write_step", reset_less=False)
        m.d.comb += [
            write.nest.eq(drained.write),
            write.load.eq(drain_starts),
            write.step.eq(steps),
            valid.eq(straight_valid),
            word.eq(straight),
            self.write_valid.eq(delay(m, valid, port, "write_valid", reset_less=False)),
            self.write_results.eq(delay(m, drained.to_results, port, "write_results")),
            self.write_add.eq(delay(m, drained.add, port, "write_add")),
            self.write_address.eq(delay(m, write.address.word, behind, "write_address")),
            self.write_data.eq(delay(m, word, port, "write_data")),
        ]
        if target.columns > 1:
            m.submodules.transposer = transposer = Transposer(target)
            m.d.comb += [
                transposer.i.eq(straight),
                transposer.i_valid.eq(straight_valid & drained.transpose),
                transposer.emit.eq(drained.emit),
            ]
            with m.If(drained.transpose):
                m.d.comb += [valid.eq(transposer.o_valid), word.eq(transposer.o)]

        # Rows of padding may still leave after the last write; the next instruction must not take them for its own.
        m.d.comb += self.done.eq(written & ~array.o_valid)
        with m.If(delay(m, steps & write.last, port - before, "write_last", reset_less=False)):
            m.d.sync += written.eq(1)
        with m.Elif(self.done):
            m.d.sync += written.eq(0)
        return m
