"""The host link's protocol: frames between a host and the device with the engine. Both sides take it from here.

Framing is that of RFC 1662 (HDLC-like): a frame lies between two FLAG bytes; FLAG and ESCAPE inside it are sent
as ESCAPE and the byte with bit 5 inverted. Inside are

    header (1 byte), payload (0 to MAX_PAYLOAD bytes), CRC-32 (4 bytes, low byte first)

The header is the kind (bits 0-2), REFUSED (bit 3, zero in requests) and a sequence number (bits 4-7). The CRC is
CRC-32/ISO-HDLC, Python's zlib.crc32, over header and payload. A FLAG always starts over, so whatever was lost or
damaged, the next good frame is understood. A frame is acted on only once its CRC is right: a damaged one changes
nothing.

**Requests and replies.** The device speaks only when asked. Each frame of the host, good or bad, has one reply, in
order, with the request's header; REFUSED is set if it was not done, bits 0-2 of the first payload byte (the
`state` below) are then the `Reason`. A frame whose end was lost ends with the next FLAG: a host that hears
nothing sends its request again.

**Sequence numbers.** IDENTIFY starts numbering anew at its own number. IMAGE, START, X, STATE, READ and RESET are
done only if their number is the last one's plus 1 (modulo 16); the last one's and the 8 before are repeats whose
reply was lost, answered and not done again; others are refused (SEQUENCE). STATUS has no place in the order.

**Flow control.** Two frames fit into the device: the host may send a second before the reply to the first, not
a third. The reply to IMAGE, X and STATE comes when the engine has taken the last byte. An engine that takes
nothing for `patience` cycles (it is computing, or its results wait to be read) makes the link refuse with WAIT:
send the same payload again later, under whichever number is next; during a run the bytes already taken are
skipped. So every request is answered in bounded time, and READ, STATUS and RESET always get through. Results wait
in a buffer of RESULT_BYTES, then the engine waits.

**Run.** START; then, if it asks for the initial state, STATE frames (none with keep, which overrules use_state); then
X frames, while READ collects results. A START with 0 steps does nothing.
A time step may be cut into frames anywhere between words.

| request | payload | reply |
|---|---|---|
| STATUS | or a number (2) | state, errors, flags (bit 0 collision, bits 1-3 `lacking`, bits 4-7 `slots`), |
| | | version (1 each); |
| | | cycles, stalls, saturations, target, build, image (4 each); |
| | | with slots also: slot (bits 4-7) and its `SlotState` (bits 0-1), firings (1 each), 2 zeros |
| IDENTIFY | | as STATUS |
| IMAGE | 16-bit words | state |
| START | steps (2), flags (1: bit 0 use_state, bit 1 every_h, bit 2 keep), zero | state |
| X | raw words: 1 byte each up to 8 bits, else 2 | state |
| STATE | signed words: 2 bytes each up to 16 bits, else 4 | state |
| READ | | result bytes so far; those of the READ before are forgotten |
| RESET | | state; ends the run, empties the buffers; what was loaded stays |
| RESET | slot (1) | the same; then the slot is loaded, see below |

`image` is the CRC-32 of all image words (low byte first) that the engine has taken since the first one after the last
RESET: what is loaded, or not what the host meant to load.

The reply to a refused request begins with `state`. A repeated READ repeats its bytes; more may follow them.
`lacking` says what the engine was built without: counters (bit 0), initial states (bit 1), the look for collisions
(bit 2); see fdht.spec.target.Features. An engine without initial states never takes a STATE frame.

**Tallies.** An engine that has them (see fdht.spec.tallies) answers a STATUS with a number with STATUS_BYTES, of which
the first are the status, and TALLIES of them behind, from that number on: 4 bytes each, 0 for those that there are not.
Others answer as to any STATUS.

**Standing alone.** An engine with `slots` loads one of its flash's (see fdht.spec.flash) after power-up, after a RESET
with a slot, which others take for one without, and when its watchdog fires. While it loads it hears nothing; then
it is as after power-up: its host begins with IDENTIFY. `firings` counts the watchdog's, and wraps.

`state` is the reason (bits 0-2), busy (bit 3) and the number of the last request done (bits 4-7). A result is kind
(bits 0-1: `OutputKind`, bit 2: last) and value (2 bytes up to 16 bits, else 3, signed). All
numbers are little-endian. `errors` counts damaged frames and lost bytes, and wraps; the engine's counts are read byte
by byte, and exact when it is not busy.
"""

import hashlib
import zlib
from dataclasses import dataclass, replace
from enum import IntEnum, unique

from fdht.spec.target import ALL, GENERIC, Features, Target

VERSION = 3
FLAG, ESCAPE, INVERT = 0x7E, 0x7D, 0x20
REFUSED = 0x08
SLOT_BYTES = 256
"""Bytes of a received frame's place in the buffer; there are two."""

MAX_PAYLOAD = 240
"""Fits a slot with its header and CRC, and holds whole words of 1, 2, 3 and 4 bytes."""

RESULT_BYTES = 480
"""Result bytes the buffer holds at least."""

STATUS_BYTES = 32
"""Bytes of a reply in front of its tallies."""

TALLIES = 48
"""Counts in the reply to a STATUS that asks for some."""

CHECK = 4

_FEATURES = "counters", "initial_state", "collision"
"""What an engine may lack, from bit 0 of `lacking` on."""

SLOTS_BIT = 4
"""Of the flags of STATUS, where the number of slots begins."""

WINDOW = 2
"""Frames that fit into the device: a host sends no more before it has replies."""


@unique
class Request(IntEnum):
    """Kinds of frames."""

    STATUS = 0
    IDENTIFY = 1
    IMAGE = 2
    START = 3
    X = 4
    STATE = 5
    READ = 6
    RESET = 7


@unique
class OutputKind(IntEnum):
    """What a word of the output stream is."""

    HIDDEN = 0
    """A word of h, after a step."""
    CELL = 1
    """A word of c, after the last step."""
    LOGIT = 2
    """A word of the head's output: after the last step, or after every one, as the image's task says."""


@unique
class Reason(IntEnum):
    """Why a frame was refused."""

    DAMAGED = 1
    """CRC wrong; the kind and number of this reply mean nothing."""
    BUSY = 2
    """Not while a run is under way."""
    IDLE = 3
    """Only while a run is under way."""
    SEQUENCE = 4
    """A frame before it is missing."""
    WAIT = 5
    """The engine did not take all of it yet: send it again."""
    LENGTH = 6
    """Not a whole number of words."""


_UNSAID = ", streams=1, gates=1", ", tallies=False"
"""What was said of no target before there were streams and tallies; those without them are called as they were."""


def target_id(target: Target) -> int:
    """32 bits that tell apart targets with different images; neither names nor primitives matter."""
    what = repr(replace(target, name="", build=GENERIC))
    for unsaid in _UNSAID:
        what = what.replace(unsaid, "")
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:4], "little")


def lacking(features: Features) -> int:
    """What an engine was built without, as STATUS reports it: three bits."""
    return sum(1 << bit for bit, name in enumerate(_FEATURES) if not getattr(features, name))


def image_check(words: bytes) -> int:
    """What STATUS reports when an image of these words (2 bytes each) is loaded."""
    return zlib.crc32(words)


@dataclass(frozen=True)
class Status:
    """The reply to STATUS and IDENTIFY; the attributes are described above."""

    busy: bool
    last: int
    errors: int
    collision: bool
    version: int
    cycles: int
    stalls: int
    saturations: int
    target: int
    build: int
    image: int
    features: Features = ALL
    slots: int = 0
    slot: int = 0
    slot_state: int = 0
    firings: int = 0

    SIZE = 28
    STANDALONE_SIZE = 32

    @staticmethod
    def parse(payload: bytes) -> "Status":
        """Reads the reply's payload."""
        slots = payload[2] >> SLOTS_BIT
        flash = (payload[28] >> 4, payload[28] & 3, payload[29]) if slots else (0, 0, 0)
        counts = (int.from_bytes(payload[at : at + 4], "little") for at in range(4, Status.SIZE, 4))
        has = Features(**{name: not payload[2] >> 1 + bit & 1 for bit, name in enumerate(_FEATURES)})
        return Status(
            bool(payload[0] & 8),
            payload[0] >> 4,
            payload[1],
            bool(payload[2] & 1),
            payload[3],
            *counts,
            has,
            slots,
            *flash,
        )


def start_payload(steps: int, use_state: bool = False, every_h: bool = False, keep: bool = False) -> bytes:
    """The payload of START."""
    return steps.to_bytes(2, "little") + bytes([use_state | every_h << 1 | keep << 2, 0])


def result_bytes(width: int) -> int:
    """Bytes of a result whose value has `width` bits."""
    return 1 + -(-width // 8)


def word_bytes(width: int) -> int:
    """Bytes of a word of `width` bits in a payload: 1, 2 or 4."""
    return 1 if width <= 8 else 2 if width <= 16 else 4


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent, flags included; `kind` with REFUSED if it is."""
    body = bytes([kind | (sequence & 0xF) << 4]) + payload
    body += zlib.crc32(body).to_bytes(CHECK, "little")
    escaped = b"".join(bytes([ESCAPE, b ^ INVERT]) if b in (FLAG, ESCAPE) else bytes([b]) for b in body)
    return bytes([FLAG]) + escaped + bytes([FLAG])


def decode(body: bytes) -> tuple[int, int, bytes] | None:
    """Kind (with REFUSED), number and payload of what was received between two flags; None if it is damaged."""
    plain, escape = bytearray(), False
    for byte in body:
        if byte == ESCAPE and not escape:
            escape = True
        else:
            plain.append(byte ^ INVERT if escape else byte)
            escape = False
    if escape or len(plain) <= CHECK:
        return None
    if zlib.crc32(plain[:-CHECK]).to_bytes(CHECK, "little") != plain[-CHECK:]:
        return None
    return plain[0] & 0xF, plain[0] >> 4, bytes(plain[1:-CHECK])
