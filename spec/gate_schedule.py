"""When the gate unit does what: its schedule as data, from which gateware, cycle counts and programs derive.

A beat is eight slots, one cycle each. In a beat, eight products go through the unit's one multiplier: five lookups
(slope × offset within a segment of a table) and the three of the cell update.
"""

from dataclasses import dataclass, fields

from fdht.spec.errors import SpecError
from fdht.spec.record import Checked

BEAT = 8
"""Slots of a beat: cycles per hidden unit in STEP, and per logit in EMIT."""

MULTIPLY = 2
"""Operands at the gate unit's multiplier to product: input registers, output register."""

RESULT = MULTIPLY + 2
"""Operands to result: multiply, add, shift and saturate."""

MOVE = 3
"""Slot in which what is to be written or sent moves to the output register; h is written, or a word offered, in the
next."""

WRITE_CELL = 6
"""Slot in which c is written to its memory, from which it also may follow its h."""


@dataclass(frozen=True)
class Slots(Checked):
    """In which slot each of a unit's eight products enters the multiplier.

    `forget` is sigmoid(f) × c, `input` is sigmoid(i) × tanh(g), `output` is sigmoid(o) × tanh(c); the others are
    lookups. A product's result is in the register `result` RESULT cycles after its slot. sigmoid(f), sigmoid(i) and
    tanh(c) must be there in the slots `forget`, `input` and `output`; tanh(g) and sigmoid(o) wait in registers of their
    own.
    """

    tanh_g: int
    sigmoid_f: int
    sigmoid_i: int
    tanh_c: int
    sigmoid_o: int
    forget: int
    input: int
    output: int


@dataclass(frozen=True)
class GateSchedule(Checked):
    """A gate unit's slots and registers.

    Attributes:
        slots: of the products. `tanh_c` and `output` belong to the unit of the beat before.
        step, step_logit: slot in which the address of z goes on to the next unit, in STEP and in EMIT.
        address: registers in its address generator, 0 or 2.
        offset: 1 if the offset of a gate within z waits in a register.
        data: registers behind the result memory, 0 to 2.
        tables: 1 if there is a register behind the tables.
        cell: 1 if there is a register behind the memory of c.
        ahead: whether the unit goes on is decided a cycle ahead, and a word of `state` waits in a register.

    Raises:
        SpecError: products come before their operands, or an address too early or too late.
    """

    slots: Slots
    step: int
    step_logit: int
    address: int = 0
    offset: int = 0
    data: int = 0
    tables: int = 0
    cell: int = 0
    ahead: bool = False

    def __post_init__(self):
        at = self.slots
        if sorted(getattr(at, each.name) for each in fields(at)) != list(range(BEAT)):
            raise SpecError(f"slots of a gate unit are {at}; each of 0 to {BEAT - 1} is of one product")
        if self.address not in (0, 2) or not 0 <= self.data <= 2 or {self.offset, self.tables, self.cell} - {0, 1}:
            raise SpecError("a gate unit has 0 or 2 registers at its address, 0 to 2 behind z and 0 or 1 elsewhere")
        rules = {
            "sigmoid_f before forget": at.forget - at.sigmoid_f == RESULT,
            "sigmoid_i before input": at.input - at.sigmoid_i == RESULT,
            "tanh_c before output": at.output - at.tanh_c == RESULT,
            "input after forget": at.input == at.forget + 1,
            "output last": at.output == BEAT - 1,
            "tanh_g before input": RESULT < (at.input - at.tanh_g) % BEAT <= BEAT,
            "c before tanh_c": (at.tanh_c - self.lookup - at.input - RESULT) % BEAT < WRITE_CELL,
            "fewer than two beats to begin": self.begins <= 2 * BEAT,
            "what is read in slot 0 stays": not self._held
            or (self._held + 1 not in self._chosen and (self.step + STEP_PATH + self.address) % BEAT != BEAT - 1),
            "no address on its way in slot 0, in which the unit may stop": all(
                1 <= step <= BEAT - STEP_PATH - self.address for step in (self.step, self.step_logit)
            ),
            "step between two units": self._stepped(self.step, STEP_PATH) in self._step_window,
            "step between two logits": self._stepped(self.step_logit, LOGIT_PATH + self.data) in self._logit_window
            and (self.data > 0 or self._stepped(self.step_logit, STEP_PATH + 1) in self._logit_window),
        }
        broken = [rule for rule, kept in rules.items() if not kept]
        if broken:
            raise SpecError(f"slots of a gate unit do not fit its registers: {', '.join(broken)}")

    @property
    def lookup(self) -> int:
        """Code at the tables to the product with what they hold."""
        return 1 + self.tables

    @property
    def ask(self) -> int:
        """Slots from a gate's offset to its product: offset, address, memory, data, code, table."""
        return self.offset + 1 + 1 + self.data + 1 + self.lookup

    @property
    def products(self) -> dict[str, int]:
        """Slot of each gate's lookup, counted from the beat of its unit; tanh_g may belong to the beat before."""
        at = self.slots
        early = BEAT if at.tanh_g > at.input else 0
        return {"g": at.tanh_g - early, "f": at.sigmoid_f, "i": at.sigmoid_i, "o": at.sigmoid_o}

    @property
    def begins(self) -> int:
        """`start` of STEP or EMIT to slot 0 of the first unit's beat: its first gate is asked for as soon as the
        address of z is there.
        """
        return self.ask - min(self.products.values()) + max(1, 1 + self.address - self.offset)

    @property
    def first_slot(self) -> int:
        """The slot of the cycle after `start`."""
        return (1 - self.begins) % BEAT

    @property
    def early(self) -> bool:
        """Whether slot 0 comes twice before the first unit's beat has begun."""
        return self.begins > BEAT + 1

    @property
    def asks(self) -> dict[str, int]:
        """`start` of STEP to the cycle in which it asks the result memory for each gate of its first unit; those of the
        others follow every BEAT.
        """
        return {gate: self.begins + at - self.ask + self.offset + 1 for gate, at in self.products.items()}

    @property
    def asked(self) -> list[str]:
        """The gate whose offset is chosen in each slot. What is read in slot 0 is asked for twice: nothing stops the
        memory, so that only an address that stays lets the data stay when the unit stops there.
        """
        found = [self._chosen.get(slot, "o") for slot in range(BEAT)]
        if self._held:
            found[self._held + 1] = found[self._held]
        return found

    @property
    def _chosen(self) -> dict[int, str]:
        """The gate whose offset must be chosen in a slot, by slot."""
        return {(at - self.ask) % BEAT: gate for gate, at in self.products.items()}

    @property
    def _held(self) -> int:
        """The slot in which a gate's offset is chosen that is read in slot 0; 0 if there is none."""
        slot = BEAT - 2 - self.offset
        return slot if slot in self._chosen else 0

    @property
    def keeps_o(self) -> bool:
        """Whether sigmoid(o) of the next unit comes before that of this one is used."""
        return self.slots.sigmoid_o + RESULT < BEAT

    @property
    def read_cell(self) -> int:
        """Slot in which c is read for `forget`."""
        return self.slots.forget - 1 - self.cell

    @property
    def send_cell(self) -> int:
        """Slot in which c that follows its h is read; it can be sent from slot WRITE_CELL on."""
        return WRITE_CELL - 1 - self.cell

    def _stepped(self, slot: int, path: int) -> int:
        """`start` to the cycle in which the first step of the address shows at the end of a path behind it."""
        first = 1 + int(self.ahead)
        return first + (slot - self.first_slot - int(self.ahead)) % BEAT + self.address + path

    @property
    def _step_window(self) -> range:
        """Cycles in which the address may change: the first unit's last gate has been asked for and, without registers
        that keep its lane, taken; the next unit's first has not yet been asked for.
        """
        return range(max(self.asks.values()) + (0 if self.data else 2), min(self.asks.values()) + BEAT)

    @property
    def _logit_window(self) -> range:
        """Cycles in which the code may change: the first logit has moved on, the next is not yet to. When the unit
        stops in slot 0 the memory's data, which nothing stops, may come a slot early.
        """
        return range(self.begins + MOVE + 2, self.begins + MOVE + 1 + BEAT)


STEP_PATH = 1
"""Step of the address generator to the address."""

LOGIT_PATH = STEP_PATH + 3
"""Step to code without registers behind the memory: address register, memory, code register."""

DIRECT = GateSchedule(Slots(0, 1, 2, 3, 4, 5, 6, 7), step=3, step_logit=3)
"""No registers but the memories' own. c is looked up as soon as it is known."""

REGISTERED = GateSchedule(
    Slots(6, 0, 1, 3, 2, 4, 5, 7), step=4, step_logit=5, address=2, offset=1, data=2, tables=1, cell=1, ahead=True
)
"""With registers behind every memory and in the address. tanh_g belongs to the unit of the beat after."""
