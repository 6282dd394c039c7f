"""Standing alone: images in a board's SPI flash, which the gateware loads without a host.

A slot of the flash holds an image as the frames of fdht.spec.protocol that a host would send to load it:

    HEADER (the letters FDH, a version), `target_id` of the engine (4 bytes, low byte first),
    IDENTIFY, then IMAGE until all words are sent, each with its flags,
    END, the image's `image_check` (4 bytes, low byte first)

The gateware plays the frames into its own link, which checks each one's CRC and their order. It does so twice: at
first no word reaches the engine; only if nothing was refused and the check of the words is that behind END, the second
time loads them. A slot that begins with anything else is empty, one that fails later is damaged; neither changes what
the engine holds. Frames beside these are not for slots.
"""

from dataclasses import dataclass
from enum import IntEnum, unique

from fdht.spec.protocol import CHECK, FLAG, MAX_PAYLOAD, REFUSED, Request, encode, image_check, target_id
from fdht.spec.target import Standalone, Target

HEADER = b"FDH\x01"
"""What a slot begins with; the last byte is the version of its layout."""

END = 0xFF
"""Stands where another frame could begin. No frame begins so: its kind would have REFUSED set."""

assert END & REFUSED and END != FLAG

FRAME_BYTES = 512
"""Bytes that a frame in a slot does not reach, with its flags and whatever is escaped in it."""

assert 2 * (1 + MAX_PAYLOAD + CHECK) + 2 < FRAME_BYTES

STRIDE = 1 << 18
"""Bytes from one slot to the next."""

READ, WAKE = 0x03, 0xAB
"""Commands of the flash: read from an address of 24 bits on, and release from deep power-down."""

ADDRESS_BITS = 24
MOST_HZ = 20_000_000
"""Fastest clock of the flash; every one takes as much with READ."""

WAKE_S = 40e-6
"""Seconds in which every flash has woken up."""


ANSWER_CYCLES, ANSWER_BYTE_CYCLES = 55, 10
"""Cycles in which the link answers a frame, and those of each of its bytes: 6 for the check, 4 for the words."""


@unique
class SlotState(IntEnum):
    """What became of the slot that was to be loaded last."""

    EMPTY = 0
    """There is no image for this engine."""
    DAMAGED = 1
    """There is one, and not as it was written; also what an engine says while it is loading one."""
    LOADED = 3
    """It is loaded, or was until a host loaded another."""


@dataclass(frozen=True)
class FlashPlan:
    """What gateware knows of its flash.

    Attributes:
        offset: of slot 0; a multiple of `slots` × STRIDE.
        slots: how many; a power of two.
        half: cycles of half a period of the flash's clock.
        wake: the flash is given 2^`wake` cycles to wake up.
        watchdog: an engine in which nothing moves for 2^`watchdog` cycles of a run is loaded anew; None: never.
    """

    offset: int
    slots: int
    half: int
    wake: int
    watchdog: int | None

    def address(self, slot: int) -> int:
        """Where a slot begins."""
        return self.offset + slot * STRIDE


def plan(standalone: Standalone, offset: int, clock_hz: float) -> FlashPlan:
    """The plan of an engine at a clock, whose first slot is at `offset`. Waits are rounded up to a power of two."""
    watchdog = standalone.watchdog_ms * clock_hz / 1000
    return FlashPlan(
        offset,
        standalone.slots,
        half=max(1, -int(-clock_hz // (2 * MOST_HZ))),
        wake=_power(WAKE_S * clock_hz),
        watchdog=_power(watchdog) if watchdog else None,
    )


def _power(cycles: float) -> int:
    """The exponent of the first power of two that is no less."""
    return max(0, int(-(-cycles // 1)) - 1).bit_length()


def header(target: Target) -> bytes:
    """What a slot for an engine begins with."""
    return HEADER + target_id(target).to_bytes(4, "little")


def slot_bytes(words: bytes, target: Target) -> bytes:
    """What a slot holds.

    Args:
        words: the image's, 2 bytes each.
    """
    parts = [words[at : at + MAX_PAYLOAD] for at in range(0, len(words), MAX_PAYLOAD)]
    frames = [encode(Request.IDENTIFY, 0), *(encode(Request.IMAGE, k, part) for k, part in enumerate(parts, 1))]
    return header(target) + b"".join(frames) + bytes([END]) + image_check(words).to_bytes(CHECK, "little")


def load_cycles(slot: bytes, plan: FlashPlan) -> int:
    """Cycles from power-up, or from when it is wanted, until what a slot holds is loaded; within 1 %.

    The flash sends a bit in 2 × `half` cycles, and waits while the link answers a frame.
    """
    sent = slot[len(HEADER) + 4 : -1 - CHECK]
    bits = 8 * len(slot) + 8 + ADDRESS_BITS
    frames = [bytes([FLAG]) + part for part in sent.split(bytes([FLAG])) if part]
    answers = sum(ANSWER_CYCLES + ANSWER_BYTE_CYCLES * len(frame) for frame in frames)
    return 2 * ((1 << plan.wake) + 2 * plan.half * bits + answers) + 2 * 8 * plan.half
