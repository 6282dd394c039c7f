"""The registers of the IP block: written here once. Gateware, C header and documentation are derived from it.

Registers have 32 bits and lie four bytes apart; bits that no field covers read as 0 and ignore what is written. Which
of them a block has depends on its engine, see `registers_of`.
"""

from dataclasses import dataclass, replace
from enum import Enum, unique

from fdht.spec.errors import SpecError
from fdht.spec.tallies import INDEX_BITS, TALLY_BITS
from fdht.spec.target import Target

BYTES = 4
"""Bytes of a register."""


@unique
class Needs(str, Enum):
    """What an engine must have for its block to have a field. The value is the mark of such a field in the map."""

    STREAMS = "†"
    """Several streams."""
    TALLIES = "‡"
    """The feature `tallies`."""


@unique
class Access(str, Enum):
    """What software may do with a field."""

    READ = "RO"
    """The block's value; a write is refused."""
    WRITE = "RW"
    """Software's value."""
    CLEAR = "W1C"
    """Set by the block, cleared by writing 1."""
    PULSE = "W1"
    """Writing 1 does something, once; reads as 0."""
    PUSH = "WO"
    """Every write hands the value on; a register of nothing else cannot be read."""


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Attributes:
        name: upper case, unique in its register.
        low, width: its bits.
        access: what software may do.
        text: what it means, one sentence without a full stop.
        needs: only blocks whose engine has this have it.
    """

    name: str
    low: int
    width: int
    access: Access
    text: str
    needs: Needs | None = None

    @property
    def mask(self) -> int:
        return (1 << self.width) - 1 << self.low

    @property
    def bits(self) -> str:
        """Its place, as documents write it."""
        return f"{self.low + self.width - 1}:{self.low}" if self.width > 1 else f"{self.low}"


@dataclass(frozen=True)
class Register:
    """A register and its fields.

    Attributes:
        name: upper case, unique in its map.
        text: what it is, one sentence without a full stop.

    Raises:
        SpecError: fields that overlap, leave the register or share a name.
    """

    name: str
    text: str
    fields: tuple[Field, ...]

    def __post_init__(self):
        taken = 0
        for field in self.fields:
            if field.width < 1 or field.low < 0 or field.low + field.width > 8 * BYTES or field.mask & taken:
                raise SpecError(f"register {self.name}: bits {field.bits} of {field.name} are taken or not there")
            taken |= field.mask
        if len({field.name for field in self.fields}) != len(self.fields):
            raise SpecError(f"register {self.name}: two fields share a name")

    @property
    def writable(self) -> bool:
        return any(field.access is not Access.READ for field in self.fields)

    @property
    def readable(self) -> bool:
        return any(field.access is not Access.PUSH for field in self.fields)

    @property
    def strobes(self) -> int:
        """Byte strobes that a write must have: those of what it hands on."""
        pushed = [field for field in self.fields if field.access is Access.PUSH]
        return sum(1 << byte for byte in range(BYTES) if any(field.mask >> 8 * byte & 0xFF for field in pushed))


def whole(name: str, access: Access, text: str, width: int = 8 * BYTES, needs: Needs | None = None) -> Register:
    """A register that is one field, of the same name."""
    return Register(name, text, (Field(name, 0, width, access, text, needs),))


FRAME_BITS = 24
"""Bits of the number of words in a frame."""

IDENTIFICATION = 0x46444854
"""The letters FDHT."""

MAP_VERSION = 2
"""Version of this map; a change that old software does not understand raises it. Registers keep their addresses, so
new ones come last.
"""

REGISTERS: tuple[Register, ...] = (
    whole("ID", Access.READ, f"The letters FDHT, {IDENTIFICATION:#010x}"),
    whole("VERSION", Access.READ, f"Version of this map, {MAP_VERSION}"),
    whole(
        "TARGET", Access.READ, "The engine: the first 32 bits of a hash of its parameters; an image is for one target"
    ),
    whole("BUILD", Access.READ, "The gateware: the first 32 bits of a hash of its sources"),
    Register(
        "CONTROL",
        "Begins and ends runs; options are those of the next run",
        (
            Field("START", 0, 1, Access.PULSE, "Begin a run of STEPS frames, or rounds of several streams"),
            Field(
                "RESET",
                1,
                1,
                Access.PULSE,
                "End the run and drop every frame that has begun; a loaded image and the other registers stay",
            ),
            Field(
                "AUTO",
                8,
                1,
                Access.WRITE,
                "Begin a run whenever none is under way, a frame waits and an image is loaded",
            ),
            Field("USE_STATE", 9, 1, Access.WRITE, "Take the initial h and c from s_axis_state"),
            Field(
                "EVERY_H",
                10,
                1,
                Access.WRITE,
                "Send h of the last layer after every step, as with STATES after the last",
            ),
            Field(
                "KEEP",
                11,
                1,
                Access.WRITE,
                "Go on with the h and c of the run before, which must not have been cut short; of no meaning where "
                "STREAMS.COUNT is not 0",
            ),
            Field("STATES", 12, 1, Access.WRITE, "Send h and c of all layers after the last step"),
        ),
    ),
    Register(
        "STATUS",
        "What is under way",
        (
            Field("BUSY", 0, 1, Access.READ, "A run is under way, or its results wait for m_axis_result"),
            Field("X_WAITING", 1, 1, Access.READ, "A beat waits on s_axis_x"),
            Field("RESULT_WAITING", 2, 1, Access.READ, "A beat waits on m_axis_result"),
            Field(
                "LOADED", 3, 1, Access.READ, "An image is loaded and checked (see IMAGE_CHECK); no run begins without"
            ),
        ),
    ),
    whole("STEPS", Access.WRITE, "Frames of a run, or rounds of several streams", 16),
    whole("FRAME_WORDS", Access.WRITE, "Words of a frame, N of the image; with 0, s_axis_x waits", FRAME_BITS),
    whole(
        "STATE_WORDS",
        Access.WRITE,
        "Words of an initial state, 2 × hidden units × layers of the image; with 0, s_axis_state waits",
        FRAME_BITS,
    ),
    whole("IMAGE", Access.PUSH, "The next word of the image that is being loaded; the one before is gone", 16),
    whole(
        "IMAGE_CRC",
        Access.READ,
        "CRC-32 (zlib's) of the words of IMAGE, low bytes first, from the first one after RESET or aresetn on; stays "
        "with the image",
    ),
    whole("CYCLES", Access.READ, "Clock cycles of the current or last run"),
    whole("STALLS", Access.READ, "Cycles of it in which frames, states or results were waited for"),
    whole("SATURATIONS", Access.READ, "Words of it in which a result was clipped"),
    whole("RUNS", Access.READ, "Runs that were finished since aresetn; wraps"),
    Register(
        "RESULT",
        "What the last packet of results ended with",
        (
            Field("CLASS", 0, 16, Access.READ, "Number of the largest logit, the first of equal ones"),
            Field("VALID", 16, 1, Access.READ, "There was a run, and its image has a head"),
            Field("FAULTY", 17, 1, Access.READ, "A frame or state of it had the wrong length"),
            Field("STREAM", 24, 5, Access.READ, "Of which stream; 0 where STREAMS.COUNT is 0", needs=Needs.STREAMS),
        ),
    ),
    Register(
        "ERRORS",
        "What went wrong; each sets IRQ_STATUS.ERROR",
        (
            Field(
                "FRAME_SHORT",
                0,
                1,
                Access.CLEAR,
                "A frame ended early and was filled with raw words of 0, or lacked bytes",
            ),
            Field("FRAME_LONG", 1, 1, Access.CLEAR, "A frame did not end with its last word; the rest was dropped"),
            Field("STATE_SHORT", 2, 1, Access.CLEAR, "As FRAME_SHORT, of an initial state"),
            Field("STATE_LONG", 3, 1, Access.CLEAR, "As FRAME_LONG, of an initial state"),
            Field(
                "START_REFUSED", 4, 1, Access.CLEAR, "START while BUSY, not LOADED, or with STEPS or FRAME_WORDS of 0"
            ),
            Field("IMAGE_REFUSED", 5, 1, Access.CLEAR, "IMAGE or IMAGE_CHECK was written while BUSY, and ignored"),
            Field(
                "COLLISION", 6, 1, Access.CLEAR, "A program broke the scratchpad's rules: not an image of this target"
            ),
            Field(
                "IMAGE_WRONG",
                7,
                1,
                Access.CLEAR,
                "IMAGE_CHECK was not the IMAGE_CRC, or no image had been written since RESET or aresetn",
            ),
            Field(
                "STREAM_UNKNOWN",
                8,
                1,
                Access.CLEAR,
                "A frame was of a stream beyond STREAMS.COUNT, and was dropped",
                needs=Needs.STREAMS,
            ),
        ),
    ),
    Register(
        "IRQ_ENABLE",
        "Which bits of IRQ_STATUS raise the interrupt",
        (
            Field("DONE", 0, 1, Access.WRITE, "A run was finished"),
            Field("ERROR", 1, 1, Access.WRITE, "Something was noted in ERRORS"),
            Field("PACKET", 2, 1, Access.WRITE, "A packet of results was taken", needs=Needs.STREAMS),
        ),
    ),
    Register(
        "IRQ_STATUS",
        "What has happened since it was cleared",
        (
            Field("DONE", 0, 1, Access.CLEAR, "A run was finished"),
            Field("ERROR", 1, 1, Access.CLEAR, "Something was noted in ERRORS"),
            Field(
                "PACKET", 2, 1, Access.CLEAR, "A packet of results was taken; RESULT says of which", needs=Needs.STREAMS
            ),
        ),
    ),
    whole(
        "IMAGE_CHECK",
        Access.PUSH,
        "Ends the image: the IMAGE_CRC that it must have; if it has, STATUS.LOADED is set, else ERRORS.IMAGE_WRONG",
    ),
    Register(
        "STREAMS",
        "How an image of several streams counts them; to be written before its frames come",
        (
            Field(
                "COUNT",
                0,
                6,
                Access.WRITE,
                "Streams of the image; with 0, all frames are of one sequence",
                needs=Needs.STREAMS,
            ),
            Field(
                "APART",
                8,
                1,
                Access.WRITE,
                "Streams of the image lie as many places apart as the engine has gates side by side",
                needs=Needs.STREAMS,
            ),
        ),
    ),
    whole(
        "STREAM_FAULTS",
        Access.CLEAR,
        "A bit per stream: a frame of it had the wrong length; until it is cleared, results of the stream have tuser",
        needs=Needs.STREAMS,
    ),
    whole(
        "TALLY_INDEX",
        Access.WRITE,
        "Which count TALLY shows: steps of each stream from 0 on, then words that each array instruction has clipped",
        INDEX_BITS,
        needs=Needs.TALLIES,
    ),
    whole(
        "TALLY",
        Access.READ,
        "The count TALLY_INDEX of the last run, 0 of one that there is not; exact while no run is under way, or while "
        "it waits for frames",
        TALLY_BITS,
        needs=Needs.TALLIES,
    ),
)
"""Those of a block whose engine has all that they need; others lack some, see `registers_of`."""

OFFSET = {register.name: BYTES * k for k, register in enumerate(REGISTERS)}
"""Byte address of each register."""

ADDRESS_BITS = 8
"""Bits of a byte address in the block."""

_BY_NAME = {register.name: register for register in REGISTERS}


def registers_of(target: Target) -> tuple[Register, ...]:
    """The registers of the block with an engine: without the fields that need what it lacks, each at its OFFSET."""
    has = {None, *([Needs.STREAMS] if target.streams > 1 else [])}
    has |= {Needs.TALLIES} if target.build.features.tallies else set()
    less = (replace(each, fields=tuple(field for field in each.fields if field.needs in has)) for each in REGISTERS)
    return tuple(each for each in less if each.fields)


def mask(register: str, *fields: str) -> int:
    """The bits of some fields of a register."""
    of = {field.name: field.mask for field in _BY_NAME[register].fields}
    return sum(of[name] for name in fields)
