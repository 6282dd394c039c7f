"""The gate unit: sigmoid, tanh and the cell update of an LSTM, one hidden unit every eight cycles."""

from typing import Any, NamedTuple

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.address import AddressGenerator
from fdht.hw.engine.layout import layout
from fdht.hw.engine.memories import ImageMemory
from fdht.hw.engine.signatures import image_write, output_word
from fdht.hw.technology import LutMultiplier, Multiplier, RegisteredMemory
from fdht.spec import costs
from fdht.spec.activation import SEGMENTS, table_width
from fdht.spec.fixed import signed_bits
from fdht.spec.instructions import GateOp, Widths, bits_for, gate_instruction
from fdht.spec.protocol import OutputKind
from fdht.spec.target import Target, Technology
from fdht.spec.timing import MULTIPLY, lookahead


class Slots(NamedTuple):
    """A beat is eight slots, one cycle each: in which of them each of a unit's eight products enters the multiplier.

    Five products are lookups (slope × offset within a segment of a table), three belong to the update: `forget` is
    sigmoid(f) × c, `input` is sigmoid(i) × tanh(g), `output` is sigmoid(o) × tanh(c). A product's result is in the
    register `result` RESULT cycles after its slot. Lookups are placed so that sigmoid(f), sigmoid(i) and tanh(c) are
    there in the slots `forget`, `input` and `output`; tanh(g) and sigmoid(o) wait in registers of their own.
    """

    tanh_g: int
    sigmoid_f: int
    sigmoid_i: int
    tanh_c: int
    sigmoid_o: int
    forget: int
    input: int
    output: int


COMPACT = Slots(0, 1, 2, 3, 4, 5, 6, 7)
"""tanh_c and output belong to the unit of the beat before: c is looked up as soon as it is known."""

REGISTERED = Slots(6, 0, 1, 3, 2, 4, 5, 7)
"""With a register behind the tables. tanh_g belongs to the unit of the beat after; sigmoid(o) is kept another beat."""


class CellReads(NamedTuple):
    """Slots in which c is read from its memory.

    Attributes:
        update: c of the unit in update, in time for slot `forget`.
        send: c of the unit in write, which follows its h to `out`.
    """

    update: int
    send: int

    @property
    def send_bit(self) -> int:
        """The lowest bit of a slot's number that is set in `send` and not in `update`."""
        return next(bit for bit in range(3) if self.send >> bit & 1 and not self.update >> bit & 1)


COMPACT_READS, REGISTERED_READS = CellReads(update=4, send=5), CellReads(update=2, send=4)

MOVE = 3
"""Slot in which what is to be written or sent moves to the output register."""

RESULT = MULTIPLY + 2
"""Operands to result: multiply, add, shift and saturate."""

for _slots in (COMPACT, REGISTERED):
    assert _slots.forget - _slots.sigmoid_f == _slots.input - _slots.sigmoid_i == RESULT and _slots.output == 7
    assert _slots.output - _slots.tanh_c == RESULT and _slots.input == _slots.forget + 1


class GateUnit(Component):
    """Executes gate instructions (see fdht.spec.instructions), bit-exact with fdht.spec.activation and
    fdht.spec.formats.

    Per unit:

        c' = saturate(round((sigmoid(f) * c << forget_shift) + sigmoid(i) * tanh(g) >> cell_shift))
        h  = saturate(round(sigmoid(o) * tanh(c') >> hidden_shift))

    All eight products share one multiplier. A unit takes part in three beats of eight slots (see Slots): lookups and
    c'; tanh(c') and h; writing and sending. Where the array is not compact there is a register behind every memory, z
    is fetched in a beat of its own, and the slots are others.

    Everything in front of the multiplier stops as a whole when `out` is full at the start of a beat or `state`
    has no word; the arithmetic behind it runs on, and its last results wait in their registers.

    Args:
        target: of the engine.

    Members:
        instruction (In): stable from `start` to `done`. start (In): pulse, not before the cycle after `done`.
        done (Out): in the cycle of the last write, or in which the last logit is accepted.
        final_step (In): this STEP is the run's last. every_h (In): send h of every STEP. initial (In): STATE
            takes its values from `state`. keep (In): STATE changes nothing and is done in the next cycle. All stable
            from `start` to `done`.
        state (In): h, then c, of each unit.
        out (Out): STEP sends h of each unit if `final_step` (followed by its c), or if `every_h` and this is the top
            layer; EMIT sends logits. The last c may leave after `done`; the next instruction waits for that.
        sending (Out): a word waits for `out`, or c has to follow its h.
        stalled (Out): this cycle is lost, because `state` has or `out` takes no word.
        result_address (Out), result_data (In): the result memory, data one cycle after the address.
        hidden_valid, hidden_address, hidden_data (Out): h as it is written to the unit's own memory. cell_valid,
            cell_address, cell_data (Out): c.
        h_address (In), h_data (Out): reads h of a unit, timing.hidden() cycles later.
        table_fill (In): see fdht.hw.engine.signatures.image_write and fdht.spec.activation.table_words.

    Costs: latency as fdht.spec.timing.gate; 8 cycles per unit in STEP and per logit in EMIT, 2 per unit in STATE; one
    multiplier (of LUTs on iCE40, whose multipliers the array needs) and block RAM as fdht.spec.costs.gate_unit.
    """

    def __init__(self, target: Target):
        self._target = target
        w = Widths(target)
        width = target.data_width
        entry = data.StructLayout({"base": signed(width), "slope": signed(width)})
        self._tables = ImageMemory(target.technology, entry, 2 * SEGMENTS, 1 if target.compact else 2)
        self._hidden = None if target.compact else RegisteredMemory(width, target.hidden, target.technology)
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
                "hidden_data": Out(signed(width)),
                "h_address": In(w.unit),
                "h_data": Out(signed(width)),
                "cell_valid": Out(1),
                "cell_address": Out(w.unit),
                "cell_data": Out(signed(width)),
                "table_fill": In(image_write(2 * SEGMENTS, table_width(width))),
            }
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
        target = self._target
        width = target.data_width
        instruction = self.instruction
        record = gate_instruction(target)

        is_state, is_step, is_emit = (Signal(name=f"is_{op.name.lower()}") for op in GateOp)  # from `start` + 1 on
        state_next = instruction.op == GateOp.STATE
        late = not target.compact
        slots = REGISTERED if late else COMPACT
        running, go = Signal(), Signal()
        go_operands = Signal(attrs={"keep": 1}) if late else go  # a register of their own for so many that it enables
        blocked = Signal()  # in slot 0, or with the first unit's operands, while a word is to be sent
        slot = Signal(3)
        fill, early = Signal(), Signal()  # the first unit's operands are on their way; for another beat
        in_lookup, in_update, in_write = Signal(), Signal(), Signal()  # the beat's three stages hold a unit
        unit = Signal(Widths(target).unit)  # in lookup
        written = Signal.like(unit)  # in write
        moving = Signal()  # slot MOVE, and there is something to be written or sent
        wrap, last_unit = Signal(), Signal()
        cells_due = Signal()  # c has to follow its h
        writes, wrote, finishing = Signal(), Signal(), Signal()  # h is written in this cycle, was in the last one

        kept = Signal()
        takes_state = Signal()  # STATE that takes its values from `state`, with a unit in lookup
        taken = Signal.like(self.state.payload, reset_less=True)
        m.d.comb += [
            wrap.eq(Mux(is_state, slot[0], slot == 7)),
            last_unit.eq(unit == instruction.last),
            self.stalled.eq(running & ~self.done & (~go | (is_emit & finishing))),
        ]
        # Decided a cycle ahead: nothing begins to be sent at the end of these slots.
        held = self.start | fill | (slot == 7) | ((slot == 0) & blocked)
        running_next, blocked_next, takes_next = Signal(), Signal(), Signal()
        m.d.comb += [
            running_next.eq(Mux(self.start, ~(state_next & self.keep), running & ~self.done)),
            blocked_next.eq(held & ((self.out.valid & ~self.out.ready) | cells_due)),
            takes_next.eq(takes_state),
        ]
        m.d.sync += [running.eq(running_next), blocked.eq(blocked_next), takes_state.eq(takes_next)]
        state = self.state.payload
        if late:  # the next cycle's word waits in a register, and with it that the unit goes on
            goes = running_next & ~blocked_next & ~(takes_next & ~self.state.valid)
            m.d.comb += self.state.ready.eq(running_next & ~blocked_next & takes_next)
            m.d.sync += [go.eq(goes), go_operands.eq(goes)]
            with m.If(self.state.ready):
                m.d.sync += taken.eq(state)
            state = taken
        else:
            m.d.comb += [
                go.eq(running & ~blocked & ~(takes_state & ~self.state.valid)),
                self.state.ready.eq(running & takes_state),
            ]
        m.d.sync += [
            kept.eq(self.start & state_next & self.keep),
            is_state.eq(state_next),
            is_step.eq(instruction.op == GateOp.STEP),
            is_emit.eq(instruction.op == GateOp.EMIT),
        ]
        with m.If(self.start):
            m.d.sync += [
                # STATE alternates between MOVE - 1, in which it takes h, and MOVE, in which it takes c. The others
                # begin so many slots before one of number 0; slots are numbered modulo 8.
                slot.eq(Mux(state_next, MOVE, -RESULT - lookahead(target))),
                fill.eq(1),
                early.eq(late & ~state_next),
                moving.eq(0),
                in_lookup.eq(0),
                in_update.eq(0),
                in_write.eq(0),
                unit.eq(instruction.first),
                written.eq(instruction.first),
                finishing.eq(0),
            ]
        with m.Elif(go):
            m.d.sync += [
                slot.eq(Mux(is_state, Cat(~slot[0], C(MOVE >> 1, 2)), slot + 1)),
                moving.eq((slot == MOVE - 1) & Mux(is_step, in_write, in_lookup)),
            ]
            with m.If(wrap):
                m.d.sync += early.eq(0)
            with m.If(wrap & ~early):
                m.d.sync += [
                    fill.eq(0),
                    in_lookup.eq(fill | (in_lookup & ~last_unit)),
                    in_update.eq(in_lookup),
                    in_write.eq(in_update),
                    unit.eq(unit + ~fill),
                ]
        with m.If(self.start):
            m.d.comb += takes_next.eq(0)
        with m.Elif(go & wrap & ~early):
            m.d.comb += takes_next.eq(is_state & self.initial & (fill | (in_lookup & ~last_unit)))

        # Operands: z (or a word on its way through) and the tables.
        m.submodules.z = z = AddressGenerator(record.record("z"), target)
        offset = Signal(Widths(target).result)
        code = Signal(signed(width))
        squash = Signal(signed(width))  # c in the format of z
        cell_next, cell_now = Signal(signed(width)), Signal(signed(width))
        formats = target.gate_formats
        lane = z.address.lane
        steps: Any = go & (slot == MOVE)
        if late:  # a logit is taken in slot MOVE, later than o is looked up
            steps = delay(m, go & ~is_state & (slot == MOVE + is_emit), 1, "steps", reset_less=False)
        m.d.comb += [
            z.nest.eq(instruction.z),
            z.load.eq(self.start),
            z.step.eq(steps),
            squash.eq(_requantise(cell_next, formats.tanh_shift, width)),
        ]
        asked: Any = Signal.like(offset) if late else offset
        ahead = 8 if late else 4  # of the product: address, memory, code, table; or offset, each, word and lane
        # Without the registers, the address of i stays on through slot 7, so that its data stays when the unit stops
        # in slot 0.
        with m.If(is_step), m.Switch(slot):
            with m.Case((slots.tanh_g - ahead) % 8):
                m.d.comb += asked.eq(instruction.g)
            with m.Case((slots.sigmoid_f - ahead) % 8):
                m.d.comb += asked.eq(instruction.f)
            with m.Case((slots.sigmoid_i - ahead) % 8, *(() if late else (7,))):
                m.d.comb += asked.eq(0)
            with m.Default():
                m.d.comb += asked.eq(instruction.o)
        word = Signal(signed(width))
        if late:
            with_address, with_data, with_kept = (Signal.like(lane, name=f"lane_{k}") for k in range(3))
            kept_word = Signal.like(self.result_data)
            with m.If(go_operands):
                m.d.sync += [
                    offset.eq(asked),
                    with_address.eq(lane),
                    with_data.eq(with_address),
                    with_kept.eq(with_data),
                    kept_word.eq(self.result_data),
                    word.eq(kept_word[with_kept] if target.columns > 1 else kept_word[0]),
                ]
        else:
            m.d.comb += word.eq(self.result_data[lane] if target.columns > 1 else self.result_data[0])
        with m.If(go_operands):
            m.d.sync += self.result_address.eq(z.address.word + offset)
            with m.If(~is_state):
                m.d.sync += code.eq(word)
            with m.Elif(self.initial):
                m.d.sync += code.eq(state)
            with m.Else():
                m.d.sync += code.eq(0)

        fraction_bits = width - bits_for(SEGMENTS)
        align = max(0, min(formats.hidden_shift - fraction_bits, width - 1 - fraction_bits))
        lookup = Signal(signed(width))
        fraction = Signal(fraction_bits)
        m.submodules.tables = tables = self._tables
        table: Any = tables.read_data
        wiring.connect(m, wiring.flipped(self.table_fill), tables.fill)
        looks_up = 2 if late else 1  # cycles before the product
        of_c = slot == (slots.tanh_c - looks_up) % 8
        m.d.comb += [
            lookup.eq(Mux(of_c, squash, code)),
            tables.read_enable.eq(go_operands),
            tables.read_address.eq(
                Cat(lookup[fraction_bits:-1], ~lookup[-1], of_c | (slot == (slots.tanh_g - looks_up) % 8))
            ),
        ]
        with m.If(go_operands):
            m.d.sync += fraction.eq(lookup[:fraction_bits])
        if late:  # as late as the table's entry
            low = Signal.like(fraction, name="fraction_1")
            with m.If(go_operands):
                m.d.sync += low.eq(fraction)
            fraction = low

        # The arithmetic, which never stops: multiply, add, shift and saturate.
        result, tanh_g, sigmoid_o = (Signal(signed(width), name=n) for n in ("result", "tanh_g", "sigmoid_o"))
        in_luts = target.technology is Technology.ICE40
        m.submodules.multiplier = multiplier = (
            LutMultiplier(width) if in_luts else Multiplier(width, width, MULTIPLY, target.technology)
        )
        waiting = sigmoid_o
        if late:
            waiting = Signal.like(sigmoid_o, name="waiting_o")
            with m.If(slot == slots.forget):
                m.d.sync += waiting.eq(sigmoid_o)
        # What meets the table's slope, or the result: a number that goes along with the slot.
        operands = (Cat(C(0, align), fraction, C(0, 1)), cell_now, tanh_g, waiting)
        operand = Signal(range(len(operands)))
        with m.If(go), m.Switch(slot):
            for number, of in enumerate((slots.forget, slots.input, slots.output), start=1):
                with m.Case(of - 1):
                    m.d.sync += operand.eq(number)
            with m.Default():
                m.d.sync += operand.eq(0)
        m.d.comb += [
            multiplier.a.eq(Mux(operand == 0, table.slope, result)),
            multiplier.b.eq(Array(Value.cast(value).as_unsigned()[:width] for value in operands)[operand]),
        ]

        at, base = [slot], table.base
        for stage in range(MULTIPLY):
            at.append(Signal.like(slot, name=f"slot_{stage + 1}", reset_less=True))
            m.d.sync += at[-1].eq(at[-2])
        for stage in range(MULTIPLY):
            delayed = Signal(signed(width), name=f"base_{stage + 1}", reset_less=True)
            m.d.sync += delayed.eq(base)
            base = delayed
        present = Signal(MULTIPLY + 1)
        m.d.sync += present.eq(Cat(go & is_step, present))

        at_add = at[MULTIPLY]
        # What is rounded is known a cycle ahead.
        rounds_g, rounds_o, rounds_cell, rounds_hidden = (
            delay(m, at_add == of, 1, f"rounds_{of}")
            for of in (slots.tanh_g, slots.sigmoid_o, slots.input, slots.output)
        )
        table_shift = fraction_bits + align
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
            m.d.sync += result.eq(rounded)
            with m.If(rounds_g):
                m.d.sync += tanh_g.eq(rounded)
            with m.If(rounds_o):
                m.d.sync += sigmoid_o.eq(rounded)
            with m.If(rounds_cell):
                m.d.sync += cell_next.eq(rounded)
        with m.If(is_state & go & ~slot[0]):
            m.d.sync += cell_next.eq(code)

        # Cell states. Slots keep reads and writes apart: no cycle has both.
        cell_ready = Signal()
        m.submodules.cells = cells = Memory(
            shape=signed(width), depth=target.hidden, init=[], attrs={"ram_style": "block"}
        )
        store, fetch = cells.write_port(), cells.read_port()
        reads = REGISTERED_READS if late else COMPACT_READS
        m.d.comb += [
            self.cell_valid.eq(go & Mux(is_state, wrote, is_step & in_update & (slot == 6))),
            self.cell_address.eq(written),
            self.cell_data.eq(cell_next),
            store.en.eq(self.cell_valid),
            store.addr.eq(self.cell_address),
            store.data.eq(self.cell_data),
            fetch.en.eq(go & ((slot == reads.update) | ((slot == reads.send) & cells_due))),
            fetch.addr.eq(Mux(slot[reads.send_bit], written, unit)),
            cell_now.eq(delay(m, fetch.data, int(late), "cell")),
        ]

        # Results leave: h to its memory, words to the output stream.
        if self._hidden is None:
            m.submodules.hidden = hidden = Memory(
                shape=signed(width), depth=target.hidden, init=[], attrs={"ram_style": "block"}
            )
            keep_h, read_h = hidden.write_port(), hidden.read_port()
            m.d.comb += [
                keep_h.en.eq(self.hidden_valid),
                keep_h.addr.eq(self.hidden_address),
                keep_h.data.eq(self.hidden_data),
                read_h.addr.eq(self.h_address),
                self.h_data.eq(read_h.data),
            ]
        else:
            m.submodules.hidden = hidden = self._hidden
            m.d.comb += [
                hidden.write_enable.eq(self.hidden_valid),
                hidden.write_address.eq(self.hidden_address),
                hidden.write_data.eq(self.hidden_data),
                hidden.read_address.eq(self.h_address),
                self.h_data.eq(hidden.read_data),
            ]
        move = Signal()
        value = Signal(signed(width))
        kind = Signal(OutputKind)
        m.d.comb += [
            move.eq(go & moving),
            self.sending.eq(self.out.valid | cells_due),
            self.hidden_valid.eq(go & writes),
            self.hidden_address.eq(written),
            self.hidden_data.eq(value),
            self.out.payload.kind.eq(kind),
            self.out.payload.value.eq(value),
            self.done.eq(kept | (running & finishing & Mux(is_emit, self.out.valid & self.out.ready, wrote))),
        ]
        with m.If(go):
            m.d.sync += [writes.eq(move & ~is_emit), wrote.eq(writes)]
            with m.If(wrote):
                m.d.sync += written.eq(written + 1)
            with m.If(slot == 5):
                m.d.sync += cell_ready.eq(cells_due)
        with m.If(self.out.ready):
            m.d.sync += self.out.valid.eq(0)
        with m.If(moving):  # never stopped, or with nothing that changes
            m.d.sync += value.eq(Mux(is_step, result, code))
        with m.Elif(cell_ready & (~self.out.valid | self.out.ready)):
            m.d.sync += value.eq(cell_now)
        with m.If(move):
            m.d.sync += [
                finishing.eq(Mux(is_step, ~in_update, last_unit)),
                self.out.payload.last.eq(Mux(is_step, ~in_update, last_unit)),
                self.out.valid.eq(is_emit | (is_step & (self.every_h & instruction.top | self.final_step))),
                cells_due.eq(is_step & self.final_step),
                kind.eq(Mux(is_emit, OutputKind.LOGIT, OutputKind.HIDDEN)),
            ]
        with m.Elif(cell_ready & (~self.out.valid | self.out.ready)):
            m.d.sync += [
                kind.eq(OutputKind.CELL),
                self.out.valid.eq(1),
                cells_due.eq(0),
                cell_ready.eq(0),
            ]
        return m


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
