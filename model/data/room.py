"""How much memory there is for data, asked before any is taken."""

import os

from fdht.spec.errors import FileError, SpecError


def room() -> int:
    """Bytes that the arrays of a data set may have: half of the machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # no POSIX
        return 8 << 30


def check_room(what: str, needed: int, kind: type[SpecError] | type[FileError] = SpecError) -> None:
    """Whether arrays of so many bytes fit.

    Raises:
        SpecError, FileError: they do not; `kind` says which.
    """
    if needed > room():
        raise kind(
            f"{what} takes {needed:,} bytes, and there is room for {room():,}, half of this machine's memory; take "
            "fewer samples, or a smaller type, as float16 or uint8"
        )
