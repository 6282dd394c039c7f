"""Instructions: what the sequencers fetch and the units execute, and how they are packed into memory.

A record is packed from its least significant bit, fields in order, arrays element by element: the layout of
Amaranth's StructLayout and ArrayLayout. Instructions fill whole 16-bit words of their unit's program memory.

Three units run side by side, each with a program of its own, and meet through counting tokens:

    loader   raw input words, h -> scratchpad
    array    one stage (or a tile of one), or the head: scratchpad, factors or h -> scratchpad or result memory
    gates    results -> c, h

A program is: instructions before the loop, the loop body (repeated once per time step), instructions after
it. `loop_end` marks the body's last instruction, whose `back` is the address of the body's first; `halt` marks
the program's last. A `chained` instruction of the array starts when the one before has read its last operands,
not when its last result is written; the compiler sees to it that it needs none of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any

from fdht.spec.errors import SpecError
from fdht.spec.target import Target

WORD = 16
"""Bits of a word of programs and images."""


def words_for(bits: int) -> int:
    """Words that hold so many bits."""
    return -(-bits // WORD)


@unique
class Token(IntEnum):
    """What units wait for; each is a counter that one `give` raises and one `wait` lowers."""

    X_FREE = 0
    X_READY = 1
    Z_READY = 2
    H_DONE = 3
    H_READY = 4
    LOGITS_READY = 5


TOKEN_BITS = 4
"""Bits of a token's counter: no token is given a sixteenth time before it was taken."""


@unique
class LoaderOp(IntEnum):
    LOAD = 0
    """Take `count` raw words from the input stream, widen them and write each to its lane."""
    ZERO = 1
    """Write zero to all lanes of the words the nest visits."""
    COPY = 2
    """Write h of `count` units, from unit `first` on, each to its lane."""
    CLEAR = 3
    """As ZERO, but also in a run that keeps the states of the one before."""
    ADMIT = 4
    """Look whose frame comes next: if that of `stream`, take the word in front of it; if not, LOADs do nothing until
    the next ADMIT, and the stream sits out the round."""


@unique
class Condition(IntEnum):
    """When an instruction of the array or of the gate unit is carried out; else it does nothing, but takes and gives
    its tokens."""

    ALWAYS = 0
    PRESENT = 1
    """A frame of `stream` is in the round that is being computed (of one of those beside it, where several gates are
    computed side by side)."""
    STEPPED = 2
    """The last STEP of `stream` was carried out."""
    ENDED = 3
    """It was, and with it the stream's sequence ended."""

    @staticmethod
    def of_logits(every_step: bool) -> "Condition":
        """On which logits of a stream are computed and sent: after every step, or after the last of a sequence."""
        return Condition.STEPPED if every_step else Condition.ENDED


@unique
class GateOp(IntEnum):
    STATE = 0
    """Set c and h of units: from the state stream, or to zero."""
    STEP = 1
    """Cell update of units."""
    EMIT = 2
    """Send results to the output stream as logits."""


@dataclass(frozen=True)
class Int:
    """An integer field of a record; of width 0, always 0."""

    width: int
    signed: bool = False

    @property
    def bits(self) -> int:
        return self.width

    def pack(self, value: int, name: str = "") -> int:
        low = -(1 << self.width - 1) if self.signed and self.width else 0
        high = (1 << max(self.width - self.signed, 0)) - 1
        if not low <= value <= high:
            raise SpecError(f"field {name} = {value} is outside {low}..{high}")
        return value & (1 << self.width) - 1

    def unpack(self, bits: int) -> int:
        bits &= (1 << self.width) - 1
        return bits - (1 << self.width) if self.signed and bits >> max(self.width - 1, 0) else bits


@dataclass(frozen=True)
class Array:
    """`length` equal elements."""

    element: "Record"
    length: int

    @property
    def bits(self) -> int:
        return self.element.bits * self.length

    def pack(self, value: list, name: str = "") -> int:
        if len(value) != self.length:
            raise SpecError(f"field {name} has {len(value)} elements, not {self.length}")
        return sum(self.element.pack(v, f"{name}[{k}]") << k * self.element.bits for k, v in enumerate(value))

    def unpack(self, bits: int) -> list:
        return [self.element.unpack(bits >> k * self.element.bits) for k in range(self.length)]


@dataclass(frozen=True)
class Record:
    """Named fields, the first in the least significant bits."""

    fields: Mapping[str, "Int | Array | Record"]

    @property
    def bits(self) -> int:
        return sum(field.bits for field in self.fields.values())

    def record(self, name: str) -> "Record":
        """A field that is a record itself."""
        field = self.fields[name]
        assert isinstance(field, Record)
        return field

    @property
    def words(self) -> int:
        """Program words one instruction fills."""
        return words_for(self.bits)

    def pack(self, value: Mapping[str, Any], name: str = "") -> int:
        if value.keys() != self.fields.keys():
            raise SpecError(f"record {name} has fields {sorted(value)}, not {sorted(self.fields)}")
        result, at = 0, 0
        for key, field in self.fields.items():
            result |= field.pack(value[key], f"{name}.{key}" if name else key) << at
            at += field.bits
        return result

    def unpack(self, bits: int) -> dict[str, Any]:
        result, at = {}, 0
        for key, field in self.fields.items():
            result[key] = field.unpack(bits >> at)
            at += field.bits
        return result

    def encode(self, value: Mapping[str, Any]) -> list[int]:
        """Program words of one instruction."""
        bits = self.pack(value)
        return [bits >> k * WORD & (1 << WORD) - 1 for k in range(self.words)]

    def decode(self, words: list[int]) -> dict[str, Any]:
        return self.unpack(sum(word << k * WORD for k, word in enumerate(words)))


def bits_for(values: int) -> int:
    """Bits of an unsigned integer that takes `values` values, at least 1."""
    return max(1, (values - 1).bit_length())


@dataclass(frozen=True)
class Widths:
    """Widths of addresses and counters, derived from a target; `jump` fields are one bit wider and signed."""

    target: Target

    @property
    def address(self) -> int:
        """Scratchpad word address; the bank is its upper part."""
        return bits_for(self.target.scratchpad_words)

    @property
    def factor(self) -> int:
        """Word address in the factor memory, or number of a unit."""
        return max(bits_for(self.target.factor_words), self.unit)

    @property
    def operand(self) -> int:
        """Bits of the array's factors, which may also be h."""
        return max(self.target.factor_width, self.target.data_width)

    @property
    def result(self) -> int:
        """Word address in the result memory."""
        return bits_for(self.target.result_words)

    @property
    def bias(self) -> int:
        return bits_for(self.target.bias_words)

    @property
    def write(self) -> int:
        """Where the array writes: the scratchpad or the result memory."""
        return max(self.address, self.result)

    @property
    def lane(self) -> int:
        """Lane of a word; none is needed where words have only one."""
        return (self.target.columns - 1).bit_length()

    @property
    def flag(self) -> int:
        """Width of a field that means something only where words have several lanes: 1 there, else 0."""
        return int(self.target.columns > 1)

    @property
    def count(self) -> int:
        """Iterations of one loop, less one."""
        return min(self.address, self.target.count_width)

    @property
    def unit(self) -> int:
        """Number of a unit. Where several gates are computed side by side, each has states of its own, and units of
        as many streams share a number."""
        return bits_for(self.target.hidden // self.target.gates)

    @property
    def stream(self) -> int:
        """Number of a stream; none is needed where there is only one."""
        return (self.target.streams - 1).bit_length()

    @property
    def several(self) -> int:
        """Width of a field that means something only where there are several streams: 1 there, else 0."""
        return int(self.target.streams > 1)

    @property
    def shift(self) -> int:
        return bits_for(self.target.accumulator_width)


def _header(target: Target) -> dict[str, Int]:
    tokens, back, w = len(Token), bits_for(target.program_words), Widths(target)
    return {
        "wait": Int(tokens),
        "give": Int(tokens),
        "loop_end": Int(1),
        "back": Int(back),
        "halt": Int(1),
        "chained": Int(int(target.pipeline.prefetch)),
        "stream": Int(w.stream),
        "condition": Int(2 * w.several),
    }


def _nest(target: Target, levels: int, **addresses: int) -> dict[str, Int | Array | Record]:
    """A loop nest over named addresses (name -> width): where each starts, and level by level, innermost first,
    the iterations less one and what is added to each address when that level steps.
    """
    bases = {name: Int(width) for name, width in addresses.items()}
    jumps = {name: Int(width + 1 if width else 0, signed=True) for name, width in addresses.items()}
    level = Record({"count": Int(Widths(target).count), **jumps})
    return {**bases, "levels": Array(level, levels)}


def _lane_nest(target: Target, levels: int, address: int) -> Record:
    """A nest over single lanes: (word, lane) addresses, and one level that ends early in its parent's last turn.

    `tail_level` is the one-hot level that runs `tail` + 1 times instead of `count` + 1 while the next outer
    level is in its last iteration: the last word of a mode that the lanes do not divide.
    """
    w = Widths(target)
    tail = {"tail": Int(w.lane), "tail_level": Int(levels * w.flag)}
    return Record({**_nest(target, levels, word=address, lane=w.lane), **tail})


def array_instruction(target: Target) -> Record:
    """One stage or a tile of one.

    The read nest walks data and factor addresses together; its innermost `reduction` + 1 levels are K. Each full
    turn of them is one pass: P rows (the factor word's lanes) × Q columns (the data word's).
    Rows are counted over consecutive passes: `rows` + 1 are kept, the rest of the pass in which they end is padding and
    dropped, and counting starts anew. The write nest steps once per word written. With `transpose`, every Q rows become
    Q words whose lanes are these rows, one per old lane; the first `emit` + 1 of them are written.
    Result = saturate(round(accumulator >> shift) + bias). The first row kept takes the bias word at `bias`, and each
    further one the next, with `bias_step`, or the same one, without. With `add`, the sum of the result and what the
    result word held is stored, saturated. With `early` the token Z_READY is given when the instruction starts, not when
    it is done. With `hidden` the factor addresses are numbers of units, whose h are the factors of a pass's first row;
    only that row may be kept.
    """
    w = Widths(target)
    return Record(
        {
            **_header(target),
            "read": Record(_nest(target, target.levels.read, data=w.address, factor=w.factor)),
            "reduction": Int(bits_for(target.levels.read)),
            "hidden": Int(1),
            "rows": Int(w.factor + bits_for(target.rows)),
            "to_results": Int(1),
            "early": Int(1),
            "add": Int(1),
            "write": Record(_nest(target, target.levels.write, word=w.write)),
            "transpose": Int(w.flag),
            "emit": Int(w.lane),
            "shift": Int(w.shift),
            "bias": Int(w.bias),
            "bias_step": Int(1),
        }
    )


def loader_instruction(target: Target) -> Record:
    """LOAD: x = (raw - offset) << shift, a lane per raw word or, with `whole`, a word per beat of raw words. With
    `flush` the rest of the last beat is dropped. COPY: h of `stream`, a lane per unit; with `together`, of as
    many streams from `stream` on as have their gates computed side by side, in as many lanes from that of the nest on.
    With `opens` a step of them begins: zeros, if a sequence does, and from here on the array and the gate unit see what
    the last ADMIT said. ZERO, CLEAR: whole words. ADMIT: see fdht.spec.rounds; with `opens` it is a round's first.
    """
    w = Widths(target)
    return Record(
        {
            **_header(target),
            "op": Int(2 + w.several),
            "opens": Int(w.several),
            "together": Int(int(target.gates > 1)),
            "first": Int(w.unit),
            "count": Int(w.address + w.lane),
            "whole": Int(int(target.input_lanes > 1)),
            "flush": Int(int(target.input_lanes > 1)),
            "offset": Int(target.input_width + 1, True),
            "signed": Int(1),
            "shift": Int(4),
            "nest": _lane_nest(target, target.levels.x, w.address),
        }
    )


def gate_instruction(target: Target) -> Record:
    """Units `first`..`last`, by the numbers of their states c and h; their z are read from the result memory.

    The nest `z` visits gate i of each unit; its gates f, g and o are `f`, `g` and `o` result words further. The
    instruction starts `delay` cycles after its tokens are there. Where h of every step is asked for, it is sent by the
    instruction of the `top` layer only. With a condition, h and c are sent by that one only, and where a sequence of
    `stream` ends. Where several gates are computed side by side, those of the streams after `stream` take z from the
    lanes after its own, and only of streams that are present states change and words are sent; without a condition,
    of the first alone.
    """
    w = Widths(target)
    return Record(
        {
            **_header(target),
            "op": Int(2),
            "first": Int(w.unit),
            "last": Int(w.unit),
            "delay": Int(target.count_width),
            "top": Int(1),
            "z": _lane_nest(target, target.levels.z, w.result),
            "f": Int(w.result),
            "g": Int(w.result),
            "o": Int(w.result),
        }
    )


@unique
class Segment(IntEnum):
    """Memories an image fills, by number in the image stream."""

    ARRAY_PROGRAM = 0
    LOADER_PROGRAM = 1
    GATE_PROGRAM = 2
    FACTORS = 3
    BIAS = 4
    TABLES = 5
    SCRATCHPAD = 6
    """The last words of the scratchpad, one 16-bit word per lane: the head's weights."""


def segment_width(target: Target, segment: Segment, table_width: int) -> int:
    """Bits of one memory word of a segment."""
    if segment is Segment.FACTORS:
        return target.rows * target.factor_width
    if segment is Segment.BIAS:
        return target.columns * target.data_width
    if segment is Segment.SCRATCHPAD:
        return target.columns * WORD
    return table_width if segment is Segment.TABLES else WORD


UNITS = {
    Segment.ARRAY_PROGRAM: array_instruction,
    Segment.LOADER_PROGRAM: loader_instruction,
    Segment.GATE_PROGRAM: gate_instruction,
}
"""The three units by their programs: of each, the record of its instructions for a target."""
