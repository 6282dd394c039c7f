"""Targets: what a bitstream fixes. The array's shape, the widths and the memories."""

import json
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from pathlib import Path
from typing import ClassVar, Self

from fdht.spec.errors import FileError, SpecError, no_such
from fdht.spec.fixed import Fixed
from fdht.spec.formats import GateFormats
from fdht.spec.gate_schedule import MULTIPLY
from fdht.spec.pipeline import COMPACT, PIPELINED, Pipeline
from fdht.spec.record import Checked, JsonRecord, Plain, Text, check_name, parse, read_text

FRAME_FLAGS = 3
"""Bits of the word in front of a stream's frame that are no number of a stream; see fdht.spec.rounds.Frame."""

FILE_VERSION = 1
"""Of a target's file. A field that a file lacks has its default, so only a field that goes or changes is a new one."""


LARGEST_MEMORY, LARGEST_SCRATCHPAD = (1 << 16) - 1, 1 << 16
"""Words of a memory, and of all banks together, that an image can count in 16 bits."""

MOST_SLOTS, MOST_WATCHDOG_MS = 8, 60_000


@unique
class Technology(str, Enum):
    """Which primitives the gateware is built from."""

    GENERIC = "generic"
    ECP5 = "ecp5"
    ICE40 = "ice40"
    GOWIN = "gowin"


MULTIPLIERS = {Technology.ICE40: (16, 32), Technology.ECP5: (18, 63), Technology.GOWIN: (18, 63)}
"""Widest operands and sum of one multiplier block (SB_MAC16; MULT18X18D or MULT18X18 and an accumulator beside it)."""


@dataclass(frozen=True)
class Levels(Checked):
    """Nested loops that each address generator can walk.

    Attributes:
        read, write: of the array's operands and results. x: of the loader. z: of the gate unit.
    """

    read: int = 6
    write: int = 6
    x: int = 6
    z: int = 6

    @staticmethod
    def each(levels: int) -> "Levels":
        """The same number for all."""
        return Levels(levels, levels, levels, levels)


@dataclass(frozen=True)
class Features(Checked):
    """What an engine can be built without, for its cells, or with, for their price. Results are the
    same; `Device.status().features` says what a device lacks.

    Attributes:
        counters: it counts cycles, stalls and saturations of a run; without, all are 0.
        initial_state: it can begin with h and c from the host; without, every run begins with zeros, or goes on with
            the states of the run before.
        collision: it notices a program that breaks the scratchpad's rules.
        tallies: it counts what every stage clips, and the steps of every stream; see fdht.spec.tallies.
    """

    counters: bool = True
    initial_state: bool = True
    collision: bool = True
    tallies: bool = False


ALL = Features()
"""What engines have of it if nothing else is said."""


@dataclass(frozen=True)
class Standalone(Checked):
    """How an engine loads itself from its board's SPI flash; see fdht.spec.flash.

    Attributes:
        slots: images that the flash has places for: a power of two up to MOST_SLOTS.
        watchdog_ms: milliseconds without anything that moves in a run, after which it loads itself anew; 0: it never
            does.

    Raises:
        SpecError: other numbers.
    """

    slots: int = 2
    watchdog_ms: int = 0

    def __post_init__(self):
        if not 1 <= self.slots <= MOST_SLOTS or self.slots & self.slots - 1:
            raise SpecError(f"standalone: slots = {self.slots} is none of 1, 2, 4 and {MOST_SLOTS}")
        if not 0 <= self.watchdog_ms <= MOST_WATCHDOG_MS:
            raise SpecError(f"standalone: watchdog_ms = {self.watchdog_ms} is outside 0..{MOST_WATCHDOG_MS}")


@dataclass(frozen=True)
class Build(Checked):
    """How an engine is built; no image depends on it.

    Attributes:
        technology: which primitives are used.
        pinned: on a board whose part has a floor plan, multipliers have fixed places.
        features: what it has that can be left out, or added.
        standalone: how it loads itself from its board's flash; None: a host loads it.
    """

    technology: Technology = Technology.GENERIC
    pinned: bool = False
    features: Features = ALL
    standalone: Standalone | None = field(default=None, repr=False)  # a target's signature is that of its repr


GENERIC = Build()
"""Made of no part's own primitives."""


@dataclass(frozen=True)
class Target(JsonRecord):
    """What an engine is: all that an image depends on, and, in `build`, how it is made.

    Attributes:
        name: how users call it; "" where only the rest counts.
        rows, columns: P and Q of the systolic array.
        data_width, factor_width, accumulator_width: bits of a data word's lane, a factor, an accumulator.
        pipeline: where it has registers.
        banks, bank_words: scratchpad banks, and words of Q lanes in each (a power of two).
        single_port: a bank serves one access per cycle, read or write, instead of one of each.
        factor_words: factor memory, words of P factors.
        result_words: result memory (z, then logits), words of Q lanes.
        bias_words: bias memory, words of Q lanes.
        hidden: hidden units, of all layers together, that the gate unit has cell states for.
        program_words: 16-bit words of each of the three program memories.
        levels: nested loops of each address generator.
        count_width: bits of the number of iterations of one loop, at most.
        input_width: bits of a raw input word.
        input_lanes: raw input words that come at once: 1, or as many as there are columns.
        streams: independent sequences that an image may serve at most; see fdht.spec.rounds.
        gates: streams whose gates are computed side by side, each from a lane of its own; a power of two that divides
            the columns, so that they lie in one word, and `hidden`.
        build: how it is made.

    Raises:
        SpecError: a value outside its range.
    """

    KIND: ClassVar[str] = "a target"

    name: str
    rows: int
    columns: int
    data_width: int = 16
    factor_width: int = 16
    accumulator_width: int = 40
    pipeline: Pipeline = PIPELINED
    banks: int = 4
    bank_words: int = 4096
    single_port: bool = False
    factor_words: int = 2048
    result_words: int = 1024
    bias_words: int = 1024
    hidden: int = 256
    program_words: int = 512
    levels: Levels = Levels()
    count_width: int = 16
    input_width: int = 8
    input_lanes: int = 1
    streams: int = 1
    gates: int = 1
    build: Build = GENERIC

    def __post_init__(self):
        if self.name:
            check_name("a target", self.name)
        limits = {
            "rows": (1, 64),
            "columns": (1, 64),
            "data_width": (8, 18),
            "factor_width": (4, 18),
            "accumulator_width": (self.data_width + self.factor_width, 63),
            "count_width": (4, 16),
            "banks": (2, 16),
            "bank_words": (2, 1 << 20),
            "factor_words": (2, LARGEST_MEMORY),
            "result_words": (2, LARGEST_MEMORY),
            "bias_words": (2, LARGEST_MEMORY),
            "hidden": (1, 1 << 15),
            "program_words": (16, LARGEST_MEMORY),
            "input_width": (1, 16),
            "streams": (1, 31),
            "gates": (1, min(self.streams, self.columns)),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SpecError(f"target {self.name}: {name} = {getattr(self, name)} is outside {low}..{high}")
        for name, levels in vars(self.levels).items():
            if not 1 <= levels <= 12:
                raise SpecError(f"target {self.name}: {levels} levels of {name} are outside 1..12")
        technology = self.build.technology
        operand, total = MULTIPLIERS.get(technology, (18, 63))
        if max(self.data_width, self.factor_width) > operand or self.accumulator_width > total:
            raise SpecError(
                f"target {self.name}: a multiplier of {technology.value} takes {operand} × {operand} bits and "
                f"sums up to {total}, not {self.data_width} × {self.factor_width} and {self.accumulator_width}"
            )
        if technology is Technology.ICE40 and not (self.pipeline.sums_inside and self.pipeline.multiply == MULTIPLY):
            raise SpecError(
                f"target {self.name}: multipliers of {technology.value} sum inside, {MULTIPLY} cycles after their "
                "operands; choose a pipeline with sums_inside and that multiply, like COMPACT"
            )
        if self.input_lanes not in (1, self.columns):
            raise SpecError(f"target {self.name}: input_lanes = {self.input_lanes} is neither 1 nor {self.columns}")
        if self.gates & self.gates - 1 or self.hidden % self.gates or self.columns % self.gates:
            raise SpecError(
                f"target {self.name}: gates = {self.gates} must be a power of two, and divide hidden = {self.hidden} "
                f"and columns = {self.columns}"
            )
        if self.streams > 1 and self.streams >= 1 << max(self.input_width - FRAME_FLAGS, 0):  # all ones: nobody
            raise SpecError(
                f"target {self.name}: frames of {self.streams} streams cannot be told apart by words of "
                f"{self.input_width} bits, {FRAME_FLAGS} of which are flags; take a larger input_width"
            )
        if self.scratchpad_words > LARGEST_SCRATCHPAD:
            raise SpecError(
                f"target {self.name}: {self.scratchpad_words} scratchpad words are more than {LARGEST_SCRATCHPAD}"
            )
        if self.bank_words & self.bank_words - 1:
            raise SpecError(f"target {self.name}: bank_words = {self.bank_words} must be a power of two")

    def to_file(self) -> bytes:
        """The engine as a file that people read and edit, and `find_target` takes."""
        return f"{json.dumps({'version': FILE_VERSION, **json.loads(self.to_json())}, indent=2)}\n".encode()

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """One in a file, as `to_file` makes it and people edit it.

        Raises:
            FileError: no such file, one of another version, something else in it, or an engine that is called what
                one of `TARGETS` is.
        """
        way_out = "fdht explore --take writes one, and docs/engines.md says what its fields are"
        try:
            found = parse(dict[Text, Plain], read_text(path))
            version = found.pop("version", FILE_VERSION)
            if version != FILE_VERSION:
                raise SpecError(f"it is of version {version!r}, and this fdht reads version {FILE_VERSION}")
            target = cls.from_json(json.dumps(found))
            if not target.name:
                raise SpecError("it has no name")
        except (SpecError, FileError) as error:
            raise FileError(f"no target in {path} ({error}); {way_out}") from None
        if named().get(target.name, target) != target:
            raise FileError(
                f"{path} has another engine than fdht's own {target.name}, by the same name; give it a name of its own"
            )
        return target

    def made_of(self, technology: Technology) -> "Target":
        """The same engine, with the same features, of a technology's primitives, at no fixed places."""
        return replace(self, build=replace(self.build, technology=technology, pinned=False))

    @property
    def multipliers(self) -> int:
        """Multipliers of the array."""
        return self.rows * self.columns

    @property
    def scratchpad_words(self) -> int:
        return self.banks * self.bank_words

    @property
    def data(self) -> Fixed:
        """Range of a data word's lane; its scale is the program's business."""
        return Fixed(self.data_width, 0)

    @property
    def gate_formats(self) -> GateFormats:
        return GateFormats.of_width(self.data_width)


TARGETS = {
    target.name: target
    for target in (
        Target(
            "icebreaker",
            rows=8,
            columns=1,
            factor_width=12,
            accumulator_width=32,
            pipeline=COMPACT,
            banks=4,
            bank_words=16384,
            single_port=True,
            factor_words=512,
            result_words=1024,
            bias_words=1280,
            hidden=256,
            program_words=256,
            levels=Levels(read=4, write=4, x=4, z=2),
            count_width=12,
            build=Build(Technology.ICE40),
        ),
        Target(
            "ulx3s-85f",
            rows=16,
            columns=8,
            banks=5,
            bank_words=2048,
            factor_words=2048,
            result_words=512,
            bias_words=512,
            hidden=256,
            program_words=1024,
            levels=Levels(read=5, write=5, x=4, z=4),
            input_lanes=8,
            build=Build(Technology.ECP5, pinned=True),
        ),
        Target(
            "orangecrab-25f",
            rows=6,
            columns=4,
            banks=6,
            bank_words=1024,
            factor_words=1024,
            result_words=512,
            bias_words=512,
            hidden=256,
            program_words=1024,
            input_lanes=4,
            build=Build(Technology.ECP5),
        ),
        Target(
            "tangnano9k",
            rows=16,
            columns=1,
            pipeline=COMPACT,
            banks=4,
            bank_words=1024,
            factor_words=512,
            result_words=512,
            bias_words=512,
            hidden=256,
            program_words=512,
            build=Build(Technology.GOWIN),
        ),
        Target(
            "tangnano20k",
            rows=8,
            columns=4,
            pipeline=COMPACT,
            banks=14,
            bank_words=512,
            factor_words=512,
            result_words=512,
            bias_words=512,
            hidden=256,
            program_words=1024,
            input_lanes=4,
            build=Build(Technology.GOWIN),
        ),
    )
}
"""Those that a board of fdht's own has."""

PART_TARGETS = {
    target.name: target
    for target in (
        Target(
            "xc7a35t",
            rows=16,
            columns=4,
            banks=5,
            bank_words=2048,
            factor_words=1024,
            result_words=512,
            bias_words=512,
            program_words=1024,
            input_lanes=4,
        ),
        *(
            Target(
                name,
                rows=20,
                columns=8,
                banks=7,
                bank_words=2048,
                factor_words=2048,
                result_words=512,
                bias_words=512,
                program_words=1024,
                input_lanes=8,
            )
            for name in ("xc7a100t", "xc7z020")
        ),
        Target(
            "5ceba4",
            rows=12,
            columns=8,
            banks=4,
            bank_words=2048,
            factor_words=2048,
            result_words=512,
            bias_words=512,
            program_words=1024,
            input_lanes=8,
        ),
    )
}
"""Engines for parts whose tools are their makers' (fdht.boards.parts.CLOSED), each called as its part; they take two
thirds to three quarters of its multipliers and block RAM. Made of no primitives: synthesis infers them."""


STREAM_TARGETS = {
    target.name: target
    for target in (
        replace(
            TARGETS["ulx3s-85f"],
            name="ulx3s-85f-streams",
            result_words=1024,
            bias_words=1024,
            hidden=4096,
            streams=16,
            gates=8,
        ),
    )
}
"""Engines for boards of fdht's that serve several streams, beside those that the boards come with."""


def named() -> dict[str, Target]:
    """All that have a name of fdht's own."""
    return TARGETS | STREAM_TARGETS | PART_TARGETS


def find_target(name: str) -> Target:
    """A target by name, or one in a JSON file; see `Target.read`.

    Raises:
        SpecError: no such target; names those there are, and what else there may be.
        FileError: no such file, or no target in it.
    """
    if name.endswith(".json"):
        return Target.read(name)
    found = named().get(name)
    if found is None:
        raise no_such("target", name, named(), ", and a file NAME.json with one")
    return found
