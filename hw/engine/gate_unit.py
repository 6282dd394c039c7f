"""The gate unit: sigmoid, tanh and the cell update of an LSTM, one hidden unit every eight cycles."""

from typing import Any

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.address import AddressGenerator
from fdht.hw.engine.layout import layout
from fdht.hw.engine.memories import ImageMemory
from fdht.hw.engine.signatures import image_write, output_word
from fdht.hw.engine.stream_flags import FRAME
from fdht.hw.technology import LutMultiplier, Multiplier, RegisteredMemory
from fdht.spec import costs, timing
from fdht.spec.activation import SEGMENTS, table_width
from fdht.spec.fixed import signed_bits
from fdht.spec.gate_schedule import BEAT, MOVE, MULTIPLY, WRITE_CELL
from fdht.spec.instructions import Condition, GateOp, Widths, bits_for, gate_instruction
from fdht.spec.protocol import OutputKind
from fdht.spec.target import Target, Technology


class GateUnit(Component):
    """Executes gate instructions (see fdht.spec.instructions), bit-exact with fdht.spec.activation and
    fdht.spec.formats.

    Per unit:

        c' = saturate(round((sigmoid(f) * c << forget_shift) + sigmoid(i) * tanh(g) >> cell_shift))
        h  = saturate(round(sigmoid(o) * tanh(c') >> hidden_shift))

    All eight products share one multiplier. A unit takes part in three beats of eight slots (fdht.spec.gate_schedule):
    lookups and c'; tanh(c') and h; writing and sending. `Pace` says which slot it is and which units are in the beat,
    `Lookup` fetches z and what the tables hold of it, `Arithmetic` multiplies and rounds, `Sender` writes and sends. In
    which slots, and where there are registers, is the schedule of the target's pipeline.

    Where several gates are computed side by side, there are as many lanes: each has a `Lookup`, `Arithmetic` and
    memories of c and h of its own, and takes z from so many lanes of the result word further than the first. They share
    pace and addresses; words are sent by the first only.

    Everything in front of the multiplier stops as a whole when `out` is full at the start of a beat or `state`
    has no word; the arithmetic behind it runs on, and its last results wait in their registers.

    Args:
        target: of the engine.

    Members:
        instruction (In): stable from `start` to `done`. start (In): pulse, not before the second cycle after
            `done`.
        done (Out): in the cycle of the last write, or in which the last logit is accepted.
        final_step (In): this STEP is the run's last. every_h (In): send h of every STEP. initial (In): STATE
            takes its values from `state`. keep (In): STATE changes nothing and is done in the next cycle. All stable
            from `start` to `done`.
        state (In): h, then c, of each unit.
        out (Out): STEP sends h of each unit if `final_step` (followed by its c), or if `every_h` and this is the top
            layer; on the condition that a stream is present only of the top layer, and the final one is that with which
            the stream's sequence ends; EMIT sends logits. The last c may leave after `done`; the next instruction waits
            for that.
        sending (Out): a word waits for `out`, or c has to follow its h.
        stalled (Out): this cycle is lost, because `state` has or `out` takes no word.
        result_address (Out), result_data (In): the result memory, data one cycle after the address.
        hidden_valid, hidden_address, hidden_data (Out): h as it is written to the unit's own memory. cell_valid,
            cell_address, cell_data (Out): c.
        h_address (In), h_data (Out): reads h of a unit, timing.hidden() cycles later.
        frames (In), head_address (In), head_data (Out): with several streams: what
            fdht.hw.engine.stream_flags.StreamFlags says of those of the instruction, with `start`; and another way to
            read h.
        hidden_mask, cell_mask (Out), head_lane (In): with several gates: the lanes that are written, and the one whose
            h is `head_data`. Data of h and c are then of all lanes.
        table_fill (In): see fdht.hw.engine.signatures.image_write and fdht.spec.activation.table_words.

    Costs: latency as fdht.spec.timing.gate; 8 cycles per unit in STEP and per logit in EMIT, 2 per unit in STATE; a
    multiplier per lane (of LUTs on iCE40, whose multipliers the array needs) and block RAM as
    fdht.spec.costs.gate_unit.
    """

    def __init__(self, target: Target):
        self._target = target
        w = Widths(target)
        width = target.data_width
        gates, states = target.gates, signed(width)
        if gates > 1:
            states = data.ArrayLayout(states, gates)
        self._lookup = Lookup(target)
        self._units = target.hidden // gates
        self._readers = ("", "_head") if target.streams > 1 else ("",)
        self._hidden = {
            _of_lane("hidden", lane) + reader: RegisteredMemory(width, self._units, target.build.technology)
            for lane in range(gates)
            for reader in self._readers
            if target.pipeline.hidden
        }
        super().__init__(
            {
                "instruction": In(layout(gate_instruction(target))),
                "start": In(1),
                "done": Out(1),
                "final_step": In(1),
                "every_h": In(1),
                "initial": In(1),
                "keep": In(1),
                "state": In(stream.Signature(signed(width))),
                "out": Out(stream.Signature(output_word(target))),
                "sending": Out(1),
                "stalled": Out(1),
                "result_address": Out(w.result),
                "result_data": In(data.ArrayLayout(signed(width), target.columns)),
                "hidden_valid": Out(1),
                "hidden_address": Out(w.unit),
                "hidden_data": Out(states),
                "h_address": In(w.unit),
                "h_data": Out(states),
                "cell_valid": Out(1),
                "cell_address": Out(w.unit),
                "cell_data": Out(states),
                "table_fill": In(image_write(2 * SEGMENTS, table_width(width))),
            }
            | (
                {
                    "frames": In(data.ArrayLayout(FRAME, gates)),
                    "head_address": In(w.unit),
                    "head_data": Out(signed(width)),
                }
                if target.streams > 1
                else {}
            )
            | ({"hidden_mask": Out(gates), "cell_mask": Out(gates), "head_lane": In(range(gates))} if gates > 1 else {})
        )

    @property
    def multipliers(self) -> int:
        """Multiplier blocks of the part."""
        return costs.gate_unit(self._target).multipliers

    @property
    def block_rams(self) -> int:
        return costs.gate_unit(self._target).block_rams

    def elaborate(self, platform):
        m = Module()
        target, instruction = self._target, self.instruction
        schedule = target.pipeline.gate
        m.submodules.pace = pace = Pace(target)
        m.submodules.lookup = lookup = self._lookup
        lanes = [Arithmetic(target) for _ in range(target.gates)]
        for lane, each in enumerate(lanes):
            m.submodules[_of_lane("arithmetic", lane)] = each
        arithmetic = lanes[0]
        m.submodules.sender = sender = Sender(target)
        m.d.comb += [
            pace.start.eq(self.start),
            pace.op.eq(instruction.op),
            pace.first.eq(instruction.first),
            pace.last.eq(instruction.last),
            pace.initial.eq(self.initial),
            pace.keep.eq(self.keep),
            pace.state_valid.eq(self.state.valid),
            pace.waiting.eq((self.out.valid & ~self.out.ready) | sender.cells_due),
            pace.done.eq(self.done),
            self.state.ready.eq(pace.state_ready),
            self.done.eq(pace.kept | (pace.running & sender.done)),
            self.stalled.eq(pace.running & ~self.done & (~pace.go | (pace.is_emit & sender.finishing))),
            self.sending.eq(self.out.valid | sender.cells_due),
        ]
        for part in (lookup, *lanes, sender):
            for name in ("go", "slot", "is_state", "is_step", "is_emit", "in_update", "moving", "last_unit"):
                if name in part.signature.members:
                    near = _of_lane(name, lanes.index(part)) if part in lanes and name in ("go", "slot") else name
                    m.d.comb += getattr(part, name).eq(getattr(pace, near))
        final, begins, writes = self._of_streams(m)
        wiring.connect(m, wiring.flipped(self.table_fill), lookup.fill)
        wiring.connect(m, sender.out, wiring.flipped(self.out))
        m.d.comb += [
            lookup.instruction.eq(instruction),
            lookup.start.eq(self.start),
            lookup.enable.eq(pace.enable),
            lookup.initial.eq(self.initial),
            lookup.state.eq(self.state.payload),
            lookup.state_taken.eq(pace.state_ready),
            lookup.cell.eq(arithmetic.cell),
            self.result_address.eq(lookup.result_address),
            lookup.result_data.eq(self.result_data),
            arithmetic.slope.eq(lookup.slope),
            arithmetic.base.eq(lookup.base),
            arithmetic.fraction.eq(lookup.fraction),
            arithmetic.code.eq(lookup.code),
            sender.start.eq(self.start),
            sender.first.eq(instruction.first),
            sender.top.eq(instruction.top),
            sender.final_step.eq(final),
            sender.every_h.eq(self.every_h),
            sender.result.eq(arithmetic.result),
            sender.code.eq(lookup.code),
        ]
        if target.streams > 1:
            m.d.comb += sender.stream.eq(instruction.stream)
        for lane, each in enumerate(lanes[1:], start=1):
            m.d.comb += getattr(lookup, f"cell_{lane}").eq(each.cell)
            for name in ("slope", "base", "fraction", "code"):
                m.d.comb += getattr(each, name).eq(getattr(lookup, f"{name}_{lane}"))
            for name in ("enable", "slot"):
                m.d.comb += getattr(lookup, f"{name}_{lane}").eq(getattr(pace, f"{name}_{lane}"))

        # Cell states. Slots keep reads and writes apart: no cycle has both.
        sends = pace.slot == schedule.send_cell
        m.d.comb += [
            self.cell_valid.eq(
                pace.go & Mux(pace.is_state, sender.wrote, pace.is_step & pace.in_update & (pace.slot == WRITE_CELL))
            ),
            self.cell_address.eq(sender.unit),
        ]
        for lane, each in enumerate(lanes):
            name, written = _of_lane("cell", lane), self.cell_data[lane] if len(lanes) > 1 else self.cell_data
            cells = Memory(shape=signed(target.data_width), depth=self._units, init=[], attrs={"ram_style": "block"})
            m.submodules[_of_lane("cells", lane)] = cells
            store, fetch = cells.write_port(), cells.read_port()
            m.d.comb += [
                written.eq(each.cell),
                store.en.eq(self.cell_valid & writes[lane] if len(lanes) > 1 else self.cell_valid),
                store.addr.eq(self.cell_address),
                store.data.eq(written),
                fetch.en.eq(
                    getattr(pace, _of_lane("go", lane))
                    & ((getattr(pace, _of_lane("slot", lane)) == schedule.read_cell) | (sends & sender.cells_due))
                ),
                fetch.addr.eq(Mux(sends, sender.unit, pace.unit)),
            ]
            cell = delay(m, fetch.data, schedule.cell, name)
            m.d.comb += each.cell_before.eq(Mux(begins[lane], 0, cell) if target.streams > 1 else cell)
            if lane == 0:
                m.d.comb += sender.cell.eq(cell)

        # Hidden states.
        m.d.comb += [
            self.hidden_valid.eq(sender.hidden_valid),
            self.hidden_address.eq(sender.unit),
        ]
        if len(lanes) == 1:
            m.d.comb += self.hidden_data.eq(sender.out.payload.value)
            self._keep_hidden(m, 0, self.hidden_valid, self.hidden_data)
            return m
        m.d.comb += [self.hidden_mask.eq(writes), self.cell_mask.eq(writes)]
        m.d.comb += self.hidden_data[0].eq(sender.out.payload.value)
        for lane, each in enumerate(lanes[1:], start=1):
            value = Signal.like(each.result, name=f"value_{lane}")
            with m.If(pace.moving):
                m.d.sync += value.eq(Mux(pace.is_step, each.result, 0))
            m.d.comb += self.hidden_data[lane].eq(value)
        heads = [
            self._keep_hidden(m, lane, self.hidden_valid & writes[lane], self.hidden_data[lane])
            for lane in range(len(lanes))
        ]
        chosen = delay(m, self.head_lane, timing.hidden(target), "head_lane")
        m.d.comb += self.head_data.eq(Array(heads)[chosen])
        return m

    def _of_streams(self, m: Module) -> tuple[Value, Value, Value]:
        """Whether an instruction's STEP is final; the lanes whose c before is zero, and those that are written."""
        instruction, gates = self.instruction, self._target.gates
        if self._target.streams == 1:
            return self.final_step, C(0, 1), C(1, 1)
        conditional = instruction.condition == Condition.PRESENT
        ends, begins, writes = Signal(), Signal(gates), Signal(gates)
        with m.If(self.start):
            m.d.sync += ends.eq(self.frames[0].ends)
            for lane, frame in enumerate(self.frames):
                m.d.sync += [
                    begins[lane].eq(conditional & frame.begins),
                    writes[lane].eq((instruction.op == GateOp.STATE) | Mux(conditional, frame.present, lane == 0)),
                ]
        return Mux(conditional, ends & instruction.top, self.final_step), begins, writes

    def _keep_hidden(self, m: Module, lane: int, enable: Value, value: Value) -> Value:
        """The memory of h of a lane, once per reader; what is read of it for the array, if there are several."""
        target, read = self._target, []
        for reader in self._readers:
            name, address = _of_lane("hidden", lane) + reader, self.head_address if reader else self.h_address
            if not self._hidden:
                m.submodules[name] = hidden = Memory(
                    shape=signed(target.data_width), depth=self._units, init=[], attrs={"ram_style": "block"}
                )
                keep_h, read_h = hidden.write_port(), hidden.read_port()
                m.d.comb += [
                    keep_h.en.eq(enable),
                    keep_h.addr.eq(self.hidden_address),
                    keep_h.data.eq(value),
                    read_h.addr.eq(address),
                ]
                read.append(read_h.data)
            else:
                m.submodules[name] = hidden = self._hidden[name]
                m.d.comb += [
                    hidden.write_enable.eq(enable),
                    hidden.write_address.eq(self.hidden_address),
                    hidden.write_data.eq(value),
                    hidden.read_address.eq(address),
                ]
                read.append(hidden.read_data)
        m.d.comb += (self.h_data[lane] if target.gates > 1 else self.h_data).eq(read[0])
        if target.gates == 1 and len(read) > 1:
            m.d.comb += self.head_data.eq(read[1])
        return read[-1].as_signed()


class Pace(Component):
    """Which slot it is, which of the beat's three stages hold a unit, and whether the gate unit goes on.

    Args:
        target: of the engine.

    Members:
        start (In), op, first, last (In): of the instruction: its first and last unit or logit.
        initial, keep (In): see GateUnit. done (In): the instruction is.
        state_valid (In), state_ready (Out): flow of `state`.
        waiting (In): a word is to be sent before more may be.
        kept (Out): the instruction does nothing, and is done. running (Out): one is under way.
        is_state, is_step, is_emit (Out): what it is, from the cycle after `start`.
        go (Out): what is in front of the multiplier goes on in this cycle. enable (Out): the same; if that is decided a
            cycle ahead, from a register of its own for all that wait with the operands.
        slot (Out): 0 to 7; STATE alternates between MOVE - 1, in which it takes h, and MOVE, in which it takes c.
        in_update (Out): a unit is in the beat's second stage.
        unit, last_unit (Out): the one in lookup, and whether it is the last.
        moving (Out): it is slot MOVE, and there is something to be written or sent.
        go_*, enable_*, slot_* (Out): with several gates: copies for the lanes after the first, by their numbers.

    Costs: latency 1.
    """

    def __init__(self, target: Target):
        self._schedule = target.pipeline.gate
        self._gates = target.gates
        unit = Widths(target).unit
        super().__init__(
            {
                "start": In(1),
                "op": In(GateOp),
                "first": In(unit),
                "last": In(unit),
                "initial": In(1),
                "keep": In(1),
                "done": In(1),
                "state_valid": In(1),
                "state_ready": Out(1),
                "waiting": In(1),
                "kept": Out(1),
                "running": Out(1),
                "is_state": Out(1),
                "is_step": Out(1),
                "is_emit": Out(1),
                "go": Out(1),
                "enable": Out(1),
                "slot": Out(range(BEAT)),
                "in_update": Out(1),
                "unit": Out(unit),
                "last_unit": Out(1),
                "moving": Out(1),
            }
            | {
                _of_lane(name, lane): Out(shape)
                for lane in range(1, target.gates)
                for name, shape in (("go", 1), ("enable", 1), ("slot", range(BEAT)))
            }
        )

    def elaborate(self, platform):
        m = Module()
        schedule, slot = self._schedule, self.slot
        state_next = self.op == GateOp.STATE
        fill, early = Signal(), Signal()  # the first unit's operands are on their way; slot 0 comes twice before it
        in_lookup, in_write = Signal(), Signal()
        wrap, advance = Signal(), Signal()
        m.d.comb += [
            wrap.eq(Mux(self.is_state, slot[0], slot == BEAT - 1)),
            advance.eq(self.go & wrap & ~early),
            self.last_unit.eq(self.unit == self.last),
        ]
        self._decide(m, fill, takes=self.is_state & self.initial & (fill | (in_lookup & ~self.last_unit)), on=advance)
        m.d.sync += [
            self.kept.eq(self.start & state_next & self.keep),
            self.is_state.eq(state_next),
            self.is_step.eq(self.op == GateOp.STEP),
            self.is_emit.eq(self.op == GateOp.EMIT),
        ]
        slots = [slot, *(_kept(m, self, "slot", lane) for lane in range(1, self._gates))]
        with m.If(self.start):
            m.d.sync += [
                *(each.eq(Mux(state_next, MOVE, schedule.first_slot)) for each in slots),
                fill.eq(1),
                early.eq(schedule.early & ~state_next),
                self.moving.eq(0),
                in_lookup.eq(0),
                self.in_update.eq(0),
                in_write.eq(0),
                self.unit.eq(self.first),
            ]
        with m.Elif(self.go):
            m.d.sync += [
                *(each.eq(Mux(self.is_state, Cat(~slot[0], C(MOVE >> 1, 2)), slot + 1)) for each in slots),
                self.moving.eq((slot == MOVE - 1) & Mux(self.is_step, in_write, in_lookup)),
            ]
            with m.If(wrap):
                m.d.sync += early.eq(0)
            with m.If(advance):
                m.d.sync += [
                    fill.eq(0),
                    in_lookup.eq(fill | (in_lookup & ~self.last_unit)),
                    self.in_update.eq(in_lookup),
                    in_write.eq(self.in_update),
                    self.unit.eq(self.unit + ~fill),
                ]
        return m

    def _decide(self, m: Module, fill: Value, takes: Value, on: Value) -> None:
        """Whether the unit goes on: not in slot 0, nor with the first unit's operands, while a word is to be sent, nor
        while STATE, from the cycle after `on` if it then `takes` a value, finds none.
        """
        running_next, blocked_next, takes_next = Signal(), Signal(), Signal()
        blocked, taking = Signal(), Signal()
        # Decided a cycle ahead: nothing begins to be sent at the end of these slots.
        held = self.start | fill | (self.slot == BEAT - 1) | ((self.slot == 0) & blocked)
        state_next = self.op == GateOp.STATE
        m.d.comb += [
            running_next.eq(Mux(self.start, ~(state_next & self.keep), self.running & ~self.done)),
            blocked_next.eq(held & self.waiting),
            takes_next.eq(taking),
        ]
        m.d.sync += [self.running.eq(running_next), blocked.eq(blocked_next), taking.eq(takes_next)]
        with m.If(self.start):
            m.d.comb += takes_next.eq(0)
        with m.Elif(on):
            m.d.comb += takes_next.eq(takes)
        if self._schedule.ahead:  # the next cycle's word waits in a register, and with it that the unit goes on
            goes = running_next & ~blocked_next & ~(takes_next & ~self.state_valid)
            enable = Signal(attrs={"keep": 1})
            m.d.comb += [self.state_ready.eq(running_next & ~blocked_next & takes_next), self.enable.eq(enable)]
            m.d.sync += [self.go.eq(goes), enable.eq(goes)]
            for lane in range(1, self._gates):
                m.d.sync += [_kept(m, self, name, lane).eq(goes) for name in ("go", "enable")]
        else:
            for lane in range(1, self._gates):
                m.d.comb += [getattr(self, _of_lane(name, lane)).eq(self.go) for name in ("go", "enable")]
            m.d.comb += [
                self.go.eq(self.running & ~blocked & ~(taking & ~self.state_valid)),
                self.enable.eq(self.go),
                self.state_ready.eq(self.running & taking),
            ]


class Lookup(Component):
    """Fetches z of a unit's gates, or another word on its way through, and what the tables hold of it; lane by lane,
    where several gates are computed side by side.

    Args:
        target: of the engine.

    Members:
        start, instruction, initial (In): see GateUnit. go, enable, slot, is_state, is_step, is_emit (In): see Pace.
        state (In), state_taken (In): a word of `state`, and that it is taken.
        cell (In): c', which is looked up once a beat.
        result_address (Out), result_data (In): the result memory, data one cycle after the address.
        code (Out): z, a logit, or a value of STATE.
        slope, base (Out): what a table holds of the segment in which z or c' lies; `fraction` (Out): where in it.
        fill (In): of the tables, see fdht.hw.engine.signatures.image_write.
        cell_*, code_*, slope_*, base_*, fraction_*, enable_*, slot_*: the same of the lanes after the first, by their
            numbers.

    Costs: latency as GateSchedule.ask from a gate's slot to its slope; block RAM of the tables.
    """

    def __init__(self, target: Target):
        self._target = target
        width = target.data_width
        entry = data.StructLayout({"base": signed(width), "slope": signed(width)})
        self._tables = [
            ImageMemory(target.build.technology, entry, 2 * SEGMENTS, 1 + target.pipeline.gate.tables)
            for _ in range(target.gates)
        ]
        super().__init__(
            {
                "start": In(1),
                "instruction": In(layout(gate_instruction(target))),
                "initial": In(1),
                "go": In(1),
                "enable": In(1),
                "slot": In(range(BEAT)),
                "is_state": In(1),
                "is_step": In(1),
                "is_emit": In(1),
                "state": In(signed(width)),
                "state_taken": In(1),
                "cell": In(signed(width)),
                "result_address": Out(Widths(target).result),
                "result_data": In(data.ArrayLayout(signed(width), target.columns)),
                "code": Out(signed(width)),
                "slope": Out(signed(width)),
                "base": Out(signed(width)),
                "fraction": Out(fraction_bits(target)),
                "fill": In(image_write(2 * SEGMENTS, table_width(width))),
            }
            | {
                f"{name}_{lane}": In(shape) if name in ("cell", "enable", "slot") else Out(shape)
                for lane in range(1, target.gates)
                for name, shape in (
                    ("enable", 1),
                    ("slot", range(BEAT)),
                    ("cell", signed(width)),
                    ("code", signed(width)),
                    ("slope", signed(width)),
                    ("base", signed(width)),
                    ("fraction", fraction_bits(target)),
                )
            }
        )

    def elaborate(self, platform):
        m = Module()
        target, state = self._target, self.state
        if target.pipeline.gate.ahead:
            state = Signal.like(self.state, name="taken", reset_less=True)
            with m.If(self.state_taken):
                m.d.sync += state.eq(self.state)
        words = self._z(m)
        with m.If(self.enable):
            with m.If(~self.is_state):
                m.d.sync += self.code.eq(words[0])
            with m.Elif(self.initial):
                m.d.sync += self.code.eq(state)
            with m.Else():
                m.d.sync += self.code.eq(0)
        for lane, word in enumerate(words[1:], start=1):
            with m.If(self._enable(lane)):
                m.d.sync += getattr(self, f"code_{lane}").eq(Mux(self.is_state, 0, word))
        for lane in range(target.gates):
            self._look_up(m, lane)
        return m

    def _look_up(self, m: Module, lane: int) -> None:
        """What the tables hold of a lane's code, or of its c'."""
        target, schedule = self._target, self._target.pipeline.gate
        slot, cell, code, slope, base, fraction = (
            getattr(self, _of_lane(name, lane)) for name in ("slot", "cell", "code", "slope", "base", "fraction")
        )
        m.submodules[_of_lane("tables", lane)] = tables = self._tables[lane]
        table: Any = tables.read_data
        wiring.connect(m, wiring.flipped(self.fill), tables.fill)
        bits = fraction_bits(target)
        squash, lookup = Signal.like(cell), Signal.like(cell)  # squash: c in the format of z
        of_c, of_g = (slot == (of - schedule.lookup) % BEAT for of in (schedule.slots.tanh_c, schedule.slots.tanh_g))
        m.d.comb += [
            squash.eq(_requantise(cell, target.gate_formats.tanh_shift, target.data_width)),
            lookup.eq(Mux(of_c, squash, code)),
            tables.read_enable.eq(self._enable(lane)),
            tables.read_address.eq(Cat(lookup[bits:-1], ~lookup[-1], of_c | of_g)),
            slope.eq(table.slope),
            base.eq(table.base),
        ]
        # As late as the table's entry.
        m.d.comb += fraction.eq(self._held(m, lookup[:bits], schedule.lookup, _of_lane("fraction", lane), lane))

    def _z(self, m: Module) -> list[Value]:
        """Asks the result memory for each gate of a unit in turn, or for a logit; what it answered, lane by lane."""
        target, schedule, slot = self._target, self._target.pipeline.gate, self.slot
        instruction, record = self.instruction, gate_instruction(target)
        m.submodules.z = z = AddressGenerator(record.record("z"), schedule.address)
        ahead = int(schedule.ahead)  # also this is decided a cycle ahead
        step, step_logit = ((at - ahead) % BEAT for at in (schedule.step, schedule.step_logit))
        steps = self.go & ~self.is_state & (slot == Mux(self.is_emit, step_logit, step))
        m.d.comb += [
            z.nest.eq(instruction.z),
            z.load.eq(self.start),
            z.step.eq(delay(m, steps, ahead, "steps", reset_less=False)),
        ]
        asked = Signal(Widths(target).result)
        offsets = {"g": instruction.g, "f": instruction.f, "i": C(0, 1), "o": instruction.o}
        with m.If(self.is_step), m.Switch(slot):
            for number, gate in enumerate(schedule.asked):
                with m.Case(number):
                    m.d.comb += asked.eq(offsets[gate])
        lane = z.address.lane
        offset = self._held(m, asked, schedule.offset, "offset")
        with m.If(self.enable):
            m.d.sync += self.result_address.eq(z.address.word + offset)
        word: Any = self.result_data
        lanes = [lane] * target.gates
        if schedule.data:  # the word stays when the unit stops, and its lane goes along with it
            if target.gates == 1:
                lanes = [self._held(m, lane, 2 + schedule.data - 1, "lane")]
            else:  # the last of its registers is there for each of those that choose
                early = self._held(m, lane, 2 + schedule.data - 2, "lane")
                lanes = [self._held(m, early, 1, f"lane_of_{k}", k, keep=True) for k in range(target.gates)]
            word = self._held(m, word, schedule.data - 1, "kept_word")
        answers = []
        for k, lane in enumerate(lanes):
            chosen = Array(word[k:])[lane] if k else word[lane] if target.columns > 1 else word[0]
            answers.append(self._held(m, chosen, min(schedule.data, 1), _of_lane("word", k), k))
        return answers

    def _enable(self, lane: int) -> Value:
        return getattr(self, _of_lane("enable", lane))

    def _held(self, m: Module, value: Any, cycles: int, name: str, lane: int = 0, *, keep: bool = False) -> Any:
        """A value some cycles later, in registers of a lane that stay as they are when the unit stops; with `keep`, in
        some that synthesis does not share with equal ones.
        """
        for k in range(cycles):
            register = Signal(value.shape(), name=f"{name}_{k}", attrs={"keep": 1} if keep else {})
            with m.If(self._enable(lane)):
                m.d.sync += register.eq(value)
            value = register
        return value


class Arithmetic(Component):
    """One multiplier, which never stops: multiply, add, shift and saturate.

    Args:
        target: of the engine.

    Members:
        go, slot, is_state, is_step (In): see Pace.
        slope, base, fraction (In): a lookup's, see Lookup. code (In): c, while STATE takes it.
        cell_before (In): c of the unit in update, in slot `forget`.
        result (Out): of the product whose slot was RESULT cycles ago. cell (Out): c', or what STATE gave.

    Costs: latency RESULT; a product per cycle; 1 multiplier, of LUTs on iCE40.
    """

    def __init__(self, target: Target):
        self._target = target
        width = target.data_width
        super().__init__(
            {
                "go": In(1),
                "slot": In(range(BEAT)),
                "is_state": In(1),
                "is_step": In(1),
                "slope": In(signed(width)),
                "base": In(signed(width)),
                "fraction": In(fraction_bits(target)),
                "code": In(signed(width)),
                "cell_before": In(signed(width)),
                "result": Out(signed(width)),
                "cell": Out(signed(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        target, schedule, slot = self._target, self._target.pipeline.gate, self.slot
        width, formats, slots = target.data_width, target.gate_formats, schedule.slots
        align = max(0, min(formats.hidden_shift - fraction_bits(target), width - 1 - fraction_bits(target)))
        tanh_g, sigmoid_o = (Signal(signed(width), name=n) for n in ("tanh_g", "sigmoid_o"))
        technology = target.build.technology
        m.submodules.multiplier = multiplier = (
            LutMultiplier(width) if technology is Technology.ICE40 else Multiplier(width, width, MULTIPLY, technology)
        )
        waiting = sigmoid_o
        if schedule.keeps_o:
            waiting = Signal.like(sigmoid_o, name="waiting_o")
            with m.If(slot == slots.forget):
                m.d.sync += waiting.eq(sigmoid_o)
        several = target.gates > 1  # equal controls of lanes are kept apart: their multipliers lie far from each other
        own = {"keep": 1} if several else {}
        # What meets the table's slope, or the result: a number that goes along with the slot.
        operands = (Cat(C(0, align), self.fraction, C(0, 1)), self.cell_before, tanh_g, waiting)
        operand = Signal(range(len(operands)), attrs=own)
        with m.If(self.go), m.Switch(slot):
            for number, of in enumerate((slots.forget, slots.input, slots.output), start=1):
                with m.Case(of - 1):
                    m.d.sync += operand.eq(number)
            with m.Default():
                m.d.sync += operand.eq(0)
        m.d.comb += [
            multiplier.a.eq(Mux(operand == 0, self.slope, self.result)),
            multiplier.b.eq(Array(Value.cast(value).as_unsigned()[:width] for value in operands)[operand]),
        ]

        at_add = delay(m, slot, MULTIPLY, "slot", keep=several)
        base = delay(m, self.base, MULTIPLY, "base")
        present = Signal(MULTIPLY + 1, attrs=own)
        m.d.sync += present.eq(Cat(self.go & self.is_step, present))
        # What is rounded is known a cycle ahead.
        rounds_g, rounds_o, rounds_cell, rounds_hidden = (
            delay(m, at_add == of, 1, f"rounds_{of}", keep=several)
            for of in (slots.tanh_g, slots.sigmoid_o, slots.input, slots.output)
        )
        table_shift = fraction_bits(target) + align
        forget_half = _half(formats.cell_shift) >> formats.forget_shift
        greatest = 1 << 2 * width - 2
        largest = max(
            (greatest + forget_half << formats.forget_shift) + greatest,
            greatest + (1 << width - 1 + table_shift) + _half(table_shift),
            greatest + _half(formats.hidden_shift),
        )
        total = Signal(signed(signed_bits(-largest, largest)), reset_less=True)
        addend = Signal.like(total)
        with m.Switch(at_add):
            with m.Case(slots.forget):
                m.d.comb += addend.eq(forget_half)
            with m.Case(slots.input):
                m.d.comb += addend.eq(total << formats.forget_shift)
            with m.Case(slots.output):
                m.d.comb += addend.eq(_half(formats.hidden_shift))
            with m.Default():
                m.d.comb += addend.eq((base << table_shift) + _half(table_shift))
        m.d.sync += total.eq(multiplier.o + addend)

        shifted = Signal(signed(len(total) - min(table_shift, formats.cell_shift, formats.hidden_shift)))
        rounded = Signal(signed(width))
        m.d.comb += [
            shifted.eq(total >> formats.hidden_shift),
            rounded.eq(_saturate(shifted, width)),
        ]
        with m.If(rounds_cell):
            m.d.comb += shifted.eq(total >> formats.cell_shift)
        if table_shift != formats.hidden_shift:
            with m.Elif(~rounds_hidden):
                m.d.comb += shifted.eq(total >> table_shift)
        with m.If(present[-1]):
            m.d.sync += self.result.eq(rounded)
            with m.If(rounds_g):
                m.d.sync += tanh_g.eq(rounded)
            with m.If(rounds_o):
                m.d.sync += sigmoid_o.eq(rounded)
            with m.If(rounds_cell):
                m.d.sync += self.cell.eq(rounded)
        with m.If(self.is_state & self.go & ~slot[0]):
            m.d.sync += self.cell.eq(self.code)
        return m


class Sender(Component):
    """Results leave: h to its memory, words to the output stream; c follows its h where that is asked for.

    Args:
        target: of the engine.

    Members:
        start, first, top, final_step, every_h (In): see GateUnit, and fdht.spec.instructions.gate_instruction; with
            several streams also stream (In).
        go, slot, is_step, is_emit, in_update, moving, last_unit (In): see Pace.
        result (In): h in slot MOVE. code (In): a logit, or h of STATE. cell (In): c of `unit`, from slot WRITE_CELL on.
        unit (Out): whose h is written next or was in the last cycle. hidden_valid (Out): `out.payload.value` is to be
            written as its h. wrote (Out): h was written in the cycle before.
        out (Out): see GateUnit. cells_due (Out): c has to follow its h.
        finishing (Out): the last word is being written or sent. done (Out): in this cycle, if a run is under way.

    Costs: latency 1 from `moving` to `hidden_valid` and `out`; a word per beat, or two with c.
    """

    def __init__(self, target: Target):
        width, unit = target.data_width, Widths(target).unit
        self._several = target.streams > 1
        super().__init__(
            {
                "start": In(1),
                "first": In(unit),
                "top": In(1),
                "final_step": In(1),
                "every_h": In(1),
                "go": In(1),
                "slot": In(range(BEAT)),
                "is_step": In(1),
                "is_emit": In(1),
                "in_update": In(1),
                "moving": In(1),
                "last_unit": In(1),
                "result": In(signed(width)),
                "code": In(signed(width)),
                "cell": In(signed(width)),
                "unit": Out(unit),
                "hidden_valid": Out(1),
                "wrote": Out(1),
                "out": Out(stream.Signature(output_word(target))),
                "cells_due": Out(1),
                "finishing": Out(1),
                "done": Out(1),
            }
            | ({"stream": In(Widths(target).stream)} if self._several else {})
        )

    def elaborate(self, platform):
        m = Module()
        move, writes, cell_ready = Signal(), Signal(), Signal()
        value = Signal.like(self.result)
        kind = Signal(OutputKind)
        last = Mux(self.is_step, ~self.in_update, self.last_unit)
        m.d.comb += [
            move.eq(self.go & self.moving),
            self.hidden_valid.eq(self.go & writes),
            self.out.payload.kind.eq(kind),
            self.out.payload.value.eq(value),
            self.done.eq(self.finishing & Mux(self.is_emit, self.out.valid & self.out.ready, self.wrote)),
        ]
        with m.If(self.start):
            m.d.sync += [self.unit.eq(self.first), self.finishing.eq(0)]
        with m.If(self.go):
            m.d.sync += [writes.eq(move & ~self.is_emit), self.wrote.eq(writes)]
            with m.If(self.wrote):
                m.d.sync += self.unit.eq(self.unit + 1)
            with m.If(self.slot == WRITE_CELL - 1):
                m.d.sync += cell_ready.eq(self.cells_due)
        with m.If(self.out.ready):
            m.d.sync += self.out.valid.eq(0)
        with m.If(self.moving):  # never stopped, or with nothing that changes
            m.d.sync += value.eq(Mux(self.is_step, self.result, self.code))
        with m.Elif(cell_ready & (~self.out.valid | self.out.ready)):
            m.d.sync += value.eq(self.cell)
        with m.If(move):
            m.d.sync += [
                self.finishing.eq(last),
                self.out.payload.last.eq(last),
                self.out.valid.eq(self.is_emit | (self.is_step & (self.every_h & self.top | self.final_step))),
                self.cells_due.eq(self.is_step & self.final_step),
                kind.eq(Mux(self.is_emit, OutputKind.LOGIT, OutputKind.HIDDEN)),
            ]
        with m.Elif(cell_ready & (~self.out.valid | self.out.ready)):
            m.d.sync += [
                kind.eq(OutputKind.CELL),
                self.out.valid.eq(1),
                self.cells_due.eq(0),
                cell_ready.eq(0),
            ]
            if self._several:
                m.d.sync += self.out.payload.complete.eq(self.out.payload.last)
        if self._several:
            with m.If(move):
                m.d.sync += [
                    self.out.payload.stream.eq(self.stream),
                    self.out.payload.complete.eq(last & ~(self.is_step & self.final_step)),
                ]
        return m


def _of_lane(name: str, lane: int) -> str:
    """A name among those of several lanes."""
    return f"{name}_{lane}" if lane else name


def _kept(m: Module, component: Component, name: str, lane: int) -> Signal:
    """The register of an output of a lane, which synthesis does not share with those of other lanes."""
    output = getattr(component, _of_lane(name, lane))
    register = Signal.like(output, name=f"kept_{name}_{lane}", attrs={"keep": 1})
    m.d.comb += output.eq(register)
    return register


def fraction_bits(target: Target) -> int:
    """Bits of a code that say where in its segment it lies."""
    return target.data_width - bits_for(SEGMENTS)


def _half(shift: int) -> int:
    """What turns a shift to the right into rounding half up."""
    return 1 << shift >> 1


def _saturate(value: Value, width: int) -> Value:
    """A signed value clipped to `width` bits."""
    sign, above = value[-1], value[width - 1 : -1]
    clipped = Cat((~sign).replicate(width - 1), sign).as_signed()
    return Mux((above != sign.replicate(len(above))), clipped, value[:width].as_signed())


def _requantise(value: Value, shift: int, width: int) -> Value:
    """Fixed.requantise of a constant shift."""
    if not shift:
        return value
    return _saturate((value + _half(shift)) >> shift, width)
