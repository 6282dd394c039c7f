"""`fdht program --flash`: a bitstream and images into a board's flash, from which it then starts on its own."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fdht.boards.board import Board, Flash
from fdht.compiler.image import compile_bundle
from fdht.console import Output
from fdht.spec.bundle import Bundle
from fdht.spec.container import write_whole
from fdht.spec.errors import SpecError
from fdht.spec.flash import STRIDE, load_cycles, slot_bytes
from fdht.workflow.programming import ProgrammingError, find_bitstream, load

ERASED = b"\xff"


@dataclass(frozen=True)
class Part:
    """Something that lies in a flash.

    Attributes:
        what: it is, for people.
        address: where it begins.
        content: its bytes.
        cycles: that loading it takes; None for a bitstream.
    """

    what: str
    address: int
    content: bytes
    cycles: int | None = None


def run(
    output: Output,
    board: Board,
    bitstream: Path | None,
    build: Path,
    bundles: Sequence[Path],
    first: int,
    images_only: bool,
    to: Path | None,
) -> dict:
    """Writes the bitstream, and bundles as images into slots, with openFPGALoader or into a file.

    Args:
        bitstream: the file; None for the one that `fdht synth` left below `build`.
        bundles: for the slots from `first` on.
        images_only: leave the bitstream as it is.
        to: a file that then holds the flash from its beginning, in place of a board.

    Raises:
        SpecError, FileError, CapacityError: nothing to write, a flash of which nothing is known, an engine that does
            not load itself, or something that does not fit.
        ProgrammingError: openFPGALoader is missing, failed, or does not reach the flash.
    """
    flash = board.flash
    if flash is None:
        raise SpecError(
            f"nothing is known of a flash on {board.name}; say `flash` in its file (docs/adding-a-board.md)"
        )
    if not bundles and (images_only or first):
        raise SpecError("no image to write; name bundles, or leave --images-only and --slot out")
    if images_only and to is not None:
        raise SpecError(
            "a file holds the flash from its beginning, and without the bitstream it would erase the one that is "
            "there; leave --images-only or --output out"
        )
    if images_only and bitstream is not None:
        raise SpecError(f"--images-only leaves out the bitstream {bitstream}; leave one of both out")
    path = None if images_only else find_bitstream(board, bitstream, build)
    if to is not None and to.resolve() in (source.resolve() for source in (*bundles, *filter(None, [path]))):
        raise SpecError(f"{to} is to be read, and would be written over; choose another place for --output")
    images = _images(board, bundles, first)
    parts = [*([] if path is None else [_bitstream(board, flash, path)]), *images]
    figures = {
        "board": board.name,
        "bitstream": None if path is None else str(path),
        "slots": [
            {
                "slot": slot,
                "bundle": str(bundle),
                "address": part.address,
                "bytes": len(part.content),
                "load_ms": round(1000 * (part.cycles or 0) / board.clock_hz, 3),
            }
            for slot, (bundle, part) in enumerate(zip(bundles, images, strict=True), first)
        ],
        "output": None if to is None else str(to),
        "commands": [],
    }
    if to is not None:
        write_whole(to, contents(parts))
        return figures
    if not flash.write:
        raise ProgrammingError(
            f"openFPGALoader does not reach all of the flash of {board.name}; write it to a file with --output FILE, "
            "and that with a JTAG cable"
        )
    with tempfile.TemporaryDirectory(prefix="fdht-") as folder:
        for part in parts:
            options, file = list(flash.write), path
            if part.cycles is not None or file is None:
                file = Path(folder) / f"{part.address:06x}.bin"
                file.write_bytes(part.content)
                options += flash.data
            if part.address:
                options += ["--offset", str(part.address)]
            figures["commands"].append(load(output, board, file, options, part.what))
    return figures


def contents(parts: Sequence[Part]) -> bytes:
    """A flash from its beginning to its last part, erased in between."""
    held = bytearray(ERASED * max(part.address + len(part.content) for part in parts))
    for part in parts:
        held[part.address : part.address + len(part.content)] = part.content
    return bytes(held)


def _bitstream(board: Board, flash: Flash, path: Path) -> Part:
    content, room = path.read_bytes(), flash.slots_at - flash.bitstream_at
    if not content:
        raise SpecError(f"{path} is empty; make the bitstream anew with: fdht synth {board.options}")
    if len(content) > room:
        raise SpecError(
            f"{path} has {len(content):,} bytes, and the slots of {board.name} begin after {room:,}; is it a bitstream "
            "of this board?"
        )
    return Part(f"the bitstream of {board.name}", flash.bitstream_at, content)


def _images(board: Board, bundles: Sequence[Path], first: int) -> list[Part]:
    """The slots of bundles."""
    if not bundles:
        return []
    plan = board.plan
    if plan is None:
        raise SpecError(
            f"the engine {board.target} of {board.name} does not load itself; build one that does, with "
            "build.standalone in its target (docs/standing-alone.md)"
        )
    if first + len(bundles) > plan.slots:
        raise SpecError(
            f"bundles for slots {first} to {first + len(bundles) - 1}, and {board.target} has slots 0 to "
            f"{plan.slots - 1}; name fewer, or give its target more with build.standalone.slots"
        )
    parts = []
    for slot, path in enumerate(bundles, first):
        image = compile_bundle(Bundle.load(path), board.engine)
        held = slot_bytes(image.stream().astype("<u2").tobytes(), board.engine)
        if len(held) > STRIDE:
            raise SpecError(f"the image of {path} takes {len(held):,} bytes, and a slot has {STRIDE:,}")
        if plan.watchdog is not None and image.cycles(1) >= 1 << plan.watchdog:
            raise SpecError(
                f"a step of {path} takes {1000 * image.cycles(1) / board.clock_hz:.1f} ms, in which nothing moves, and "
                f"the watchdog of {board.target} would fire; give its target a longer build.standalone.watchdog_ms"
            )
        parts.append(Part(f"{path} into slot {slot}", plan.address(slot), held, load_cycles(held, plan)))
    return parts
