"""The errors a user can cause, each one sentence: the value, the limit, the way out."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum, unique

LONGEST = 1000
"""Characters of a message that are shown; what is longer is cut in its middle."""


ALIKE = 0.7
"""How alike two names are, of 1, before one is taken for the other with letters missed; see `near`."""


def escaped(text: str, kept: str = "") -> str:
    """Text that may come from outside, as it can be shown: what prints nothing as an escape.

    Args:
        kept: characters that stay, though they print nothing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def printable(text: str) -> str:
    """A sentence that may hold words from outside: on one line, and cut in its middle if it is long."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return escaped(text)


class FdhtError(Exception):
    """Base of every error caused by what a user passed in; its message is shown as it is."""


class SpecError(FdhtError, ValueError):
    """A value that no specification allows."""

    def __init__(self, message: str):
        super().__init__(printable(message))


def near(name: str, known: Iterable[str]) -> str:
    """`" (did you mean digits?)"` where a name is nearly one of those there are; else nothing."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=ALIKE)
    return f" (did you mean {by_lower[found[0]]}?)" if found else ""


def no_such(what: str, name: str, known: Iterable[str], more: str = "") -> SpecError:
    """What to raise for a name that there is not: with the nearest there is, and all others.

    Args:
        what: kind of thing, as `target`. more: what else there may be, behind the names.
    """
    known = list(known)
    return SpecError(f"there is no {what} {name!r}{near(name, known)}; known: {', '.join(known)}{more}")


@unique
class Resource(Enum):
    """What a target, or the part it is built for, may have too little of; each with its name in sentences."""

    SCRATCHPAD_WORDS = "scratchpad words"
    FACTOR_WORDS = "factor words"
    BIAS_WORDS = "bias memory words"
    RESULT_WORDS = "result memory words"
    ARRAY_PROGRAM_WORDS = "array program words"
    LOADER_PROGRAM_WORDS = "loader program words"
    GATE_PROGRAM_WORDS = "gate program words"
    LOOP_LEVELS = "loop levels of an address generator"
    LOOP_ITERATIONS = "iterations of a loop"
    ACCUMULATOR_BITS = "accumulator bits"
    LANE_INDICES = "lane indices"
    HIDDEN_UNITS = "hidden units"
    CLASSES = "classes"
    TOKENS = "tokens that are given before any is taken"
    MULTIPLIERS = "multipliers of the part"
    BLOCK_RAMS = "block RAMs of the part"
    SPRAMS = "SPRAMs of the part"
    CELLS = "cells of the part"


class CapacityError(FdhtError):
    """Something valid that does not fit.

    Args:
        resource: what there is too little of. needed, available: how much.
        way_out: what to do about it.
        named: the resource as this sentence calls it, where that says more than its name.
    """

    def __init__(self, resource: Resource, needed: int, available: int, way_out: str, named: str = ""):
        self.resource, self.needed, self.available = resource, needed, available
        self.named = named or resource.value
        super().__init__(printable(f"{self.named}: {needed} needed, {available} available; {way_out}"))

    def advising(self, way_out: str) -> "CapacityError":
        """The same shortage with another way out."""
        return CapacityError(self.resource, self.needed, self.available, way_out, self.named)


class FileError(FdhtError):
    """A file that is missing, damaged, of another kind or of another version."""

    def __init__(self, message: str):
        super().__init__(printable(message))
