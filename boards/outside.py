"""Boards that are not in this package: a `Board` of the user's own, or an Amaranth platform to make one of.

Their code runs when it is imported. So it is only imported when the user names it on the command line, or has installed
a package that says it has boards; never because a file says so.
"""

from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from typing import Any, cast

from amaranth.build import Platform, ResourceError
from amaranth.vendor import GowinPlatform, LatticeECP5Platform, LatticeICE40Platform

from fdht.boards.board import ECP5, GOWIN, ICE40, Board, Family
from fdht.boards.clocks import Clock, PinClock
from fdht.boards.fitting import check_room
from fdht.hw.component import ask
from fdht.hw.shell.uart import divisor
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.named import called
from fdht.spec.record import check_name
from fdht.spec.target import TARGETS, Target

WANTED = "a fdht.boards.board.Board, an Amaranth platform, or a function that returns one"

BAUDS = (3_000_000, 2_000_000, 1_000_000, 921_600, 460_800, 230_400, 115_200)
"""Rates of a serial port that USB adapters have, the fastest first."""

_PLATFORMS = {ICE40.name: LatticeICE40Platform, ECP5.name: LatticeECP5Platform, GOWIN.name: GowinPlatform}
"""What an Amaranth platform of each family is."""

_EIGHTH_OF_A_BIT = 0.0125
"""By how much a serial port's rate may be off, so that the tenth bit is an eighth off."""


def board_of(found: object, said: str) -> Board:
    """The board that something is, or can be made of.

    Args:
        found: what a user has named, see `WANTED`. said: how.

    Raises:
        SpecError: it is no board, or one that nothing can be built for, or its code raises.
    """
    if not isinstance(found, Board | Platform | type) and callable(found):
        found = called(found, said)
    if isinstance(found, type) and issubclass(found, Platform):
        found = board_on(cast("Callable[[], Platform]", found))
    if not isinstance(found, Board):
        raise SpecError(f"{said} is a {type(found).__name__}; name {WANTED}")
    check(found)
    return replace(found, said=f"--board {said}")


def board_on(platform: Callable[[], Platform], **given: Any) -> Board:
    """A board with what an Amaranth platform says: part, pins, and its default clock as it is, without a PLL.

    Its engine is the largest of fdht's own that the part holds, its serial port the fastest of `BAUDS`.

    Args:
        platform: makes it, as its class does. given: fields of `Board` that are to be others.

    Raises:
        SpecError: a platform of no known family, or without a default clock of a known frequency.
    """
    name = getattr(platform, "__name__", type(platform).__name__).removesuffix("Platform").lower()
    made: Any = called(platform, f"the platform {name}")
    family, part, pack = _part(made, name)
    if "clock" in given and "clock_mhz" in given:
        clock_hz = round(given["clock_mhz"] * 1e6)
    else:
        clock_hz = round(_default_clock(made, name))
    bauds = [baud for baud in BAUDS if can(clock_hz, baud)]
    fields = {
        "name": name,
        "family": family,
        "part": part,
        "platform": platform,
        "clock": lambda: PinClock(made.default_clk),
        "clock_mhz": clock_hz / 1e6,
        "baud": bauds[0] if bauds else BAUDS[-1],
        "pack": pack,
    } | given
    engines = [target for target in TARGETS.values() if target.build.technology.value == family.name]
    engines.sort(key=lambda target: target.multipliers)
    fields.setdefault("engine", engines[0])
    board = Board(**fields)
    if "engine" in given:
        return board
    return next((each for target in reversed(engines) if (each := _holds(board, target))), board)


def _holds(board: Board, engine: Target) -> Board | None:
    board = replace(board, engine=engine)
    try:
        check_room(board)
    except CapacityError:
        return None
    return board


def _part(platform: Any, name: str) -> tuple[Family, tuple[str, ...], tuple[str, ...]]:
    """Family, nextpnr's options and the packer's; the names of parts and packages are in Amaranth's own tables."""
    if isinstance(platform, LatticeICE40Platform | LatticeECP5Platform):
        device, package = platform._nextpnr_device_options, platform._nextpnr_package_options
        if platform.device not in device:
            raise SpecError(f"{name} has a part {platform.device}; Amaranth knows {', '.join(device)}")
        if isinstance(platform, LatticeICE40Platform):
            suffix = package.get(platform.device, "")
            return ICE40, (device[platform.device], "--package", f"{platform.package.lower()}{suffix}"), ()
        if platform.package not in package:
            raise SpecError(f"{name} has a package {platform.package}; Amaranth knows {', '.join(package)}")
        options = ("--package", package[platform.package].upper(), "--speed", platform.speed)
        return ECP5, (device[platform.device], *options), ()
    if isinstance(platform, GowinPlatform):
        die = platform.family.replace("R-", "-")  # without the memory in the package
        return GOWIN, ("--device", platform.part, "--vopt", f"family={die}"), ("-d", die)
    raise SpecError(
        f"{name} is a platform of no family that is built here; take LatticeICE40Platform, LatticeECP5Platform or "
        "GowinPlatform, or export the engine with fdht export --axi --technology generic"
    )


def _default_clock(platform: Any, name: str) -> float:
    """Its frequency in Hz."""
    try:
        clock = platform.default_clk and platform.lookup(platform.default_clk).clock
    except ResourceError:
        clock = None
    if clock is None:
        raise SpecError(
            f"{name} has no default clock with a frequency; say default_clk, and Clock(...) in that resource"
        )
    return clock.frequency


def can(clock_hz: int, baud: int) -> bool:
    """Whether a clock makes a serial port's rate closely enough."""
    try:
        cycles = divisor(clock_hz, baud)
    except (SpecError, ZeroDivisionError):
        return False
    return abs(clock_hz / cycles / baud - 1) <= _EIGHTH_OF_A_BIT


def check(board: Board) -> None:
    """Whether everything is there that a board's design needs.

    Raises:
        SpecError: a name that is none, code that raises, a platform of another family, no clock, no serial port, or one
            that its clock cannot make.
    """
    check_name("a board", board.name)
    if not isinstance(board.engine, Target):
        raise SpecError(
            f"the engine of {board.name} is a {type(board.engine).__name__}; take a fdht.spec.target.Target"
        )
    if not (isfinite(board.clock_mhz) and board.clock_mhz > 0):
        raise SpecError(f"a clock of {board.clock_mhz:g} MHz on {board.name}; choose one above 0")
    clock = ask(called(board.clock, f"the clock of {board.name}"))
    platform = called(board.platform, f"the platform of {board.name}")
    if not isinstance(platform, Platform):
        raise SpecError(f"the platform of {board.name} is a {type(platform).__name__}; name a class of Amaranth's")
    if not isinstance(platform, _PLATFORMS.get(board.family.name, Platform)):
        raise SpecError(
            f"{board.name} is of the family {board.family.name}, and its platform {type(platform).__name__} is not; "
            f"take a {_PLATFORMS[board.family.name].__name__}, or another family"
        )
    if not isinstance(clock, Clock):
        raise SpecError(f"the clock of {board.name} is a {type(clock).__name__}; take one of fdht.boards.clocks")
    _needs(board, platform, "uart", "rx", "tx")
    if board.spi_mhz is not None:
        _needs(board, platform, "spi", "clk", "cs", "copi", "cipo")
    if board.flash is not None:
        clock_pin = () if board.family.name == ECP5.name else ("clk",)  # an ECP5 has a cell for it
        _needs(board, platform, board.flash.resource, "cs", "copi", "cipo", *clock_pin)
    try:
        platform.lookup(clock.resource)
    except ResourceError:
        raise SpecError(
            f"{board.name} has no clock {clock.resource}; name a resource of its platform that has one"
        ) from None
    if not can(board.clock_hz, board.baud):
        raise SpecError(
            f"{board.baud} baud cannot be made from the {board.clock_mhz:g} MHz of {board.name}; choose a rate that "
            "divides it by 4 or more, to 1.25 %"
        )


def _needs(board: Board, platform: Any, resource: str, *pins: str) -> None:
    try:
        there = {each.name for each in platform.lookup(resource, 0).ios}
    except ResourceError:
        raise SpecError(
            f"{board.name} has no resource {resource} 0; add one with the pins {', '.join(pins)} to its platform"
        ) from None
    lacks = [pin for pin in pins if pin not in there]
    if lacks:
        raise SpecError(f"resource {resource} 0 of {board.name} has no pin {lacks[0]}; it needs {', '.join(pins)}")
